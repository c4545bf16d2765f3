//! What a request asks for that its answer does not count: search units, images, texts.
//!
//! Only models whose bill depends on it have their request read (`families`).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::codec::MemberExtractor;
use crate::domain::{Dimension, Usage};

/// Units that a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The quantities besides the tokens of texts.
    pub(super) units: Usage,
    /// Characters of its texts, whose tokens the answer is to state; `None` where there is no text,
    /// 0 where it is not in the request itself.
    pub(super) characters: Option<u64>,
    /// There is audio or video: its seconds cannot be seen, neither here nor in the answer.
    pub(super) unseen: bool,
}

impl Asked {
    /// Tokens that the texts probably have, where the answer does not say; `None` where none is seen.
    pub(super) fn tokens(&self) -> Option<u64> {
        let seen = self.characters.filter(|characters| *characters > 0);
        seen.map(tokens_of)
    }
}

const fn tokens_of(characters: u64) -> u64 {
    characters.div_ceil(CHARACTERS_PER_TOKEN)
}

/// Rerank: one query with up to a hundred documents is a unit. A document that together with the
/// query is longer than 500 tokens counts as several. Tokens can only be told from characters:
/// the count is an estimate and says so.
pub(super) fn searches(body: &[Bytes]) -> Option<Asked> {
    let members = members(body, &["query", "documents"]);
    let query: Text<'_> = serde_json::from_slice(members.member("query")?).ok()?;
    let documents: Vec<&RawValue> = serde_json::from_slice(members.member("documents")?).ok()?;
    let room = TOKENS_PER_DOCUMENT.saturating_sub(tokens_of(query.characters()));
    let parts = documents.into_iter().map(|document| {
        let tokens = tokens_of(document_characters(document));
        tokens.div_ceil(room.max(1)).max(1)
    });
    let units = parts
        .fold(0, u64::saturating_add)
        .div_ceil(DOCUMENTS_PER_UNIT);
    Some(Asked {
        units: units_of("search_unit", units.max(1)),
        ..Asked::default()
    })
}

/// A document is a text, or an object of which all is ranked.
fn document_characters(document: &RawValue) -> u64 {
    let text = serde_json::from_str::<Text<'_>>(document.get());
    let text = text.unwrap_or_else(|_object| Text(Cow::Borrowed(document.get())));
    text.characters()
}

/// Titan Multimodal Embeddings: an image where `inputImage` is present (bedrock.md 3.3).
pub(super) fn titan_image(body: &[Bytes]) -> Option<Asked> {
    let members = members(body, &["inputText", "inputImage"]);
    let member = |name| members.member(name).filter(|raw| *raw != b"null");
    // An image of more than the extractor holds is no member; Bedrock takes 25 MB (5 MB decoded).
    let image = member("inputImage").is_some() || members.is_too_long("inputImage");
    let text: Option<Text<'_>> = match member("inputText") {
        Some(raw) => Some(serde_json::from_slice(raw).ok()?),
        None => None,
    };
    members.is_complete().then(|| Asked {
        units: units_of("input_image", u64::from(image)),
        characters: text.map(|text| text.characters()),
        unseen: false,
    })
}

/// Cohere Embed: `texts`, `images`, and from version 4 `inputs` that mix both (bedrock.md 3.5).
pub(super) fn cohere_embed(body: &[Bytes]) -> Option<Asked> {
    #[derive(Deserialize)]
    struct Input<'a> {
        #[serde(borrow)]
        content: Vec<Part<'a>>,
    }
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(rename = "type")]
        kind: String,
        #[serde(borrow)]
        text: Option<Text<'a>>,
    }
    let members = members(body, &["texts", "images", "inputs"]);
    let texts: Vec<Text<'_>> = list(&members, "texts")?;
    let images: Vec<IgnoredAny> = list(&members, "images")?;
    let mixed: Vec<Input<'_>> = list(&members, "inputs")?;
    let parts = || mixed.iter().flat_map(|input| &input.content);
    let mixed_images = parts().filter(|part| part.kind == "image_url").count();
    let mixed_texts = parts().filter_map(|part| part.text.as_ref());
    let images = u64::try_from(images.len().saturating_add(mixed_images));
    Some(Asked {
        units: units_of("input_image", images.unwrap_or(u64::MAX)),
        characters: characters_of(texts.iter().chain(mixed_texts)),
        unseen: false,
    })
}

/// The items of a member that is a list, none where it is absent or `null`.
fn list<'a, T: Deserialize<'a>>(members: &'a MemberExtractor, name: &str) -> Option<Vec<T>> {
    match members.member(name) {
        Some(raw) => {
            let items: Option<Vec<T>> = serde_json::from_slice(raw).ok()?;
            Some(items.unwrap_or_default())
        }
        None => (!members.is_too_long(name)).then(Vec::new),
    }
}

/// Nova Multimodal Embeddings, `SINGLE_EMBEDDING`: one text, image, audio or video
/// (bedrock.md 3.2). The detail of an image decides its price.
pub(super) fn nova_embedding(body: &[Bytes]) -> Option<Asked> {
    let members = members(body, &["singleEmbeddingParams"]);
    let parameters = members.member("singleEmbeddingParams")?;
    let parameters: NovaParameters<'_> = serde_json::from_slice(parameters).ok()?;
    let NovaParameters {
        text,
        image,
        audio,
        video,
    } = parameters;
    let document = |image: &NovaImage| image.detail_level.as_deref() == Some("DOCUMENT_IMAGE");
    let unit = match image {
        Some(ref image) if document(image) => "input_image_document",
        Some(_) | None => "input_image",
    };
    Some(Asked {
        units: units_of(unit, u64::from(image.is_some())),
        characters: characters_of(text.iter().map(|text| &text.value)),
        unseen: audio.is_some() || video.is_some(),
    })
}

#[derive(Deserialize)]
struct NovaParameters<'a> {
    #[serde(borrow)]
    text: Option<NovaText<'a>>,
    image: Option<NovaImage>,
    audio: Option<IgnoredAny>,
    video: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct NovaText<'a> {
    #[serde(borrow, default)]
    value: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NovaImage {
    detail_level: Option<String>,
}

/// A text of the request, copied only where it has escapes.
#[derive(Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    fn characters(&self) -> u64 {
        u64::try_from(self.0.chars().count()).unwrap_or(u64::MAX)
    }
}

/// Characters of all texts; `None` of none.
fn characters_of<'a>(texts: impl Iterator<Item = &'a Text<'a>>) -> Option<u64> {
    texts.map(Text::characters).reduce(u64::saturating_add)
}

fn members(body: &[Bytes], wanted: &'static [&'static str]) -> MemberExtractor {
    let mut members = MemberExtractor::new(wanted);
    for piece in body {
        members.feed(piece);
    }
    members
}

fn units_of(name: &str, units: u64) -> Usage {
    let known = (units > 0).then(|| (Dimension::Named(Arc::from(name)), units));
    Usage::from_iter(known)
}

/// Documents of one search unit (Bedrock pricing page, footnote to Rerank).
const DOCUMENTS_PER_UNIT: u64 = 100;

/// Tokens of query and document together, up to which it counts as one (the same footnote).
const TOKENS_PER_DOCUMENT: u64 = 500;

/// About four characters of text make a token.
const CHARACTERS_PER_TOKEN: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::families::ReadRequest;

    type Units = Vec<(String, u64)>;

    /// Units, characters of text, whether something cannot be seen.
    fn read(how: ReadRequest, body: &str) -> Option<(Units, Option<u64>, bool)> {
        let pieces = body.as_bytes().chunks(7).map(Bytes::copy_from_slice);
        let asked = how(&pieces.collect::<Vec<_>>())?;
        let units = asked.units.iter();
        let units = units.map(|(unit, n)| (unit.name().to_owned(), n));
        Some((units.collect(), asked.characters, asked.unseen))
    }

    /// `characters` of 0: there is no text.
    fn check(how: ReadRequest, body: &str, units: &[(&str, u64)], characters: u64) {
        let units = units.iter().map(|(unit, n)| ((*unit).to_owned(), *n));
        let characters = (characters > 0).then_some(characters);
        let expected = Some((units.collect(), characters, false));
        assert_eq!(read(how, body), expected, "{body}");
    }

    #[test]
    fn a_hundred_documents_are_one_unit_and_unknown_ones_are_none() {
        for (documents, units) in [(1, 1), (100, 1), (101, 2)] {
            let documents = vec![r#""a,b]""#; documents].join(",");
            let body = format!(r#"{{"query":"q","documents":[{documents}],"top_n":1}}"#);
            check(searches, &body, &[("search_unit", units)], 0);
        }
        assert_eq!(read(searches, "{}"), None);
    }

    #[test]
    fn a_long_document_counts_as_several_and_the_query_takes_its_room() {
        // A query of 400 characters leaves 400 of the 500 tokens: 1,600 characters.
        let query = "q".repeat(400);
        for (characters, units) in [(1_600, 1), (1_601, 2), (3_201, 3)] {
            let document = "d".repeat(characters);
            let object = format!(r#"["{}"]"#, "d".repeat(characters - 4));
            for document in [format!("\"{document}\""), object] {
                let documents = vec![document; 100].join(",");
                let body = format!(r#"{{"query":"{query}","documents":[{documents}]}}"#);
                check(searches, &body, &[("search_unit", units)], 0);
            }
        }
    }

    #[test]
    fn titan_asks_for_an_image_where_one_is_present() {
        check(titan_image, r#"{"inputText":"a"}"#, &[], 1);
        let both = r#"{"inputText":"a","inputImage":"aGk="}"#;
        check(titan_image, both, &[("input_image", 1)], 1);
        check(
            titan_image,
            r#"{"inputImage":"aGk="}"#,
            &[("input_image", 1)],
            0,
        );
        check(
            titan_image,
            r#"{"inputText":"a","inputImage":null}"#,
            &[],
            1,
        );
        let large = format!(r#"{{"inputImage":"{}"}}"#, "A".repeat(2_000_000));
        check(titan_image, &large, &[("input_image", 1)], 0);
        assert_eq!(read(titan_image, r#"{"inputText":"a""#), None);
    }

    #[test]
    fn cohere_images_are_counted_in_both_forms() {
        check(cohere_embed, r#"{"texts":["a\u00e9","\n"]}"#, &[], 3);
        check(
            cohere_embed,
            r#"{"images":["x","y"]}"#,
            &[("input_image", 2)],
            0,
        );
        let mixed = r#"{"inputs":[{"content":[{"type":"text","text":"abc"},
            {"type":"image_url","image_url":{"url":"data:"}}]}]}"#;
        check(cohere_embed, mixed, &[("input_image", 1)], 3);
        assert_eq!(read(cohere_embed, r#"{"images":7}"#), None);
        let large = format!(r#"{{"images":["{}"]}}"#, "A".repeat(2_000_000));
        assert_eq!(read(cohere_embed, &large), None, "too long to be counted");
    }

    #[test]
    fn four_characters_are_about_a_token() {
        for (characters, tokens) in [(None, None), (Some(0), None), (Some(9), Some(3))] {
            let asked = Asked {
                characters,
                ..Asked::default()
            };
            assert_eq!(asked.tokens(), tokens);
        }
    }

    #[test]
    fn nova_asks_for_one_thing() {
        let body = |what: &str| {
            format!(r#"{{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{{{what}}}}}"#)
        };
        check(nova_embedding, &body(r#""text":{"value":"a"}"#), &[], 1);
        let elsewhere = body(r#""text":{"source":{"s3Location":{"uri":"s3://b/k"}}}"#);
        let expected = Some((Vec::new(), Some(0), false));
        assert_eq!(read(nova_embedding, &elsewhere), expected);
        let image = body(r#""image":{"format":"png","source":{"bytes":"aGk="}}"#);
        check(nova_embedding, &image, &[("input_image", 1)], 0);
        let document = body(r#""image":{"detailLevel":"DOCUMENT_IMAGE"}"#);
        check(nova_embedding, &document, &[("input_image_document", 1)], 0);
        let video = body(r#""video":{"format":"mp4"}"#);
        assert_eq!(read(nova_embedding, &video), Some((Vec::new(), None, true)));
        assert_eq!(
            read(nova_embedding, r#"{"taskType":"SEGMENTED_EMBEDDING"}"#),
            None
        );
    }
}
