//! The head of a request, as far as it says who is calling.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Uri, header};

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

    /// What is shown as a bearer token: in `authorization`, or, where that is absent, in the
    /// `x-api-key` of Anthropic's clients.
    pub(super) fn bearer(&self) -> Option<&'a str> {
        match self.headers.get(header::AUTHORIZATION) {
            Some(value) => {
                let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then_some(token.trim())
            }
            None => self.text(&API_KEY).map(str::trim),
        }
    }
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
