//! `x-forwarded-client-cert`, as Envoy and what is built on it write it: elements separated by
//! commas, one for each hop; pairs `Key=value` separated by semicolons; values that hold one of
//! these in double quotes, with `\"` for a quote
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>).

use http::{HeaderMap, HeaderName};

use super::names::{CertificateName, without_rival_ids};

/// The names of the certificate that the hop in front of us was shown: those of the last element.
/// What stands to the left of it was sent to that hop and is its client's word.
pub(super) fn forwarded_names(headers: &HeaderMap) -> Vec<CertificateName> {
    let line = headers.get_all(FORWARDED_CERTIFICATE).iter().next_back();
    let line = line.and_then(|line| line.to_str().ok()).unwrap_or_default();
    let pairs = split_from_the_right(line, b',').next().unwrap_or_default();
    let names = split_from_the_right(pairs, b';').filter_map(name);
    let mut names: Vec<_> = names.collect();
    names.reverse();
    without_rival_ids(names)
}

fn name(pair: &str) -> Option<CertificateName> {
    let (key, value) = pair.split_once('=')?;
    let value = unquoted(value.trim())?;
    match key.trim().to_ascii_lowercase().as_str() {
        "uri" => CertificateName::uri(&value),
        "dns" => CertificateName::dns(&value),
        _ => None,
    }
}

/// The value without its quotes; `None` where they do not fit.
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    Some(inner.replace("\\\"", "\""))
}

/// The parts between separators outside of quotes, the last one first.
///
/// From the right, because the right end is the hop's: a quote that the client left open on the
/// left must not swallow what the hop appended.
fn split_from_the_right(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((before, part)) = last_separator(text, separator).and_then(|at| {
            let (before, part) = text.split_at_checked(at)?;
            Some((before, part.get(1..)?))
        }) else {
            return rest.take();
        };
        rest = Some(before);
        Some(part)
    })
}

fn last_separator(text: &str, separator: u8) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = text.bytes().enumerate().rev().peekable();
    while let Some((at, byte)) = bytes.next() {
        let escaped = bytes.peek().is_some_and(|(_, before)| *before == b'\\');
        match byte {
            b'"' if !(quoted && escaped) => quoted = !quoted,
            _ if byte == separator && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

const FORWARDED_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn names(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(FORWARDED_CERTIFICATE, value);
        }
        let names = forwarded_names(&headers);
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_names_of_the_last_element_are_read() {
        let check =
            |lines: &[&str], expected: &[&str]| assert_eq!(names(lines), expected, "{lines:?}");
        // The first three as in Envoy's documentation.
        check(
            &[
                "By=http://frontend.lyft.com;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;Subject=\"/C=US/ST=CA/L=San Francisco/OU=Lyft/CN=Test Client\";URI=http://testclient.lyft.com",
            ],
            &["http://testclient.lyft.com"],
        );
        check(
            &[
                "By=http://frontend.lyft.com;Hash=468e;URI=http://testclient.lyft.com,By=http://backend.lyft.com;Hash=9ba6;URI=http://frontend.lyft.com",
            ],
            &["http://frontend.lyft.com"],
        );
        check(
            &[
                "By=http://frontend.lyft.com;Hash=468e;Subject=\"/C=US\";URI=http://testclient.lyft.com;DNS=lyft.com;DNS=www.lyft.com",
            ],
            &["http://testclient.lyft.com", "lyft.com", "www.lyft.com"],
        );
        check(
            &[
                "By=spiffe://corp/ns/edge/sa/gateway;Hash=1a;Subject=\"\";URI=spiffe://corp/ns/search/sa/api",
            ],
            &["spiffe://corp/ns/search/sa/api"],
        );
        check(&["uri=a://b, dns = API.search.svc"], &["api.search.svc"]);
        check(&["URI=\"spiffe://corp/a;b,c\""], &["spiffe://corp/a;b,c"]);
        check(&["URI=a://1", "URI=a://2"], &["a://2"]);
        check(&["Hash=1a;URI=;Subject=\"CN=URI=a://b\""], &[]);
        check(&["Subject=\"a\\\",URI=a://1;\\\"\";URI=a://2"], &["a://2"]);
        for nothing in [
            "",
            ",",
            ";",
            "URI",
            "=",
            "URI=a://b,",
            "\u{e9}",
            "URI=\"a",
            "URI=a\"",
        ] {
            check(&[nothing], &[]);
        }
        check(&[], &[]);
    }

    #[test]
    fn of_several_spiffe_ids_none_counts() {
        assert_eq!(
            names(&["URI=spiffe://corp/a;URI=spiffe://corp/b;DNS=a.b"]),
            ["a.b"]
        );
    }

    proptest! {
        #[test]
        fn what_a_client_sends_never_changes_the_hops_element(sent in "[ -~]{0,60}") {
            let line = format!("{sent},By=a://hop;Subject=\"CN=x, y\";URI=spiffe://corp/own");
            prop_assert_eq!(names(&[&line]), ["spiffe://corp/own"]);
        }

        #[test]
        fn any_line_is_read_without_panic(line in "[ -~]{0,80}") {
            drop(names(&[&line]));
        }
    }
}
