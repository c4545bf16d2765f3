//! The whole way from a request line to a route.

use http::Method;
use percent_encoding::percent_decode_str;

use super::error::{Malformed, RoutingError};
use super::{base_path, operation};
use crate::domain::{BasePath, Operation};

/// What a request line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// What the base path names.
    pub base: BasePath,
    /// The operation.
    pub operation: Operation,
    /// The model id or ARN, percent-decoded once; `None` for operations without one in the path.
    pub model_id: Option<String>,
    /// The raw path after the base path, byte for byte: what is signed and sent upstream.
    pub upstream_path: &'a str,
}

/// Reads a request line. `raw_path` is the path as received, without the query.
///
/// # Errors
/// When the path is malformed, or method and path are no operation.
pub fn route<'a>(method: &Method, raw_path: &'a str) -> Result<Route<'a>, RoutingError> {
    check_text(raw_path)?;
    let (base, upstream_path) = base_path::split(raw_path)?;
    let found = operation::find(method, upstream_path).ok_or(RoutingError::UnknownOperation)?;
    Ok(Route {
        base,
        operation: found.operation,
        model_id: found.raw_model_id.map(model_id).transpose()?,
        upstream_path,
    })
}

/// Percent-decodes a piece of a path once.
pub(super) fn decode(raw: &str) -> Result<String, Malformed> {
    let decoded = percent_decode_str(raw).decode_utf8();
    let decoded = decoded.map_err(|_cause| Malformed::NotUtf8)?;
    Ok(decoded.into_owned())
}

/// Refuses a path that two readers could understand differently.
fn check_text(raw_path: &str) -> Result<(), Malformed> {
    if !raw_path.starts_with('/') {
        return Err(Malformed::NotAbsolute);
    }
    if !percent_encoding_is_complete(raw_path) {
        return Err(Malformed::PercentEncoding);
    }
    if !raw_path.bytes().all(may_stand_raw) {
        return Err(Malformed::NotEncoded);
    }
    let decoded = percent_decode_str(raw_path).decode_utf8();
    let decoded = decoded.map_err(|_cause| Malformed::NotUtf8)?;
    let has_control = if decoded.is_ascii() {
        decoded.bytes().any(|byte| byte.is_ascii_control())
    } else {
        decoded.chars().any(char::is_control)
    };
    if has_control {
        return Err(Malformed::ControlCharacter);
    }
    // Some hops take it for a slash.
    if decoded.contains('\\') {
        return Err(Malformed::Backslash);
    }
    // On the decoded text: a hop that decodes before it resolves dots sees these segments too, and
    // one that decodes twice sees those of the second decoding.
    let twice = percent_decode_str(&decoded).decode_utf8_lossy();
    if has_dot_segment(&decoded) || has_dot_segment(&twice) {
        return Err(Malformed::DotSegment);
    }
    Ok(())
}

/// The bytes of a path that need no percent-encoding (RFC 3986 section 3.3: `pchar`, and the slash).
const fn may_stand_raw(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'@' | b'/'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
    )
}

/// Whether some hop would resolve a segment of it. Servlet containers cut a segment at `;` first.
fn has_dot_segment(path: &str) -> bool {
    let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    let may_have = path.contains("/.") || path.contains("\\.");
    may_have && path.split(['/', '\\']).any(is_dots)
}

fn percent_encoding_is_complete(raw_path: &str) -> bool {
    let is_hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
    raw_path.split('%').skip(1).all(|after| {
        let mut bytes = after.bytes();
        is_hex(bytes.next()) && is_hex(bytes.next())
    })
}

fn model_id(raw: &str) -> Result<String, Malformed> {
    let id = decode(raw)?;
    if id.is_empty() {
        return Err(Malformed::ModelIdEmpty);
    }
    if id.chars().count() > MODEL_ID_LENGTH_MAX {
        return Err(Malformed::ModelIdTooLong);
    }
    Ok(id)
}

/// Bedrock service model: `modelId` of InvokeModel and Converse has 1 to 2048 characters.
const MODEL_ID_LENGTH_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{ApplicationId, Region, TenantId};

    fn post(path: &str) -> Result<Route<'_>, RoutingError> {
        route(&Method::POST, path)
    }

    #[test]
    fn every_spelling_of_a_model_id_is_read() {
        let check = |raw: &str, expected: &str| {
            for suffix in ["converse", "invoke", "invoke-with-response-stream"] {
                let path = format!("/model/{raw}/{suffix}");
                let route = post(&path).unwrap();
                assert_eq!(route.model_id.as_deref(), Some(expected), "{path}");
                assert_eq!(route.upstream_path, path);
            }
        };
        let claude = "anthropic.claude-3-5-sonnet-20241022-v2:0";
        check("anthropic.claude-3-5-sonnet-20241022-v2%3A0", claude);
        check("anthropic.claude-3-5-sonnet-20241022-v2%3a0", claude);
        check(claude, claude);
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        check(
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc",
            arn,
        );
        check(
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile%2Fabc",
            arn,
        );
        check(arn, arn);
        check("a;b=c", "a;b=c");
        check("a+b%20c", "a+b c");
        check("x%252Fy", "x%2Fy");
        check(
            "arn:aws:bedrock:us-east-1::foundation-model/p/invoke",
            "arn:aws:bedrock:us-east-1::foundation-model/p/invoke",
        );
    }

    #[test]
    fn the_base_path_is_taken_off_and_the_rest_kept_raw() {
        let check = |raw: &str, base: [&str; 3], mantle: bool, rest: &str| {
            let route = post(raw).unwrap();
            let [tenant, application, region] = base;
            assert_eq!(
                route.base,
                BasePath {
                    tenant: TenantId::new(tenant).ok(),
                    application: ApplicationId::new(application).ok(),
                    region: Region::new(region).ok(),
                    mantle,
                },
                "{raw}"
            );
            assert_eq!(route.upstream_path, rest, "{raw}");
        };
        let rest = "/model/a%3A0/converse";
        check(rest, ["", "", ""], false, rest);
        check(
            "/tenant/acme/model/a%3A0/converse",
            ["acme", "", ""],
            false,
            rest,
        );
        check(
            "/tenant/acme/application/chat/region/eu-west-1/mantle/model/a%3A0/converse",
            ["acme", "chat", "eu-west-1"],
            true,
            rest,
        );
        check(
            "/region/eu-west-1/application/chat/tenant/acme/model/a%3A0/converse",
            ["acme", "chat", "eu-west-1"],
            false,
            rest,
        );
        check(
            "/tenant/a%2Fb/model/a%3A0/converse",
            ["a/b", "", ""],
            false,
            rest,
        );
        check(
            "/tenant/model/application/tenant/model/a%3A0/converse",
            ["model", "tenant", ""],
            false,
            rest,
        );
        check(
            "/tenant/acme//model/a%3A0/converse",
            ["acme", "", ""],
            false,
            rest,
        );
    }

    #[test]
    fn malformed_paths_say_what_is_wrong() {
        let check = |path: &str, expected: Malformed| {
            assert_eq!(post(path), Err(RoutingError::Malformed(expected)), "{path}");
        };
        check("", Malformed::NotAbsolute);
        check("*", Malformed::NotAbsolute);
        check("/model/a%/converse", Malformed::PercentEncoding);
        check("/model/a%3/converse", Malformed::PercentEncoding);
        check("/model/a%zz/converse", Malformed::PercentEncoding);
        check("/model/a%+1/converse", Malformed::PercentEncoding);
        check("/model/a/converse%2", Malformed::PercentEncoding);
        check("/model/%FF/converse", Malformed::NotUtf8);
        check("/model/a%00/converse", Malformed::ControlCharacter);
        check("/model/a%0D%0Ahost:x/converse", Malformed::ControlCharacter);
        check("/model/a%7F/converse", Malformed::ControlCharacter);
        check("/model/a/../converse", Malformed::DotSegment);
        check("/model/./converse", Malformed::DotSegment);
        check("/model/%2e%2E/converse", Malformed::DotSegment);
        check("/model/a%2F..%2Fb/converse", Malformed::DotSegment);
        check("/tenant/../model/a/converse", Malformed::DotSegment);
        check("/model/..;/a/converse", Malformed::DotSegment);
        check("/model/.;x=1/a/converse", Malformed::DotSegment);
        check("/model/%252e%252e/converse", Malformed::DotSegment);
        check("/model/a%252F..%5Cb/converse", Malformed::Backslash);
        check("/model/a%5C..%5Cb/converse", Malformed::Backslash);
        check(
            "/model/a%255C..%255Cb%252F../converse",
            Malformed::DotSegment,
        );
        for raw in [
            "\\", "\"", "<", ">", "^", "`", "{", "|", "}", " ", "#", "\u{e9}",
        ] {
            let path = format!("/model/a{raw}b/converse");
            check(&path, Malformed::NotEncoded);
        }
        check("/model//converse", Malformed::ModelIdEmpty);
        check(
            &format!("/model/{}/converse", "a".repeat(2049)),
            Malformed::ModelIdTooLong,
        );
        check(
            "/tenant/a/tenant/b/model/a/converse",
            Malformed::RepeatedPart("tenant"),
        );
        check(
            "/mantle/mantle/model/a/converse",
            Malformed::RepeatedPart("mantle"),
        );
        for path in [
            "/tenant//model/a/converse",
            "/tenant/-a/model/a/converse",
            "/region/evil.example/model/a/converse",
        ] {
            let error = post(path).unwrap_err();
            assert!(
                matches!(error, RoutingError::Malformed(Malformed::Name(_))),
                "{path}"
            );
        }
        assert!(post(&format!("/model/{}/converse", "a".repeat(2048))).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_routed_or_refused_without_panic(path in "\\PC*") {
            prop_assert!(is_suffix(&path));
        }

        #[test]
        fn the_upstream_path_is_a_suffix_of_the_input(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "tenant", "application", "region", "mantle", "model", "invoke", "converse",
                    "async-invoke", "guardrail", "version", "apply", "us-east-1", "a%3A0", "",
                    "%2F", "..", "inference-profiles", "arn:aws:bedrock:::x",
                ]),
                0..9,
            )
        ) {
            let path = format!("/{}", parts.join("/"));
            prop_assert!(is_suffix(&path));
        }
    }

    fn is_suffix(path: &str) -> bool {
        [Method::GET, Method::POST].iter().all(|method| {
            route(method, path).map_or(true, |route| path.ends_with(route.upstream_path))
        })
    }
}
