//! What an answer shall be: the words of `x-simulate` (listed in the room's documentation), and
//! faults that are drawn where no word asks for one.

use std::str::FromStr;
use std::time::Duration;

use super::draws::Draws;
use super::operation::Shape;
use super::refusal::Refusal;
use super::usage::Usage;

/// How a stream is cut into writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Writing {
    /// One frame per write.
    #[default]
    FrameByFrame,
    /// All frames in one write.
    Whole,
    /// Writes of drawn lengths.
    Many,
    /// Writes of one length in bytes.
    Split(usize),
}

/// How a body ends; counts are frames of a stream or bytes of a plain body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its last byte.
    #[default]
    Whole,
    /// With a reset after that many.
    Reset(usize),
    /// Never, after that many.
    Stall(usize),
    /// With an exception frame after that many.
    Exception(usize, String),
}

/// Token counts that are set by the script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_30m: Option<u64>,
    cache_write_1h: Option<u64>,
}

/// What an answer shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scenario {
    counts: Counts,
    pub(super) tier: Option<String>,
    pub(super) response_bytes: Option<usize>,
    pub(super) frames: Option<usize>,
    pub(super) frame_delay: Duration,
    pub(super) head_delay: Duration,
    pub(super) writing: Writing,
    pub(super) ending: Ending,
    pub(super) refusal: Option<Refusal>,
    pub(super) reset_before_head: bool,
    pub(super) no_usage: bool,
    pub(super) garbage_after: Option<usize>,
    pub(super) bad_crc_at: Option<usize>,
    pub(super) huge_length_at: Option<usize>,
    pub(super) short_body: bool,
}

impl Scenario {
    /// Reads the value of `x-simulate`.
    pub(super) fn read(words: &str) -> Result<Self, Refusal> {
        let mut scenario = Self::default();
        for word in words.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            scenario
                .set(name, value)
                .ok_or_else(|| Refusal::validation(format!("x-simulate: cannot read '{word}'")))?;
        }
        Ok(scenario)
    }

    /// Sets one word; `None` when the word or its value is unknown.
    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "input" => self.counts.input = Some(number(value)?),
            "output" => self.counts.output = Some(number(value)?),
            "cache-read" => self.counts.cache_read = Some(number(value)?),
            "cache-write-5m" => self.counts.cache_write_5m = Some(number(value)?),
            "cache-write-30m" => self.counts.cache_write_30m = Some(number(value)?),
            "cache-write-1h" => self.counts.cache_write_1h = Some(number(value)?),
            "tier" => self.tier = Some(value.to_owned()),
            "response-bytes" => self.response_bytes = Some(number(value)?),
            "frames" => self.frames = Some(number(value)?),
            "frame-delay-ms" => self.frame_delay = Duration::from_millis(number(value)?),
            "delay-head-ms" => self.head_delay = Duration::from_millis(number(value)?),
            "write" => self.writing = Writing::read(value)?,
            _ => return self.set_fault(name, value),
        }
        Some(())
    }

    fn set_fault(&mut self, name: &str, value: &str) -> Option<()> {
        match (name, value) {
            ("status", _) => self.refusal = Some(scripted_refusal(value)?),
            ("exception-after", _) => self.ending = scripted_exception(value)?,
            ("reset-after", _) => self.ending = Ending::Reset(number(value)?),
            ("stall-after", _) => self.ending = Ending::Stall(number(value)?),
            ("garbage-after", _) => self.garbage_after = Some(number(value)?),
            ("bad-crc-at", _) => self.bad_crc_at = Some(number(value)?),
            ("huge-length-at", _) => self.huge_length_at = Some(number(value)?),
            ("reset-before-head", "") => self.reset_before_head = true,
            ("no-usage", "") => self.no_usage = true,
            ("short-body", "") => self.short_body = true,
            _ => return None,
        }
        Some(())
    }

    /// Makes a share of the answers fail, unless the script already says how they end.
    pub(super) fn draw_fault(&mut self, percent: u8, draws: &mut Draws) {
        if self.fault().is_some() || !draws.chance(percent) {
            return;
        }
        let after = draws.length(0, 4);
        match draws.between(0, 3) {
            0 => self.refusal = Some(Refusal::of_status(429)),
            1 => self.refusal = Some(Refusal::of_status(500)),
            2 => self.ending = Ending::Exception(after, "throttlingException".to_owned()),
            _ => self.ending = Ending::Reset(after),
        }
    }

    /// A plain body has no frames: its exception is an ordinary error.
    pub(super) fn fit(&mut self, shape: Shape) {
        if !shape.is_stream() && matches!(self.ending, Ending::Exception(..)) {
            self.refusal = Some(Refusal::of_status(429));
            self.ending = Ending::Whole;
        }
    }

    /// The name of what is wrong with the answer, for the bill.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let ending = match self.ending {
            Ending::Whole => None,
            Ending::Reset(_) => Some("reset-after"),
            Ending::Stall(_) => Some("stall-after"),
            Ending::Exception(..) => Some("exception-after"),
        };
        let faults = [
            (self.refusal.is_some(), "status"),
            (self.reset_before_head, "reset-before-head"),
            (self.garbage_after.is_some(), "garbage-after"),
            (self.bad_crc_at.is_some(), "bad-crc-at"),
            (self.huge_length_at.is_some(), "huge-length-at"),
            (self.short_body, "short-body"),
            (self.no_usage, "no-usage"),
        ];
        ending.or_else(|| faults.iter().find(|(set, _)| *set).map(|(_, name)| *name))
    }

    /// The drawn usage with the counts of the script.
    pub(super) fn usage(&self, drawn: Usage) -> Usage {
        let counts = &self.counts;
        Usage {
            input: counts.input.unwrap_or(drawn.input),
            output: counts.output.unwrap_or(drawn.output),
            cache_read: counts.cache_read.unwrap_or(drawn.cache_read),
            cache_write_5m: counts.cache_write_5m.unwrap_or(drawn.cache_write_5m),
            cache_write_30m: counts.cache_write_30m.unwrap_or(drawn.cache_write_30m),
            cache_write_1h: counts.cache_write_1h.unwrap_or(drawn.cache_write_1h),
        }
    }
}

impl Writing {
    fn read(value: &str) -> Option<Self> {
        match value {
            "frame" => Some(Self::FrameByFrame),
            "whole" => Some(Self::Whole),
            "many" => Some(Self::Many),
            _ => number(value.strip_prefix("split:")?).map(Self::Split),
        }
    }
}

fn number<N: FromStr>(value: &str) -> Option<N> {
    value.parse().ok()
}

/// `429` or `429:ModelNotReadyException`.
fn scripted_refusal(value: &str) -> Option<Refusal> {
    let (status, class) = value.split_once(':').unwrap_or((value, ""));
    let mut refusal = Refusal::of_status(number(status).filter(|s| (400..600).contains(s))?);
    if !class.is_empty() {
        class.clone_into(&mut refusal.class);
    }
    Some(refusal)
}

/// `3` or `3:modelStreamErrorException`.
fn scripted_exception(value: &str) -> Option<Ending> {
    let (after, class) = value
        .split_once(':')
        .unwrap_or((value, "throttlingException"));
    Some(Ending::Exception(number(after)?, class.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_word_by_word() {
        let words =
            "frames=200, frame-delay-ms=5,write=split:7,input=12,status=429:ModelNotReadyException";
        let scenario = Scenario::read(words).unwrap();
        assert_eq!(scenario.frames, Some(200));
        assert_eq!(scenario.frame_delay, Duration::from_millis(5));
        assert_eq!(scenario.writing, Writing::Split(7));
        assert_eq!(scenario.usage(Usage::default()).input, 12);
        let refusal = scenario.refusal.unwrap();
        assert_eq!(
            (refusal.status, refusal.class.as_str()),
            (429, "ModelNotReadyException")
        );
    }

    #[test]
    fn an_unknown_word_is_refused_by_name() {
        for word in [
            "frmaes=2",
            "frames=two",
            "write=split:",
            "status=200",
            "no-usage=1",
        ] {
            let refusal = Scenario::read(word).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert!(refusal.message.contains(word), "{word}");
        }
    }

    #[test]
    fn a_scripted_end_is_never_replaced_by_a_drawn_one() {
        let mut scenario = Scenario::read("stall-after=1").unwrap();
        scenario.draw_fault(100, &mut Draws::new(1, 1));
        assert_eq!(scenario.ending, Ending::Stall(1));
        let mut scenario = Scenario::default();
        scenario.draw_fault(100, &mut Draws::new(1, 1));
        assert!(scenario.fault().is_some());
    }
}
