//! What a request names: however the body lies in pieces the same, and no `s3://` URI that an
//! independent reader finds outside of texts is missed.

use bedrock_meter::domain::Operation;
use bedrock_meter::routing::{named, route};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

pub(super) fn run(data: &[u8]) {
    let (pieces, whole) = super::pieces(data);
    let pieces: Vec<Bytes> = pieces.map(Bytes::copy_from_slice).collect();
    let whole = Bytes::copy_from_slice(whole);
    let headers = HeaderMap::new();
    let found = route(&Method::POST, "/model/amazon.nova-pro-v1%3A0/converse").unwrap();
    assert_eq!(found.operation, Operation::Converse);
    let read = named(&found, &headers, std::slice::from_ref(&whole));
    assert_eq!(named(&found, &headers, &pieces), read);
    let Ok(value) = serde_json::from_slice::<Value>(&whole) else {
        return;
    };
    if read.unreadable {
        return;
    }
    let mut expected = Vec::new();
    uris(&value, false, &mut expected);
    for uri in expected {
        assert!(read.buckets.contains(&uri), "{uri} is missed");
    }
}

/// Of a member that stands twice this reader keeps the last one only: it may find fewer.
fn uris(value: &Value, is_text: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !is_text && text.to_ascii_lowercase().starts_with("s3://") => {
            found.push(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| uris(item, is_text, found)),
        Value::Object(members) => {
            for (name, value) in members {
                uris(value, TEXTS.contains(&name.as_str()), found);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Texts of conversations, and what is judged by a rule of its own.
const TEXTS: [&str; 16] = [
    "text",
    "content",
    "prompt",
    "system",
    "inputText",
    "inputPrompt",
    "query",
    "documents",
    "texts",
    "stop",
    "stop_sequences",
    "stopSequences",
    "negativeText",
    "arguments",
    "description",
    "guardrailIdentifier",
];
