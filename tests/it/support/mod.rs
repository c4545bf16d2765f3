//! A real proxy in this process, an upstream that follows a script, clients that write bytes.
//!
//! Everything here blocks: the proxy has threads of its own. Nothing here knows the proxy's
//! inner types; what happened is read from the ledger, as an operator would.

mod certificate;
mod client;
mod frames;
mod http2;
mod proxy;
mod streams;
mod upstream;
mod witness;

pub(crate) use certificate::{Authority, Certificate};
pub(crate) use client::{Answer, Client, Request, Stream};
pub(crate) use frames::{Frame, Http2, head, setting};
pub(crate) use http2::Http2Call;
pub(crate) use proxy::{Entry, Proxy, endpoint};
pub(crate) use streams::{chunked, converse_stream, event, exception, invoke_stream, ok_stream};
pub(crate) use upstream::{Connection, Refusing, Upstream, body_of};
pub(crate) use witness::{Honest, Witness};

use std::time::{Duration, Instant};

/// The longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until it is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
