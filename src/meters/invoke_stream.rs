//! `InvokeModelWithResponseStream`: chunks of the model family's own events, in base64.
//!
//! Which chunk is the last is known only at the end, so the first one (the prompt of Claude's
//! `message_start`) and the last few are copied into reused buffers and decoded at the end; the
//! frames between are only walked. Usage stands in the last chunk or the few before it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::answer::{Answer, Finality};
use super::counts::TokenCounts;
use super::shapes::{self, Stated, Unreadable};
use crate::codec::{Frame, FrameKind, FrameScanner, MemberExtractor};
use crate::domain::ServiceTier;

/// How many of the last chunks are kept. Claude ends with `content_block_stop`, `message_delta`
/// and `message_stop` with the metrics; one more leaves room for a late `ping`.
const KEPT_LAST: usize = 4;

/// A longer chunk is content (an image, a document), not usage, and is not kept.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Reads a stream of chunks as it arrives.
#[derive(Debug, Default)]
pub(super) struct InvokeEvents {
    scanner: FrameScanner,
    kept: Kept,
}

#[derive(Debug, Default)]
struct Kept {
    first: Vec<u8>,
    /// A ring: the chunk counted `n` (from 1, after the first) is at `n % KEPT_LAST`.
    last: [Vec<u8>; KEPT_LAST],
    chunks: usize,
    /// The headers of the first chunk, which the others repeat.
    headers: Vec<u8>,
    failure: Option<String>,
    damaged: bool,
}

impl InvokeEvents {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let Self { scanner, kept } = self;
        // A broken framing is kept by the scanner and told by `finish`.
        let _told_at_the_end = scanner.feed(bytes, |frame| kept.read(frame));
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.kept.failure.as_deref()
    }

    /// The first chunk opens the message; every family sends content from the second on.
    pub(super) const fn content_started(&self) -> bool {
        self.kept.chunks > 1
    }

    pub(super) fn finish(self) -> Answer {
        let mut fold = Fold::default();
        for bytes in self.kept.in_order() {
            fold.chunk(bytes);
        }
        let answer = fold.answer();
        Answer {
            unreadable: answer.unreadable || self.kept.damaged || self.scanner.is_broken(),
            ended_well: self.scanner.is_at_boundary(),
            ..answer
        }
    }
}

impl Kept {
    fn read(&mut self, frame: Frame<'_>) {
        if self.chunks > 0 && frame.headers() == self.headers {
            return self.keep(frame.bytes());
        }
        match frame.kind() {
            FrameKind::Event("chunk") => {
                self.keep(frame.bytes());
                self.headers = frame.headers().to_vec();
            }
            FrameKind::Exception(class) | FrameKind::Error(class) => {
                self.failure = Some(class.to_owned());
            }
            // What we do not understand may be a chunk that was damaged on its way.
            FrameKind::Event(_) | FrameKind::Unknown => self.damaged |= !frame.is_intact(),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let slot = if self.chunks == 0 {
            Some(&mut self.first)
        } else {
            self.last.get_mut(self.chunks % KEPT_LAST)
        };
        self.chunks = self.chunks.saturating_add(1);
        if let Some(slot) = slot {
            slot.clear();
            if bytes.len() <= KEPT_BYTES_MAX {
                slot.extend_from_slice(bytes);
            }
        }
    }

    /// The kept chunks, oldest first; unused slots are empty.
    fn in_order(&self) -> impl Iterator<Item = &[u8]> {
        let oldest = self.chunks % KEPT_LAST;
        let last = (0..KEPT_LAST).filter_map(move |n| self.last.get((oldest + n) % KEPT_LAST));
        std::iter::once(&self.first)
            .chain(last)
            .map(Vec::as_slice)
            .filter(|bytes| !bytes.is_empty())
    }
}

/// The kept chunks, read in order.
#[derive(Debug, Default)]
struct Fold {
    start: Option<TokenCounts>,
    body: Option<Stated>,
    metrics: Option<TokenCounts>,
    tier: Option<ServiceTier>,
    unreadable: bool,
}

impl Fold {
    fn chunk(&mut self, bytes: &[u8]) {
        let Some(frame) = Frame::parse(bytes).filter(Frame::is_intact) else {
            self.unreadable = true;
            return;
        };
        let Ok(json) = decode(frame.payload()) else {
            self.unreadable = true;
            return;
        };
        let mut members = MemberExtractor::new(shapes::CHUNK_MEMBERS);
        members.feed(&json);
        if self.members(&members).is_err() {
            self.unreadable = true;
        }
    }

    fn members(&mut self, members: &MemberExtractor) -> Result<(), Unreadable> {
        self.tier = shapes::read_tier(members).or_else(|| self.tier.take());
        self.start = shapes::read_start(members)?.or(self.start);
        self.metrics = shapes::read_metrics(members)?.or(self.metrics);
        if let Some(stated) = shapes::read_chunk(members)? {
            self.replace(&stated);
        }
        Ok(())
    }

    /// Counts in a stream are cumulative: later ones replace earlier ones, they never add up.
    fn replace(&mut self, stated: &Stated) {
        let before = self.body.take().unwrap_or_default();
        self.body = Some(Stated {
            counts: stated.counts.or(before.counts),
            is_final: stated.is_final,
            embeds: stated.embeds,
        });
    }

    fn answer(self) -> Answer {
        let has_body = self.body.is_some();
        let body = self.body.unwrap_or_default();
        let events = body.counts.or(self.start.unwrap_or_default());
        let is_final = self.metrics.is_some() || body.is_final;
        let running = if has_body {
            Finality::AtEnd
        } else {
            Finality::Never
        };
        let from_metrics = !has_body && self.metrics.is_some();
        Answer {
            finality: Finality::now_if(is_final, running),
            places: [Some(events), self.metrics].into_iter().flatten().collect(),
            read_from: if from_metrics { "metrics" } else { "events" },
            unreadable: self.unreadable,
            tier: self.tier,
            ..Answer::default()
        }
    }
}

/// The JSON inside a chunk's payload, `{"bytes":"<base64>","p":"<padding>"}`.
fn decode(payload: &[u8]) -> Result<Vec<u8>, Unreadable> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: Cow<'a, str>,
    }
    let chunk: Chunk<'_> = serde_json::from_slice(payload).map_err(|_cause| Unreadable)?;
    let json = STANDARD.decode(chunk.bytes.as_bytes());
    json.map_err(|_cause| Unreadable)
}
