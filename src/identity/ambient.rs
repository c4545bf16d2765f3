//! What a request says about its caller without being asked to: the SDK's application id and
//! the trace it belongs to.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};

use crate::domain::ApplicationId;

/// The SDK's application id: the token `app/NAME` of the user agent. `AWS_SDK_UA_APP_ID` and
/// `sdk_ua_app_id` set it in every AWS SDK. A value that is no valid name is passed over: it was
/// chosen for AWS, where more characters are allowed.
pub(super) fn sdk_application(headers: &HeaderMap) -> Option<ApplicationId> {
    let lines = [AMZ_USER_AGENT, USER_AGENT];
    let mut values = lines.iter().flat_map(|name| headers.get_all(name));
    values.find_map(|value| {
        let mut tokens = value.to_str().ok()?.split_ascii_whitespace();
        let name = tokens.find_map(|token| token.strip_prefix("app/"))?;
        ApplicationId::new(name).ok()
    })
}

/// The trace id of a W3C `traceparent` header (`VERSION-TRACEID-PARENTID-FLAGS`, W3C Trace
/// Context 3.2); `None` where the header is invalid, as that standard demands.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let version = parts.next().filter(|part| is_hex(part, 2))?;
    let trace_id = parts.next().filter(|part| is_id(part, 32))?;
    let _parent_id = parts.next().filter(|part| is_id(part, 16))?;
    let _flags = parts.next().filter(|part| is_hex(part, 2))?;
    // Later versions may add fields; version 00 has none, and ff is forbidden.
    let is_valid = version != "ff" && (version != "00" || parts.next().is_none());
    is_valid.then_some(trace_id)
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|b| b != b'0')
}

fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == length && text.bytes().all(is_digit)
}

const AMZ_USER_AGENT: HeaderName = HeaderName::from_static("x-amz-user-agent");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).unwrap();
        HeaderMap::from_iter([(HeaderName::from_static(name), value)])
    }

    #[test]
    fn the_sdk_application_is_a_token_of_the_user_agent() {
        let check = |value: &str, expected: Option<&str>| {
            for name in ["user-agent", "x-amz-user-agent"] {
                let found = sdk_application(&headers(name, value));
                assert_eq!(
                    found.as_ref().map(ApplicationId::as_str),
                    expected,
                    "{value}"
                );
            }
        };
        check(
            "Boto3/1.44.2 md/Botocore#1.44.2 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.13 \
             md/pyimpl#CPython cfg/retry-mode#standard app/chat Botocore/1.44.2",
            Some("chat"),
        );
        check(
            "aws-sdk-rust/1.4.0 os/linux lang/rust/1.95.0 app/search",
            Some("search"),
        );
        check("app/", None);
        check("my-app/chat", None);
        check("app/what! lang/js", None);
        check("curl/8", None);
    }

    #[test]
    fn the_trace_id_is_read_as_the_standard_says() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(
                trace_id(&headers("traceparent", value)),
                expected,
                "{value}"
            );
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(&format!("00-{id}-00f067aa0ba902b7-01"), Some(id));
        check(&format!("01-{id}-00f067aa0ba902b7-01-more"), Some(id));
        check(&format!("00-{id}-00f067aa0ba902b7-01-more"), None);
        check(&format!("ff-{id}-00f067aa0ba902b7-01"), None);
        check(&format!("00-{id}-0000000000000000-01"), None);
        check(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None);
        check(
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            None,
        );
        check("00-4bf9-00f067aa0ba902b7-01", None);
        check("", None);
    }
}
