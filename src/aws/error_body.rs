//! The error shape of AWS: a status, the class in a header, a message in JSON.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

/// The header that names an error's class; clients read it before the body (bedrock.md 7.2).
pub const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// The header that names a request for AWS support and invocation logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An answer that every AWS SDK raises as the class named.
pub fn error_response(
    status: StatusCode,
    class: &'static str,
    message: &str,
    request_id: &str,
) -> Response<Bytes> {
    let body = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_TYPE, HeaderValue::from_static(class));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The class an answer names: cut at the first `:`, without a `namespace#`.
pub fn error_class(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(ERROR_TYPE)?.to_str().ok()?;
    let class = value.split(':').next().unwrap_or(value);
    let class = class.rsplit('#').next().unwrap_or(class).trim();
    (!class.is_empty()).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_read_in_all_its_spellings() {
        let rows = [
            ("ThrottlingException", Some("ThrottlingException")),
            (
                "ThrottlingException:http://internal.amazon.com/coral/",
                Some("ThrottlingException"),
            ),
            (
                "com.amazon.bedrock#ValidationException",
                Some("ValidationException"),
            ),
            ("", None),
        ];
        for (value, class) in rows {
            let headers = HeaderMap::from_iter([(ERROR_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(error_class(&headers), class, "{value}");
        }
    }
}
