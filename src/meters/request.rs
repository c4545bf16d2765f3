//! What a request says about price and caller, found without parsing prompts.
//!
//! A body of many kilobytes is only searched for the names of the wanted members (`memmem`, with
//! names that straddle pieces found too); it is read member by member only where one occurs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::codec::{MemberExtractor, occurs};
use crate::domain::{Operation, ServiceTier};

/// What a request says beside the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The service tier it asks for.
    pub tier: Option<ServiceTier>,
    /// Request metadata (`X-Amzn-Bedrock-Request-Metadata` or `requestMetadata`), by key. At
    /// most 16 pairs, as Bedrock accepts.
    pub metadata: Vec<(String, String)>,
    /// `metadata.user_id` of a Claude body.
    pub user_id: Option<String>,
}

/// Reads the facts of a request from its headers and its body, which may lie in pieces. What is
/// malformed counts as absent: Bedrock will refuse it.
pub fn request_facts(operation: Operation, headers: &HeaderMap, body: &[Bytes]) -> RequestFacts {
    match operation {
        Operation::Converse | Operation::ConverseStream => converse_facts(body),
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => {
            invoke_facts(headers, body)
        }
        Operation::InvokeModelWithBidirectionalStream
        | Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => RequestFacts::default(),
    }
}

fn converse_facts(body: &[Bytes]) -> RequestFacts {
    #[derive(Deserialize)]
    struct Tier {
        #[serde(rename = "type")]
        tier: String,
    }
    static NEEDLES: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["\"serviceTier\"", "\"requestMetadata\""].map(Finder::new));
    let Some(members) = extract(body, &*NEEDLES, &["serviceTier", "requestMetadata"]) else {
        return RequestFacts::default();
    };
    let tier: Option<Tier> = members.member("serviceTier").and_then(parse);
    RequestFacts {
        tier: tier.map(|tier| ServiceTier::from_name(&tier.tier)),
        metadata: members
            .member("requestMetadata")
            .map(pairs)
            .unwrap_or_default(),
        user_id: None,
    }
}

fn invoke_facts(headers: &HeaderMap, body: &[Bytes]) -> RequestFacts {
    static NEEDLES: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["\"service_tier\"", "\"user_id\""].map(Finder::new));
    #[derive(Deserialize)]
    struct Metadata {
        user_id: Option<String>,
    }
    let header = |name: &HeaderName| headers.get(name).map(http::HeaderValue::as_bytes);
    let members = extract(body, &*NEEDLES, &["service_tier", "metadata"]);
    let member = |name: &str| members.as_ref().and_then(|members| members.member(name));
    let metadata: Option<Metadata> = member("metadata").and_then(parse);
    let in_header = header(&SERVICE_TIER).and_then(|tier| str::from_utf8(tier).ok());
    let in_body = || member("service_tier").and_then(parse::<String>);
    let tier = in_header.map(str::to_owned).or_else(in_body);
    RequestFacts {
        tier: tier.as_deref().map(tier_asked),
        metadata: header(&REQUEST_METADATA).map(pairs).unwrap_or_default(),
        user_id: metadata.and_then(|metadata| metadata.user_id),
    }
}

/// Anthropic's own word for "never priority" beside those that Bedrock knows.
fn tier_asked(name: &str) -> ServiceTier {
    match name {
        "standard_only" => ServiceTier::Standard,
        other => ServiceTier::from_name(other),
    }
}

/// The wanted members, where any needle occurs at all.
fn extract(
    body: &[Bytes],
    needles: &[Finder<'static>],
    wanted: &'static [&'static str],
) -> Option<MemberExtractor> {
    if !needles.iter().any(|needle| occurs(body, needle)) {
        return None;
    }
    let mut members = MemberExtractor::new(wanted);
    for piece in body {
        members.feed(piece);
    }
    Some(members)
}

fn pairs(raw: &[u8]) -> Vec<(String, String)> {
    const PAIRS_MAX: usize = 16;
    let pairs: Option<BTreeMap<String, String>> = parse(raw);
    let pairs = pairs.filter(|pairs| pairs.len() <= PAIRS_MAX);
    pairs.unwrap_or_default().into_iter().collect()
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a [u8]) -> Option<T> {
    serde_json::from_slice(raw).ok()
}

const SERVICE_TIER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");
const REQUEST_METADATA: HeaderName = HeaderName::from_static("x-amzn-bedrock-request-metadata");

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, size: usize) -> Vec<Bytes> {
        let chunks = text.as_bytes().chunks(size.max(1));
        chunks.map(Bytes::copy_from_slice).collect()
    }

    fn facts(operation: Operation, headers: &[(&'static str, &str)], body: &str) -> RequestFacts {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let whole = request_facts(operation, &map, &pieces(body, body.len()));
        for size in 1..body.len() {
            assert_eq!(request_facts(operation, &map, &pieces(body, size)), whole);
        }
        whole
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_converse_request_tells_tier_and_metadata_in_its_body() {
        let body = r#"{"messages":[{"content":[{"text":"\"requestMetadata\":{\"team\":\"x\"}"}]}],
            "serviceTier":{"type":"flex"},"requestMetadata":{"team":"red","app":"chat"}}"#;
        let read = facts(Operation::ConverseStream, &[], body);
        assert_eq!(read.tier, Some(ServiceTier::Flex));
        assert_eq!(read.metadata, [pair("app", "chat"), pair("team", "red")]);
    }

    #[test]
    fn an_invoke_request_tells_them_in_headers_and_the_user_in_its_body() {
        let headers = [
            ("x-amzn-bedrock-service-tier", "priority"),
            ("x-amzn-bedrock-request-metadata", r#"{"team":"red"}"#),
        ];
        let body = r#"{"max_tokens":1,"service_tier":"flex","metadata":{"user_id":"u1"}}"#;
        let read = facts(Operation::InvokeModel, &headers, body);
        assert_eq!(read.tier, Some(ServiceTier::Priority));
        assert_eq!(read.metadata, [pair("team", "red")]);
        assert_eq!(read.user_id.as_deref(), Some("u1"));
        let read = facts(
            Operation::InvokeModel,
            &[],
            r#"{"service_tier":"standard_only"}"#,
        );
        assert_eq!(read.tier, Some(ServiceTier::Standard));
    }

    #[test]
    fn names_in_the_prompt_and_malformed_values_count_as_absent() {
        for body in [
            r#"{"messages":[{"serviceTier":{"type":"flex"},"requestMetadata":{"a":"b"}}]}"#,
            r#"{"serviceTier":"flex","requestMetadata":{"a":1}}"#,
            r#"{"serviceTier":{"type":"fl"#,
            "\"serviceTier\"",
        ] {
            assert_eq!(
                facts(Operation::Converse, &[], body),
                RequestFacts::default(),
                "{body}"
            );
        }
        let many: Vec<String> = (0..17).map(|n| format!(r#""k{n}":"v""#)).collect();
        let headers = format!("{{{}}}", many.join(","));
        let headers = [("x-amzn-bedrock-request-metadata", headers.as_str())];
        assert!(
            facts(Operation::InvokeModel, &headers, "{}")
                .metadata
                .is_empty()
        );
    }
}
