//! `Converse` and `ConverseStream`: one shape for every model, in the body or in the `metadata`
//! event, which is the only one of the stream that is decoded.

use serde::Deserialize;

use super::answer::{Answer, Finality};
use super::shapes::{self, ConverseTrace, LatencyEcho, TierEcho};
use crate::codec::{Frame, FrameKind, FrameScanner, MemberExtractor};
use crate::domain::{Latency, ServiceTier};

const MEMBERS: &[&str] = &["usage", "serviceTier", "performanceConfig", "trace"];

/// Reads a `Converse` body as it arrives.
#[derive(Debug)]
pub(super) struct ConverseBody(MemberExtractor);

impl ConverseBody {
    pub(super) const fn new() -> Self {
        Self(MemberExtractor::new(MEMBERS))
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    pub(super) fn finish(self) -> Answer {
        read(&self.0, "body")
    }
}

/// Reads a `ConverseStream` as it arrives.
#[derive(Debug, Default)]
pub(super) struct ConverseEvents {
    scanner: FrameScanner,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    metadata: Option<Answer>,
    failure: Option<String>,
    content_started: bool,
    /// The headers of the first frame with content, which the others repeat.
    content_headers: Vec<u8>,
    damaged: bool,
}

impl ConverseEvents {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let Self { scanner, found } = self;
        // A broken framing is kept by the scanner and told by `finish`.
        let _told_at_the_end = scanner.feed(bytes, |frame| found.read(frame));
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.found.failure.as_deref()
    }

    pub(super) const fn content_started(&self) -> bool {
        self.found.content_started
    }

    pub(super) fn finish(self) -> Answer {
        let answer = self.found.metadata.unwrap_or_default();
        Answer {
            unreadable: answer.unreadable || self.found.damaged || self.scanner.is_broken(),
            ended_well: self.scanner.is_at_boundary(),
            ..answer
        }
    }
}

impl Found {
    fn read(&mut self, frame: Frame<'_>) {
        if self.content_started && frame.headers() == self.content_headers {
            return;
        }
        match frame.kind() {
            FrameKind::Event("contentBlockDelta") => {
                self.content_started = true;
                self.content_headers = frame.headers().to_vec();
            }
            FrameKind::Event(
                "messageStart" | "contentBlockStart" | "contentBlockStop" | "messageStop",
            ) => {}
            FrameKind::Event("metadata") => self.read_metadata(frame),
            FrameKind::Exception(class) | FrameKind::Error(class) => {
                self.failure = Some(class.to_owned());
            }
            // What we do not understand may be a usage event that was damaged on its way.
            FrameKind::Event(_) | FrameKind::Unknown => self.damaged |= !frame.is_intact(),
        }
    }

    fn read_metadata(&mut self, frame: Frame<'_>) {
        if !frame.is_intact() {
            self.damaged = true;
            return;
        }
        let mut members = MemberExtractor::new(MEMBERS);
        members.feed(frame.payload());
        self.metadata = Some(read(&members, "metadata"));
    }
}

fn read(members: &MemberExtractor, read_from: &'static str) -> Answer {
    let usage = shapes::read_converse_usage(members);
    let unreadable = usage.is_err() || members.is_broken();
    let counts = usage.ok().flatten();
    let tier: Option<TierEcho> = member(members, "serviceTier");
    let latency: Option<LatencyEcho> = member(members, "performanceConfig");
    let trace: Option<ConverseTrace> = member(members, "trace");
    Answer {
        finality: Finality::now_if(counts.is_some(), Finality::Never),
        places: counts.into_iter().collect(),
        read_from,
        unreadable,
        ended_well: members.is_complete(),
        tier: tier.map(|echo| ServiceTier::from_name(&echo.tier)),
        latency: latency.map(|echo| Latency::from_name(&echo.latency)),
        invoked_model: trace
            .and_then(|trace| trace.prompt_router)
            .and_then(|router| router.invoked_model_id),
        ..Answer::default()
    }
}

fn member<'a, T: Deserialize<'a>>(members: &'a MemberExtractor, name: &str) -> Option<T> {
    serde_json::from_slice(members.member(name)?).ok()
}
