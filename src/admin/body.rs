//! Bodies of requests that change something: JSON, small, and soon here.
//!
//! `application/json` is demanded because no page of another site can send it without asking the
//! browser first, which asks us, and we allow it to nobody (CSRF).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

/// The longest body: far more than any policy takes.
const BYTES_MAX: usize = 64 * 1024;
/// For the whole body.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Whether the request says that its body is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let value = value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    value.trim().eq_ignore_ascii_case("application/json")
}

/// The whole body.
///
/// # Errors
/// The status and the words of the answer, when it is too long, too slow or broken.
pub(super) async fn read<B>(body: B) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes> + Unpin,
{
    let late = (
        StatusCode::REQUEST_TIMEOUT,
        "the body did not come within 10 seconds",
    );
    timeout(TIME_MAX, whole(body)).await.unwrap_or(Err(late))
}

async fn whole<B>(mut body: B) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = (StatusCode::BAD_REQUEST, "the body was cut short");
        let Ok(data) = frame.map_err(|_cause| broken)?.into_data() else {
            continue;
        };
        if read.len().saturating_add(data.len()) > BYTES_MAX {
            return Err((
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is longer than 64 KiB",
            ));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[tokio::test]
    async fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
        let of = |bytes: usize| read(Full::new(Bytes::from(vec![b'x'; bytes])));
        assert_eq!(of(BYTES_MAX).await.unwrap().len(), BYTES_MAX);
        let (status, _) = of(BYTES_MAX + 1).await.unwrap_err();
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn only_json_may_change_something() {
        let check = |value: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{value}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
        ] {
            check(other, false);
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
