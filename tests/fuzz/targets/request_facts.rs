//! Facts of request bodies: the same however the body lies in pieces, and of limited number.

use bedrock_meter::domain::Operation;
use bedrock_meter::meters::request_facts;
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
    }
}
