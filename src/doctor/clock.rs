//! Does our clock agree with AWS's? Signatures are valid for five minutes around theirs.

use http::header::DATE;

use super::finding::Finding;
use super::road::Answer;
use crate::domain::Timestamp;

const CHECK: &str = "clock";

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    ours: Timestamp,
    theirs: Timestamp,
}

impl Seen {
    /// What an answer tells; `None` without a date.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let date = answer.headers.get(DATE)?.to_str().ok()?;
        let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
        Some(Self {
            ours: answer.at,
            theirs: Timestamp::from_unix_ms(theirs.as_millisecond()),
        })
    }
}

/// The finding, and by how many milliseconds requests are to be dated later.
pub(super) fn check(seen: Option<Seen>) -> (Finding, i64) {
    let Some(Seen { ours, theirs }) = seen else {
        let mend =
            "a proxy in between may have taken the Date header out: compare the clock by hand";
        let finding = Finding::warning(CHECK, "the answer had no date", mend);
        return (finding, 0);
    };
    let skew_ms = theirs.unix_ms().saturating_sub(ours.unix_ms());
    let off = skew_ms.unsigned_abs();
    let direction = if skew_ms > 0 { "behind" } else { "ahead of" };
    let seconds = off.div_euclid(1000);
    let seen = format!("this machine's clock is {seconds} s {direction} AWS's ({theirs})");
    if off <= AGREES_MS_MAX {
        (Finding::ok(CHECK, "agrees with AWS's"), 0)
    } else if off <= SIGNABLE_MS_MAX {
        (Finding::warning(CHECK, seen, MEND), skew_ms)
    } else {
        (Finding::failed(CHECK, seen, MEND), skew_ms)
    }
}

/// The header has whole seconds, and the answer has travelled.
const AGREES_MS_MAX: u64 = 30_000;
/// Past four minutes signatures begin to fail ("Signature expired").
const SIGNABLE_MS_MAX: u64 = 240_000;
const MEND: &str = "synchronise the clock (chrony, systemd-timesyncd; on EC2 the time service at \
                    169.254.169.123): beyond five minutes AWS answers \"Signature expired\", and \
                    entries carry wrong times";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        let judged = |theirs: &str| {
            let ours = "2026-11-22T12:00:00Z".parse().unwrap();
            let theirs = theirs.parse().unwrap();
            let (finding, skew_ms) = check(Some(Seen { ours, theirs }));
            (finding.state, skew_ms)
        };
        assert_eq!(judged("2026-11-22T12:00:20Z"), (State::Ok, 0));
        assert_eq!(judged("2026-11-22T12:02:00Z"), (State::Warning, 120_000));
        assert_eq!(judged("2026-11-22T11:50:00Z"), (State::Failed, -600_000));
        assert_eq!(check(None).0.state, State::Warning);
    }
}
