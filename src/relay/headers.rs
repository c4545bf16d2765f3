//! Which headers pass. What is dropped is a closed list; everything else goes on as it came.

use http::{HeaderMap, HeaderName, header};

/// Request headers that never travel upstream, besides those that begin with `x-forwarded-`, those
/// that `connection` names, and the tenancy headers of the settings:
/// the client's proof (the proxy signs anew), hop-by-hop headers, what other hops wrote about
/// the client, and negotiation that is not the client's to make with Bedrock: a compressed
/// answer could not be metered.
pub const DROPPED_REQUEST_HEADERS: [&str; 20] = [
    "authorization",
    "x-api-key",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept-encoding",
    "expect",
    "forwarded",
    "x-real-ip",
];

/// What load balancers write about the client: `-for`, `-host`, `-port`, `-proto`, `-client-cert`.
const FORWARDED: &str = "x-forwarded-";

/// Answer headers that are about the connection to Bedrock, not about the answer.
pub const DROPPED_ANSWER_HEADERS: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request headers that are dropped, ready to use: the closed list and the tenancy headers.
#[derive(Clone, Debug)]
pub struct RequestHeaderFilter {
    /// The names by their length: hardly any name that passes has to be compared with more than
    /// one of them.
    dropped: Vec<Vec<HeaderName>>,
}

impl RequestHeaderFilter {
    /// The filter for these tenancy headers.
    pub fn new(tenancy: impl IntoIterator<Item = HeaderName>) -> Self {
        let closed = DROPPED_REQUEST_HEADERS
            .iter()
            .map(|name| HeaderName::from_static(name));
        let mut dropped: Vec<Vec<HeaderName>> = Vec::new();
        for name in closed.chain(tenancy) {
            let length = name.as_str().len();
            if dropped.len() <= length {
                dropped.resize_with(length.saturating_add(1), Vec::new);
            }
            if let Some(names) = dropped.get_mut(length) {
                names.push(name);
            }
        }
        Self { dropped }
    }

    /// The headers that travel upstream, with room for those that the proxy adds.
    pub fn passing(&self, headers: &HeaderMap) -> HeaderMap {
        let mut passing = HeaderMap::with_capacity(headers.len());
        let named = named_by_connection(headers);
        for (name, value) in headers {
            if !self.drops(name) && !named.contains(name) {
                passing.append(name, value.clone());
            }
        }
        passing
    }

    fn drops(&self, name: &HeaderName) -> bool {
        let listed = self.dropped.get(name.as_str().len());
        listed.is_some_and(|names| names.contains(name)) || name.as_str().starts_with(FORWARDED)
    }
}

/// Drops the headers that are about the connection to Bedrock.
pub fn filter_answer(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    // Few of the listed are ever there: a look-up for each would cost more.
    let listed = headers
        .keys()
        .filter(|name| DROPPED_ANSWER_HEADERS.contains(name));
    let listed: Vec<HeaderName> = listed.cloned().collect();
    for name in listed {
        headers.remove(name);
    }
}

/// Headers that `connection` names belong to that connection too (RFC 9110 section 7.6.1).
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    // What nearly every connection says, and names no header.
    let telling = lines.filter(|line| *line != "keep-alive");
    telling
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        let pair = |name: &&str| (name.parse().unwrap(), HeaderValue::from_static("v"));
        names.iter().map(pair).collect()
    }

    #[test]
    fn only_the_closed_list_is_dropped() {
        let tenancy = [HeaderName::from_static("x-bedrock-meter-tenant")];
        let filter = RequestHeaderFilter::new(tenancy);
        let passing = [
            "user-agent",
            "amz-sdk-request",
            "x-amzn-bedrock-trace",
            "content-type",
            "traceparent",
            "tracestate",
        ];
        let mut all = headers(&passing);
        all.extend(headers(&DROPPED_REQUEST_HEADERS));
        all.extend(headers(&["x-bedrock-meter-tenant"]));
        all.extend(headers(&["x-forwarded-for", "x-forwarded-port"]));
        assert_eq!(filter.passing(&all), headers(&passing));
    }

    #[test]
    fn headers_named_by_connection_are_dropped() {
        let mut all = headers(&["x-hop", "x-end"]);
        all.insert(header::CONNECTION, HeaderValue::from_static("close, X-Hop"));
        filter_answer(&mut all);
        assert_eq!(all, headers(&["x-end"]));

        let mut all = headers(&["x-hop", "x-end"]);
        all.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        all.append(header::CONNECTION, HeaderValue::from_static("x-hop"));
        filter_answer(&mut all);
        assert_eq!(all, headers(&["x-end"]), "a second line counts too");
    }
}
