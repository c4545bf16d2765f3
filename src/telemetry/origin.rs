//! Where a call comes from, as its head says: taken only while somebody wants to know.
//!
//! W3C Trace Context, <https://www.w3.org/TR/trace-context/>. The headers themselves travel
//! upstream as they came; nothing here writes one.

use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};

/// What a call's head says that the ledger does not keep.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The caller's span, where a valid `traceparent` names it.
    pub parent: Option<TraceParent>,
    /// `tracestate`, kept with a valid `traceparent` only.
    pub state: String,
    /// The client's address, as the identity settings allow it to be kept.
    pub client: Option<Arc<str>>,
    /// The SDK: the first product of the user agent, such as `Boto3/1.40.0`.
    pub sdk: Option<Box<str>>,
    /// Host and port that the call was sent to.
    pub server: String,
}

impl Origin {
    /// Reads it from a request's headers.
    pub fn of(headers: &HeaderMap, client: Option<Arc<str>>, server: String) -> Box<Self> {
        let parent = traceparent(headers);
        let state = match parent {
            Some(_) => tracestate(headers),
            None => String::new(),
        };
        Box::new(Self {
            parent,
            state,
            client,
            sdk: sdk(headers),
            server,
        })
    }
}

/// The caller's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span that made the call.
    pub span_id: [u8; 8],
    /// Whether the caller records its trace.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads `00-{32 hex}-{16 hex}-{2 hex}`; a later version may have more after a hyphen.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let [version] = hex::<1>(parts.next()?)?;
        let trace_id = hex::<16>(parts.next()?)?;
        let span_id = hex::<8>(parts.next()?)?;
        let [flags] = hex::<1>(parts.next()?)?;
        let ends = parts.next().is_none();
        let known = version != 0xff && (ends || version != 0);
        let named = trace_id != [0; 16] && span_id != [0; 8];
        (known && named).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }
}

/// Exactly `N` bytes in lower-case hexadecimal.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A head with two of them has none.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?;
    match values.next() {
        Some(_second) => None,
        None => TraceParent::read(value.trim()),
    }
}

/// All lines as one list; one that is too long is left out whole, as the specification allows.
fn tracestate(headers: &HeaderMap) -> String {
    let lines = headers.get_all(TRACESTATE).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let state = lines.join(",");
    if state.len() > TRACESTATE_BYTES_MAX {
        return String::new();
    }
    state
}

/// The first product only: what follows may name machines and people.
fn sdk(headers: &HeaderMap) -> Option<Box<str>> {
    let agent = headers.get(USER_AGENT)?.to_str().ok()?;
    let product = agent.split([' ', '(']).next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+-".contains(&b);
    let fits = (1..=SDK_BYTES_MAX).contains(&product.len()) && product.bytes().all(plain);
    fits.then(|| product.into())
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const TRACESTATE_BYTES_MAX: usize = 512;
const SDK_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn traceparents_of_the_specification_are_read() {
        let read = |text: &str| TraceParent::read(text).map(|parent| parent.sampled);
        let check = |text: String, expected| assert_eq!(read(&text), expected, "{text}");
        check(format!("00-{TRACE}-{SPAN}-01"), Some(true));
        check(format!("00-{TRACE}-{SPAN}-00"), Some(false));
        check(format!("00-{TRACE}-{SPAN}-ff"), Some(true));
        check(format!("cc-{TRACE}-{SPAN}-01-what-will-be"), Some(true));
        check(format!("00-{TRACE}-{SPAN}-01-more"), None);
        check(format!("ff-{TRACE}-{SPAN}-01"), None);
        check(format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
        check(format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
        check(format!("00-{TRACE}-{SPAN}-1"), None);
        check(format!("00-{TRACE}-{SPAN}"), None);
        check(format!("00-{}-{SPAN}-01", TRACE.replace('4', "+")), None);
        check(String::new(), None);
    }

    #[test]
    fn a_head_gives_its_state_with_a_valid_parent_only() {
        let mut headers = HeaderMap::new();
        headers.append(TRACESTATE, "a=1".parse().unwrap());
        headers.append(TRACESTATE, "b=2".parse().unwrap());
        headers.insert(USER_AGENT, "Boto3/1.40.0 md/x (someone)".parse().unwrap());
        let origin = |headers: &HeaderMap| Origin::of(headers, None, String::new());
        assert_eq!(origin(&headers).state, "");
        let parent = format!("00-{TRACE}-{SPAN}-01");
        headers.append(TRACEPARENT, parent.parse().unwrap());
        let read = origin(&headers);
        assert_eq!(read.state, "a=1,b=2");
        assert_eq!(read.sdk.as_deref(), Some("Boto3/1.40.0"));
        headers.append(TRACEPARENT, parent.parse().unwrap());
        assert_eq!(origin(&headers).parent, None, "two are none");
    }
}
