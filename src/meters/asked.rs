//! What a request asks for that its answer does not count: search units, images.
//!
//! Only models whose bill depends on it have their request read (`families`).

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::codec::MemberExtractor;
use crate::domain::{Dimension, Usage};

/// Units that a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The quantities besides the tokens of texts.
    pub(super) units: Usage,
    /// There is text, whose tokens the answer is to state.
    pub(super) text: bool,
    /// There is audio or video: its seconds cannot be seen, neither here nor in the answer.
    pub(super) unseen: bool,
}

/// Rerank: one query with up to a hundred documents is a unit. Documents of more than some 500
/// tokens count as several, which bytes cannot tell: the count is an estimate and says so.
pub(super) fn searches(body: &[Bytes]) -> Option<Asked> {
    let members = members(body, &["documents"]);
    let documents: Vec<IgnoredAny> = serde_json::from_slice(members.member("documents")?).ok()?;
    let units = documents.len().div_ceil(DOCUMENTS_PER_UNIT).max(1);
    Some(Asked {
        units: units_of("search_unit", units),
        ..Asked::default()
    })
}

/// Titan Multimodal Embeddings: an image where `inputImage` is present (bedrock.md 3.3).
pub(super) fn titan_image(body: &[Bytes]) -> Option<Asked> {
    let members = members(body, &["inputText", "inputImage"]);
    let has = |name| members.member(name).is_some_and(|raw| raw != b"null");
    // An image of more than the extractor holds is no member; Bedrock takes 25 MB (5 MB decoded).
    let image = has("inputImage") || members.is_too_long("inputImage");
    members.is_complete().then(|| Asked {
        units: units_of("input_image", usize::from(image)),
        text: has("inputText"),
        unseen: false,
    })
}

/// Cohere Embed: `texts`, `images`, and from version 4 `inputs` that mix both (bedrock.md 3.5).
pub(super) fn cohere_embed(body: &[Bytes]) -> Option<Asked> {
    #[derive(Deserialize)]
    struct Input {
        content: Vec<Part>,
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "type")]
        kind: String,
    }
    let members = members(body, &["texts", "images", "inputs"]);
    let list = |name| match members.member(name) {
        Some(raw) => serde_json::from_slice::<Option<Vec<IgnoredAny>>>(raw)
            .ok()
            .map(|items| items.map_or(0, |items| items.len())),
        None => (!members.is_too_long(name)).then_some(0),
    };
    let mixed = match members.member("inputs") {
        Some(raw) => serde_json::from_slice::<Option<Vec<Input>>>(raw)
            .ok()?
            .unwrap_or_default(),
        None if members.is_too_long("inputs") => return None,
        None => Vec::new(),
    };
    let parts = || mixed.iter().flat_map(|input| &input.content);
    let mixed_images = parts().filter(|part| part.kind == "image_url").count();
    let mixed_texts = parts().any(|part| part.kind == "text");
    let images = list("images")?.saturating_add(mixed_images);
    Some(Asked {
        units: units_of("input_image", images),
        text: list("texts")? > 0 || mixed_texts,
        unseen: false,
    })
}

/// Nova Multimodal Embeddings, `SINGLE_EMBEDDING`: one text, image, audio or video
/// (bedrock.md 3.2). The detail of an image decides its price.
pub(super) fn nova_embedding(body: &[Bytes]) -> Option<Asked> {
    let members = members(body, &["singleEmbeddingParams"]);
    let parameters = members.member("singleEmbeddingParams")?;
    let parameters: NovaParameters = serde_json::from_slice(parameters).ok()?;
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
        units: units_of(unit, usize::from(image.is_some())),
        text: text.is_some(),
        unseen: audio.is_some() || video.is_some(),
    })
}

#[derive(Deserialize)]
struct NovaParameters {
    text: Option<IgnoredAny>,
    image: Option<NovaImage>,
    audio: Option<IgnoredAny>,
    video: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NovaImage {
    detail_level: Option<String>,
}

fn members(body: &[Bytes], wanted: &'static [&'static str]) -> MemberExtractor {
    let mut members = MemberExtractor::new(wanted);
    for piece in body {
        members.feed(piece);
    }
    members
}

fn units_of(name: &str, units: usize) -> Usage {
    let units = u64::try_from(units).unwrap_or(u64::MAX);
    let known = (units > 0).then(|| (Dimension::Named(Arc::from(name)), units));
    Usage::from_iter(known)
}

/// Documents of one search unit (Bedrock pricing page, footnote to Rerank).
const DOCUMENTS_PER_UNIT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::families::ReadRequest;

    type Units = Vec<(String, u64)>;

    /// Units, whether there is text, whether something cannot be seen.
    fn read(how: ReadRequest, body: &str) -> Option<(Units, bool, bool)> {
        let pieces = body.as_bytes().chunks(7).map(Bytes::copy_from_slice);
        let asked = how(&pieces.collect::<Vec<_>>())?;
        let units = asked.units.iter();
        let units = units.map(|(unit, n)| (unit.name().to_owned(), n));
        Some((units.collect(), asked.text, asked.unseen))
    }

    fn check(how: ReadRequest, body: &str, units: &[(&str, u64)], text: bool) {
        let units = units.iter().map(|(unit, n)| ((*unit).to_owned(), *n));
        assert_eq!(
            read(how, body),
            Some((units.collect(), text, false)),
            "{body}"
        );
    }

    #[test]
    fn a_hundred_documents_are_one_unit_and_unknown_ones_are_none() {
        for (documents, units) in [(1, 1), (100, 1), (101, 2)] {
            let documents = vec![r#""a,b]""#; documents].join(",");
            let body = format!(r#"{{"query":"q","documents":[{documents}],"top_n":1}}"#);
            check(searches, &body, &[("search_unit", units)], false);
        }
        assert_eq!(read(searches, "{}"), None);
    }

    #[test]
    fn titan_asks_for_an_image_where_one_is_present() {
        check(titan_image, r#"{"inputText":"a"}"#, &[], true);
        let both = r#"{"inputText":"a","inputImage":"aGk="}"#;
        check(titan_image, both, &[("input_image", 1)], true);
        check(
            titan_image,
            r#"{"inputImage":"aGk="}"#,
            &[("input_image", 1)],
            false,
        );
        check(
            titan_image,
            r#"{"inputText":"a","inputImage":null}"#,
            &[],
            true,
        );
        let large = format!(r#"{{"inputImage":"{}"}}"#, "A".repeat(2_000_000));
        check(titan_image, &large, &[("input_image", 1)], false);
        assert_eq!(read(titan_image, r#"{"inputText":"a""#), None);
    }

    #[test]
    fn cohere_images_are_counted_in_both_forms() {
        check(cohere_embed, r#"{"texts":["a","b"]}"#, &[], true);
        check(
            cohere_embed,
            r#"{"images":["x","y"]}"#,
            &[("input_image", 2)],
            false,
        );
        let mixed = r#"{"inputs":[{"content":[{"type":"text","text":"a"},
            {"type":"image_url","image_url":{"url":"data:"}}]}]}"#;
        check(cohere_embed, mixed, &[("input_image", 1)], true);
        assert_eq!(read(cohere_embed, r#"{"images":7}"#), None);
        let large = format!(r#"{{"images":["{}"]}}"#, "A".repeat(2_000_000));
        assert_eq!(read(cohere_embed, &large), None, "too long to be counted");
    }

    #[test]
    fn nova_asks_for_one_thing() {
        let body = |what: &str| {
            format!(r#"{{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{{{what}}}}}"#)
        };
        check(nova_embedding, &body(r#""text":{"value":"a"}"#), &[], true);
        let image = body(r#""image":{"format":"png","source":{"bytes":"aGk="}}"#);
        check(nova_embedding, &image, &[("input_image", 1)], false);
        let document = body(r#""image":{"detailLevel":"DOCUMENT_IMAGE"}"#);
        check(
            nova_embedding,
            &document,
            &[("input_image_document", 1)],
            false,
        );
        let video = body(r#""video":{"format":"mp4"}"#);
        assert_eq!(
            read(nova_embedding, &video),
            Some((Vec::new(), false, true))
        );
        assert_eq!(
            read(nova_embedding, r#"{"taskType":"SEGMENTED_EMBEDDING"}"#),
            None
        );
    }
}
