//! Writes tenant, application and call id into the request metadata of a call: a header of the
//! Invoke operations, a member of a Converse body. Of the client's own pairs those under our keys
//! are taken out, however they are spelled; the others stay as they came.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::{Refusal, RefusalKind};
use crate::codec::{Text, joined, read_object, replaced};
use crate::domain::Operation;
use crate::ledger::OpenCall;
use crate::relay::Gathered;
use crate::upstream::MetadataKeys;

/// Whether a body of this operation is changed, so that its hash as it came is of no use.
pub(super) const fn changes_body(keys: &MetadataKeys, operation: Operation) -> bool {
    let converses = matches!(operation, Operation::Converse | Operation::ConverseStream);
    converses && !keys.is_empty()
}

/// Writes what the settings ask for. What is no JSON stays as it is: Bedrock refuses it.
///
/// # Errors
/// When the client's own pairs leave no room, or can be read in two ways.
pub(super) fn stamp(
    keys: &MetadataKeys,
    call: &OpenCall,
    headers: &mut HeaderMap,
    gathered: &mut Gathered,
) -> Result<(), Refusal> {
    if keys.is_empty() {
        return Ok(());
    }
    let own = Own::of(keys, call);
    let stamped = match call.operation {
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => {
            own.stamp_header(headers)
        }
        Operation::Converse | Operation::ConverseStream => {
            // It has no meaning there, and shall not be given one.
            headers.remove(REQUEST_METADATA);
            own.stamp_body(&gathered.pieces).map(|pieces| {
                if let Some(pieces) = pieces {
                    gathered.replace(pieces);
                }
            })
        }
        Operation::InvokeModelWithBidirectionalStream
        | Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => Ok(()),
    };
    stamped.map_err(|fault| fault.refusal().of(&call.tenant))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Full,
    Unreadable,
}

impl Fault {
    fn refusal(self) -> Refusal {
        match self {
            Self::Full => {
                let detail = "with the proxy's own pairs, the request metadata is more than the \
                              16 pairs (8,500 characters in the header) that Bedrock takes";
                Refusal::new(RefusalKind::MetadataFull, detail)
            }
            Self::Unreadable => {
                let detail = "the request metadata can be read in more than one way";
                Refusal::new(RefusalKind::MetadataUnreadable, detail)
            }
        }
    }
}

/// Our pairs.
struct Own<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Own<'a> {
    fn of(keys: &'a MetadataKeys, call: &'a OpenCall) -> Self {
        let mut own = Self(Vec::with_capacity(3));
        own.push(keys.tenant.as_ref(), || call.tenant.as_str().into());
        own.push(keys.application.as_ref(), || {
            call.application.as_str().into()
        });
        own.push(keys.call_id.as_ref(), || call.call_id.to_string().into());
        own
    }

    fn push(&mut self, key: Option<&'a String>, value: impl FnOnce() -> Cow<'a, str>) {
        if let Some(key) = key {
            self.0.push((key, value()));
        }
    }

    fn stamp_header(&self, headers: &mut HeaderMap) -> Result<(), Fault> {
        let mut values = headers.get_all(REQUEST_METADATA).iter();
        let text = values.next().map_or(&b""[..], HeaderValue::as_bytes);
        if values.next().is_some() {
            return Err(Fault::Unreadable);
        }
        let text = match text.trim_ascii() {
            b"" => Bytes::from_static(b"null"),
            text => Bytes::copy_from_slice(text),
        };
        if is_encoded_otherwise(std::slice::from_ref(&text)) {
            return Err(Fault::Unreadable);
        }
        let Some(merged) = self.merged(&text)? else {
            return Ok(());
        };
        let length = String::from_utf8_lossy(&merged).chars().count();
        if length > HEADER_CHARACTERS_MAX {
            return Err(Fault::Full);
        }
        let merged = HeaderValue::from_bytes(&merged).map_err(|_value| Fault::Unreadable)?;
        headers.insert(REQUEST_METADATA, merged);
        Ok(())
    }

    /// The pieces of the changed body; `None` where it stays.
    fn stamp_body(&self, pieces: &[Bytes]) -> Result<Option<Vec<Bytes>>, Fault> {
        if is_encoded_otherwise(pieces) {
            return Err(Fault::Unreadable);
        }
        let object = match read_object(pieces, |name| name == MEMBER) {
            Text::Object(object) => object,
            Text::UnreadableName => return Err(Fault::Unreadable),
            Text::Other => return Ok(None),
        };
        let (at, text): (Range<usize>, Bytes) = match object.members.as_slice() {
            [] => {
                let comma = if object.is_empty { "" } else { "," };
                let text = format!("\"{MEMBER}\":{}{comma}", self.alone());
                (object.begin..object.begin, text.into())
            }
            [member] => {
                if member.value.len() > MEMBER_BYTES_MAX {
                    return Err(Fault::Full);
                }
                let value = joined(pieces, member.value.clone());
                let Some(merged) = self.merged(&value)? else {
                    return Ok(None);
                };
                (member.value.clone(), merged.into())
            }
            // Which of them counts is Bedrock's secret.
            [_, _, ..] => return Err(Fault::Unreadable),
        };
        Ok(Some(replaced(pieces, &[(at, text)])))
    }

    /// The client's object with our pairs in it; `None` where it is no object.
    fn merged(&self, text: &Bytes) -> Result<Option<Vec<u8>>, Fault> {
        let object = match read_object(std::slice::from_ref(text), |_any| true) {
            Text::Object(object) => object,
            Text::UnreadableName => return Err(Fault::Unreadable),
            Text::Other if **text == *b"null" => return Ok(Some(self.alone().into_bytes())),
            Text::Other => return Ok(None),
        };
        let is_ours = |name: &str| self.0.iter().any(|(key, _)| *key == name);
        let mut theirs = HashSet::new();
        let mut merged = self.alone().into_bytes();
        merged.pop();
        for member in &object.members {
            if !is_ours(&member.name) {
                theirs.insert(member.name.as_str());
                merged.push(b',');
                merged.extend_from_slice(text.get(member.whole.clone()).unwrap_or_default());
            }
        }
        merged.push(b'}');
        if theirs.len().saturating_add(self.0.len()) > PAIRS_MAX {
            return Err(Fault::Full);
        }
        Ok(Some(merged))
    }

    /// An object of our pairs alone.
    fn alone(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let pairs = self.0.iter();
        let pairs: Vec<String> = pairs
            .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)))
            .collect();
        format!("{{{}}}", pairs.join(","))
    }
}

/// Whether a parser might take the text for JSON of another encoding than UTF-8 without a mark:
/// such a parser would read what we do not (RFC 8259, section 8.1, allows neither).
fn is_encoded_otherwise(pieces: &[Bytes]) -> bool {
    let head: Vec<u8> = pieces.iter().flatten().take(4).copied().collect();
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe"];
    head.contains(&0) || marks.iter().any(|mark| head.starts_with(mark))
}

const REQUEST_METADATA: HeaderName = HeaderName::from_static("x-amzn-bedrock-request-metadata");
const MEMBER: &str = "requestMetadata";
/// Limits of Bedrock (service model, `RequestMetadata` and `InvokeModel.requestMetadata`).
const PAIRS_MAX: usize = 16;
const HEADER_CHARACTERS_MAX: usize = 8_500;
/// More than 16 pairs of 256 characters each can take, every one of them an escape.
const MEMBER_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn own() -> Own<'static> {
        Own(vec![("tenant", "red".into()), ("call", "c-1".into())])
    }

    fn pieces(text: &[u8], size: usize) -> Vec<Bytes> {
        let chunks = text.chunks(size.max(1));
        chunks.map(Bytes::copy_from_slice).collect()
    }

    fn body(text: &str) -> Result<Option<String>, Fault> {
        let whole = own().stamp_body(&pieces(text.as_bytes(), text.len()));
        let whole = whole.map(|pieces| pieces.map(|pieces| pieces.concat()));
        for size in 1..text.len() {
            let cut = own().stamp_body(&pieces(text.as_bytes(), size));
            assert_eq!(
                cut.map(|pieces| pieces.map(|pieces| pieces.concat())),
                whole
            );
        }
        whole.map(|text| text.map(|text| String::from_utf8(text).unwrap()))
    }

    const OURS: &str = r#""tenant":"red","call":"c-1""#;

    #[test]
    fn a_body_has_our_pairs_and_keeps_every_other_byte() {
        let check = |text: &str, expected: &str| {
            let expected = expected.replace("OURS", OURS);
            assert_eq!(body(text).unwrap().unwrap(), expected, "{text}");
        };
        check("{}", r#"{"requestMetadata":{OURS}}"#);
        check(
            r#" { "a" : 1 }"#,
            r#" {"requestMetadata":{OURS}, "a" : 1 }"#,
        );
        check(
            r#"{"a":1,"requestMetadata": {"x":"y"} }"#,
            r#"{"a":1,"requestMetadata": {OURS,"x":"y"} }"#,
        );
        check(
            r#"{"requestMetadata":null}"#,
            r#"{"requestMetadata":{OURS}}"#,
        );
        check(r#"{"requestMetadata":{}}"#, r#"{"requestMetadata":{OURS}}"#);
        check(
            r#"{"requestMetadata":{"a":"b"}}tail"#,
            r#"{"requestMetadata":{OURS,"a":"b"}}tail"#,
        );
    }

    #[test]
    fn nobody_forges_our_keys() {
        for text in [
            r#"{"requestMetadata":{"tenant":"blue","x":"y"}}"#,
            r#"{"requestMetadata":{"\u0074enant":"blue","x":"y"}}"#,
            r#"{"request\u004detadata":{"tenan\u0074":"blue","x":"y","c\u0061ll":"z"}}"#,
            r#"{"requestMetadata":{"x":"y","tenant":{"a":"blue"},"tenant":"blue"}}"#,
            r#"{"requestMetadata":{"tenant":"blue","x":"y"}} {"requestMetadata":1}"#,
        ] {
            let stamped = body(text).unwrap().unwrap();
            assert!(!stamped.contains("blue"), "{stamped}");
            assert!(
                stamped.contains(OURS) && stamped.contains(r#""x":"y""#),
                "{stamped}"
            );
        }
        for text in [
            r#"{"requestMetadata":{"tenant":"blue"},"requestMetadata":{"x":"y"}}"#,
            r#"{"requestMetadata":{"tenant":"blue"},"\u0072equestMetadata":5}"#,
            r#"{"requestMetadata":{"\ud800":"blue"}}"#,
            "\u{feff}{\"requestMetadata\":{\"tenant\":\"blue\"}}",
            "{\0\"\0",
        ] {
            assert_eq!(body(text), Err(Fault::Unreadable), "{text}");
        }
    }

    #[test]
    fn what_bedrock_refuses_passes_untouched() {
        for text in [
            "",
            "not json",
            "[]",
            r#"{"requestMetadata":"text"}"#,
            r#"{"requestMetadata":[1]}"#,
            r#"{"requestMetadata":{"a":"b""#,
            r#"{"a":1"#,
        ] {
            assert_eq!(body(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn sixteen_pairs_are_the_most() {
        let with = |count: usize, more: &str| {
            let pairs: Vec<_> = (0..count).map(|n| format!(r#""k{n}":"v""#)).collect();
            body(&format!(
                r#"{{"requestMetadata":{{{}{more}}}}}"#,
                pairs.join(",")
            ))
        };
        assert!(with(14, "").is_ok());
        assert!(with(14, r#","tenant":"x","k0":"again""#).is_ok());
        assert_eq!(with(15, ""), Err(Fault::Full));
        let long = "v".repeat(MEMBER_BYTES_MAX);
        let text = format!(r#"{{"requestMetadata":{{"a":"{long}"}}}}"#);
        let stamped = own().stamp_body(&pieces(text.as_bytes(), 1000));
        assert_eq!(stamped, Err(Fault::Full));
    }

    fn header(values: &[&str]) -> Result<String, Fault> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_METADATA, HeaderValue::from_str(value).unwrap());
        }
        own().stamp_header(&mut headers)?;
        Ok(headers[REQUEST_METADATA].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_header_is_made_merged_or_left() {
        let alone = format!("{{{OURS}}}");
        assert_eq!(header(&[]).unwrap(), alone);
        assert_eq!(header(&[" "]).unwrap(), alone);
        let merged = header(&[r#"{"t\u0065nant":"blue","a":"b"}"#]).unwrap();
        assert_eq!(merged, format!(r#"{{{OURS},"a":"b"}}"#));
        assert_eq!(header(&["tenant=blue"]).unwrap(), "tenant=blue");
        assert_eq!(header(&["{}", "{}"]), Err(Fault::Unreadable));
        let fits = |length: usize| header(&[&format!(r#"{{"a":"{}"}}"#, "v".repeat(length))]);
        let frame = alone.len() + r#","a":"""#.len();
        assert_eq!(
            fits(HEADER_CHARACTERS_MAX - frame).unwrap().len(),
            HEADER_CHARACTERS_MAX
        );
        assert_eq!(fits(HEADER_CHARACTERS_MAX - frame + 1), Err(Fault::Full));
    }

    /// A JSON text of the value in which some characters of names are escapes.
    fn spelled(value: &Value, escapes: bool) -> String {
        let text = value.to_string();
        if escapes {
            text.replace("tenant", r"t\u0065nant")
                .replace("requestM", r"request\u004d")
        } else {
            text
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_result_is_that_of_a_json_model(
            metadata in prop::option::of(prop::collection::btree_map(
                prop_oneof!["tenant", "call", "[a-z\"\\\\é{}]{1,4}"], "[a-z\"\\\\,:{}]{0,6}", 0..14,
            )),
            others in prop::collection::btree_map("[a-z{}\"]{1,5}", "[a-z\"\\\\,:{}]{0,9}", 0..4),
            escapes in any::<bool>(),
            sizes in prop::collection::vec(1_usize..30, 1..6),
        ) {
            let mut model: Map<String, Value> =
                others.into_iter().map(|(name, text)| (name, json!({ "t": [text] }))).collect();
            if let Some(metadata) = &metadata {
                model.insert(MEMBER.to_owned(), json!(metadata));
            }
            let text = spelled(&Value::Object(model.clone()), escapes);
            let (mut rest, mut cut) = (text.as_bytes(), Vec::new());
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*size).min(rest.len()));
                cut.push(Bytes::copy_from_slice(piece));
                rest = tail;
            }
            let mut expected = metadata.unwrap_or_default();
            expected.insert("tenant".to_owned(), "red".to_owned());
            expected.insert("call".to_owned(), "c-1".to_owned());
            model.insert(MEMBER.to_owned(), json!(expected));
            let stamped = own().stamp_body(&cut).unwrap().unwrap().concat();
            let read: Value = serde_json::from_slice(&stamped).unwrap();
            prop_assert_eq!(read, Value::Object(model));
        }
    }
}
