//! Refuses heads that two readers could understand differently.
//!
//! hyper reads what the standards let a server read. A proxy has to be stricter: what another hop
//! in front understands otherwise is how one request becomes two, or one host another. It sees
//! the head after hyper has read it, and knows nothing of what is called or by whom.

use http::{HeaderMap, Method, Uri, Version, header};

/// Why a head is refused. Nothing was sent to Bedrock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Several codings, or another than `chunked` (RFC 9112 section 6.1).
    #[error("transfer-encoding is not the one word chunked")]
    Encoding,
    /// No `Host` in HTTP/1.1 (RFC 9112 section 3.2).
    #[error("there is no host header")]
    HostMissing,
    /// Several `Host` headers.
    #[error("there is more than one host header")]
    HostRepeated,
    /// What is no host and port.
    #[error("the host header is no host name and port")]
    HostInvalid,
    /// `:authority` and `Host` differ (RFC 9113 section 8.3.1).
    #[error(":authority and host differ")]
    HostContradicts,
    /// A tunnel was asked for.
    #[error("CONNECT is not served")]
    Tunnel,
    /// The target names a user (RFC 9110 section 4.2.4).
    #[error("the target holds user information")]
    UserInfo,
    /// The query holds bytes that are no ASCII.
    #[error("the query holds a character that must be percent-encoded")]
    Query,
}

/// Checks a head.
///
/// # Errors
/// When it can be understood in more than one way.
pub fn check_head(
    version: Version,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), HeadError> {
    if method == Method::CONNECT {
        return Err(HeadError::Tunnel);
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(HeadError::UserInfo);
    }
    if !uri.query().unwrap_or_default().is_ascii() {
        return Err(HeadError::Query);
    }
    check_encoding(headers)?;
    check_host(version, authority, headers)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), HeadError> {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(first) = lines.next() else {
        return Ok(());
    };
    if lines.next().is_some() || !first.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(HeadError::Encoding);
    }
    Ok(())
}

fn check_host(
    version: Version,
    authority: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), HeadError> {
    let mut lines = headers.get_all(header::HOST).iter();
    let Some(host) = lines.next() else {
        return match version {
            Version::HTTP_11 => Err(HeadError::HostMissing),
            _ => Ok(()),
        };
    };
    if lines.next().is_some() {
        return Err(HeadError::HostRepeated);
    }
    let host = host.to_str().map_err(|_cause| HeadError::HostInvalid)?;
    if !host.bytes().all(is_of_host) {
        return Err(HeadError::HostInvalid);
    }
    // On HTTP/1.1 the target's host wins over the header, which is then ignored (RFC 9112 3.2.2).
    let contradicts = |authority: &str| !authority.eq_ignore_ascii_case(host);
    if version == Version::HTTP_2 && authority.is_some_and(contradicts) {
        return Err(HeadError::HostContradicts);
    }
    Ok(())
}

/// Letters of names, of addresses and of ports (RFC 3986 section 3.2, without user information).
const fn is_of_host(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']')
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(
        version: Version,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), HeadError> {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(pair) {
            map.append(name, value);
        }
        let method = method.parse().unwrap();
        check_head(version, &method, &uri.parse().unwrap(), &map)
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways_are_refused() {
        let h1 = |headers: &[(&str, &str)], expected: Result<(), HeadError>| {
            let checked = check(Version::HTTP_11, "POST", "/a?b", headers);
            assert_eq!(checked, expected, "{headers:?}");
        };
        let host = ("host", "bedrock.example:443");
        h1(&[host], Ok(()));
        h1(&[host, ("transfer-encoding", "Chunked")], Ok(()));
        for coding in [
            "",
            "identity",
            "gzip, chunked",
            "chunked, chunked",
            "chunked;q=1",
        ] {
            h1(
                &[host, ("transfer-encoding", coding)],
                Err(HeadError::Encoding),
            );
        }
        let twice = ("transfer-encoding", "chunked");
        h1(&[host, twice, twice], Err(HeadError::Encoding));
        h1(&[], Err(HeadError::HostMissing));
        h1(&[host, host], Err(HeadError::HostRepeated));
        for name in ["a b", "a/b", "u:p@a", "a,b", "\u{e9}", "a\\b", "a?b", "a#b"] {
            h1(&[("host", name)], Err(HeadError::HostInvalid));
        }
        for name in ["", "127.0.0.1:8080", "[::1]:80", "my_host", "a-b.c"] {
            h1(&[("host", name)], Ok(()));
        }
    }

    #[test]
    fn the_target_names_no_user_no_tunnel_and_no_other_host() {
        let host = [("host", "a")];
        let h1 = |uri: &str| check(Version::HTTP_11, "POST", uri, &host);
        assert_eq!(h1("http://evil.example/a"), Ok(()), "the host is not used");
        assert_eq!(h1("http://u:p@a/a"), Err(HeadError::UserInfo));
        assert_eq!(h1("/a?b=\u{e9}"), Err(HeadError::Query));
        let connect = check(Version::HTTP_11, "CONNECT", "a:443", &host);
        assert_eq!(connect, Err(HeadError::Tunnel));

        let h2 = |headers: &[(&str, &str)]| check(Version::HTTP_2, "POST", "http://a/b", headers);
        assert_eq!(h2(&[]), Ok(()));
        assert_eq!(h2(&[("host", "A")]), Ok(()));
        assert_eq!(h2(&[("host", "b")]), Err(HeadError::HostContradicts));
        assert_eq!(check(Version::HTTP_10, "POST", "/a", &[]), Ok(()));
    }
}
