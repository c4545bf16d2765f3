//! A wrong clock of ours, learned from Bedrock's refusal.

use http::{header, response};

use crate::aws::error_class;
use crate::domain::Timestamp;

/// What Bedrock's clock shows more than ours, when that is why it refused and we did not know.
///
/// A signature is valid for five minutes around its date; the answer's `Date` tells Bedrock's
/// time. Such a call was not served, so it may be sent again.
pub(super) fn of_refusal(
    parts: &response::Parts,
    now: Timestamp,
    known_skew_ms: i64,
) -> Option<i64> {
    if !matches!(parts.status.as_u16(), 400 | 403) {
        return None;
    }
    error_class(&parts.headers).filter(|class| CLOCK_CLASSES.contains(class))?;
    let date = parts.headers.get(header::DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date)
        .ok()?
        .timestamp()
        .as_millisecond();
    let skew_ms = theirs.saturating_sub(now.unix_ms());
    (skew_ms.abs_diff(known_skew_ms) > SKEW_MS_MIN).then_some(skew_ms)
}

const CLOCK_CLASSES: [&str; 4] = [
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "RequestExpired",
];
/// Below four minutes the refusal has another reason.
const SKEW_MS_MIN: u64 = 240_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(class: &str, date: &str) -> response::Parts {
        let builder = http::Response::builder().status(403).header("date", date);
        builder
            .header("x-amzn-errortype", class)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn only_a_wrong_clock_is_corrected_and_only_once() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let ten_minutes_later = "Sun, 22 Nov 2026 12:10:00 GMT";
        let parts = refusal("InvalidSignatureException", ten_minutes_later);
        assert_eq!(of_refusal(&parts, now, 0), Some(600_000));
        assert_eq!(of_refusal(&parts, now, 600_000), None, "known already");
        let parts = refusal("InvalidSignatureException", "Sun, 22 Nov 2026 12:00:01 GMT");
        assert_eq!(of_refusal(&parts, now, 0), None, "the clock is right");
        let parts = refusal("AccessDeniedException", ten_minutes_later);
        assert_eq!(of_refusal(&parts, now, 0), None);
    }
}
