//! Response headers, spelled as Bedrock spells them.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::answer::{Body, Script};
use super::bodies::Generation;
use super::usage::Usage;

/// The tier asked for, and the tier served.
pub(super) const TIER_HEADER: &str = "x-amzn-bedrock-service-tier";
/// The latency mode asked for, and the one served.
pub(super) const LATENCY_HEADER: &str = "x-amzn-bedrock-performanceconfig-latency";

pub(super) fn add_invoke_headers(headers: &mut HeaderMap, generation: &Generation) {
    for (name, count) in generation.reported.iter().flat_map(Usage::headers) {
        headers.insert(name, count.into());
    }
    headers.insert(
        "x-amzn-bedrock-invocation-latency",
        generation.latency_ms.into(),
    );
    add_echo_headers(headers, generation);
}

pub(super) fn add_echo_headers(headers: &mut HeaderMap, generation: &Generation) {
    if let Some(tier) = &generation.tier {
        insert_header(headers, TIER_HEADER, tier);
    }
    if let Some(latency) = &generation.latency {
        insert_header(headers, LATENCY_HEADER, latency);
    }
}

/// Adds a header, unless the text cannot be one.
pub(super) fn insert_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

pub(super) fn response(status: u16, headers: HeaderMap, script: Script) -> Response<Body> {
    let mut response = Response::new(script.into_body());
    if let Ok(status) = StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    *response.headers_mut() = headers;
    response
}
