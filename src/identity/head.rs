//! The head of a request, as far as it says who is calling.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Uri, header};

use super::outside::Outside;
use crate::domain::Timestamp;

/// The head of a request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    /// The HTTP method.
    pub method: &'a str,
    /// Path and query as they arrived; over HTTP/2 the authority too.
    pub uri: &'a Uri,
    /// The headers as they arrived.
    pub headers: &'a HeaderMap,
    /// What others prove of the caller.
    pub outside: &'a Outside,
    /// Now.
    pub now: Timestamp,
}

impl<'a> Head<'a> {
    /// The host that the client called: the `Host` header, or HTTP/2's `:authority`.
    pub(super) fn host(&self) -> &'a str {
        let host = self.headers.get(header::HOST);
        let host = host.and_then(|value| value.to_str().ok());
        host.or_else(|| self.uri.authority().map(http::uri::Authority::as_str))
            .unwrap_or_default()
    }

    pub(super) fn text(&self, name: &HeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn bearer(&self) -> Option<&'a str> {
        shown_token(self.headers)
    }
}

/// What is shown as a bearer token: in `authorization`, or, where that is absent, in the `x-api-key`
/// of Anthropic's clients.
pub fn shown_token(headers: &HeaderMap) -> Option<&str> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return headers.get(API_KEY)?.to_str().ok().map(str::trim);
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
