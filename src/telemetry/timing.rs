//! What the request path measured of a call and the ledger does not keep.

use std::time::Duration;

/// A part of a call in which only the proxy works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// From the complete request to the first byte sent upstream: identity, routing, the open
    /// record. Signing is counted apart.
    Admission,
    /// Hashing and signing.
    Signing,
    /// From the end of the call to its entry: charging.
    Settlement,
}

impl Phase {
    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Signing => "signing",
            Self::Settlement => "settlement",
        }
    }
}

/// The times of one call. What was not measured is `None` and has no sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing<'a> {
    /// From admission to the end.
    pub duration: Duration,
    /// From admission to the first byte of the answer's body.
    pub first_byte: Option<Duration>,
    /// From admission to the first generated content.
    pub first_token: Option<Duration>,
    /// What the proxy itself added.
    pub overhead: &'a [(Phase, Duration)],
    /// The stream was read on after the client left, to its end.
    pub drained: bool,
    /// The AWS account that was called; empty where it is not known.
    pub account: &'a str,
}
