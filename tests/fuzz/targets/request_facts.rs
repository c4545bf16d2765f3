//! Facts of request bodies: the same however the body lies in pieces, and of limited number. What a
//! request allows its answer is never read as less than a parser reads.

use bedrock_meter::domain::Operation;
use bedrock_meter::meters::{asked_tokens, request_facts};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

pub(super) fn run(data: &[u8]) {
    let (pieces, whole) = super::pieces(data);
    let pieces: Vec<Bytes> = pieces.map(Bytes::copy_from_slice).collect();
    let whole = Bytes::copy_from_slice(whole);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(&whole) {
        headers.insert("x-amzn-bedrock-request-metadata", value);
    }
    for operation in [Operation::Converse, Operation::InvokeModel] {
        let facts = request_facts(operation, &headers, std::slice::from_ref(&whole));
        let cut = request_facts(operation, &headers, &pieces);
        assert_eq!(format!("{cut:?}"), format!("{facts:?}"));
        assert!(facts.metadata.len() <= 16);
        let asked = asked_tokens(operation, None, std::slice::from_ref(&whole)).output_max;
        assert_eq!(asked_tokens(operation, None, &pieces).output_max, asked);
        let parsed: Option<serde_json::Value> = serde_json::from_slice(&whole).ok();
        let parsed = parsed.as_ref().and_then(|body| {
            if operation == Operation::Converse {
                body["inferenceConfig"]["maxTokens"].as_u64()
            } else {
                body["max_tokens"].as_u64()
            }
        });
        if let (Some(asked), Some(parsed)) = (asked, parsed) {
            assert!(asked >= parsed, "{asked} is less than {parsed}");
        }
    }
}
