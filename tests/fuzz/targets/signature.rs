//! Authorization headers and the requests that they sign: what is read stood there, and whatever
//! arrives, a signature that nobody made does not hold.

use bedrock_meter::aws::{Arrived, SignedHead, verify};
use http::{HeaderMap, HeaderValue};

pub(super) fn run(data: &[u8]) {
    // The first line is the authorization header, the rest path, query and another header.
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (authorization, path, query, value) = (line(), line(), line(), line());
    let mut headers = HeaderMap::new();
    let Ok(authorization) = HeaderValue::from_bytes(authorization) else {
        return;
    };
    headers.insert("authorization", authorization.clone());
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.append("x-amz-meta", value.clone());
        headers.append("x-amz-meta", value);
    }
    let Some(Ok(head)) = SignedHead::parse(&headers) else {
        return;
    };
    let said = std::str::from_utf8(authorization.as_bytes()).unwrap();
    let SignedHead {
        access_key_id,
        day,
        region,
        service,
        signed_headers,
        signature,
    } = head;
    let scope = format!("{access_key_id}/{day}/{region}/{service}/aws4_request");
    for part in [&scope, signed_headers, signature] {
        assert!(said.contains(part), "{part} did not stand there");
    }
    assert!(head.names().is_sorted_by(|a, b| a < b));
    assert_eq!((day.len(), signature.len()), (8, 64));
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let request = Arrived {
        method: "POST",
        path_prefix: "",
        path: text(path),
        query: text(query),
        host: "127.0.0.1:8080",
        headers: &headers,
        payload_hash: "UNSIGNED-PAYLOAD",
        date: "20261126T120000Z",
    };
    assert!(!verify(&head, &request, "a secret that signed nothing"));
}
