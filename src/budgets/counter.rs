//! What one subject has spent and holds, in one budget's period.
//!
//! A calendar period keeps the stretch before the current one too: a call that was admitted before
//! midnight settles where it was held, and a clock that steps back over the border finds the old
//! stretch again. A clock that steps back further opens nothing older: it counts in the newest.
//!
//! A rolling window is a row of buckets, at most 60 and one: a bucket leaves when all of it is
//! older than the window, so that the sum is never too small.

use std::collections::VecDeque;

use super::period::{Calendar, MS_PER_MINUTE, Period};
use crate::domain::{Timestamp, Usd};

/// Where a counter stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) begins: Timestamp,
    /// When there is more room: the end of the stretch, or of a rolling window's oldest bucket.
    pub(super) ends: Timestamp,
    pub(super) spent: Usd,
    pub(super) held: Usd,
}

impl Position {
    /// Whether an amount fits under a limit.
    pub(super) fn has_room(&self, amount: Usd, limit: Usd) -> bool {
        let taken = self.spent.saturating_add(self.held);
        taken.saturating_add(amount) <= limit
    }

    /// What one of several replicas may take it to by itself: its part of what is left.
    pub(super) fn share(&self, limit: Usd, replicas: u32) -> Usd {
        let taken = self.spent.saturating_add(self.held);
        let left = self.left(Usd::ZERO, limit).femto();
        let part = left.checked_div(i128::from(replicas)).unwrap_or(0);
        taken.saturating_add(Usd::from_femto(part))
    }

    /// What is left under a limit once an amount is held too: never below zero.
    pub(super) fn left(&self, amount: Usd, limit: Usd) -> Usd {
        let taken = self.spent.saturating_add(self.held).saturating_add(amount);
        limit.saturating_sub(taken).max(Usd::ZERO)
    }
}

/// A counter.
#[derive(Debug)]
pub(super) enum Counter {
    /// Of a calendar period.
    Calendar {
        current: Position,
        before: Option<Position>,
    },
    /// Of a rolling window.
    Rolling(Rolling),
}

/// The buckets of a rolling window, oldest first, each with the instant at which it begins.
#[derive(Debug)]
pub(super) struct Rolling {
    buckets: VecDeque<(i64, Usd)>,
    spent: Usd,
    held: Usd,
    /// The newest instant seen: the window never moves back.
    newest: Timestamp,
}

impl Counter {
    /// An empty counter that begins at an instant.
    pub(super) fn new(calendar: &Calendar, at: Timestamp) -> Self {
        if let Period::Rolling(_) = calendar.period {
            return Self::Rolling(Rolling {
                buckets: VecDeque::new(),
                spent: Usd::ZERO,
                held: Usd::ZERO,
                newest: at,
            });
        }
        Self::Calendar {
            current: empty(calendar, at),
            before: None,
        }
    }

    /// Where it stands for a call that is admitted at that instant.
    pub(super) fn position(&mut self, calendar: &Calendar, at: Timestamp) -> Position {
        match self {
            Self::Calendar { .. } => self.stretch(calendar, at).map_or(NOWHERE, |found| *found),
            Self::Rolling(rolling) => rolling.position(calendar, at),
        }
    }

    /// Holds an amount; says in which stretch, which finds the hold again.
    pub(super) fn hold(&mut self, calendar: &Calendar, at: Timestamp, amount: Usd) -> Timestamp {
        match self {
            Self::Calendar { .. } => self.stretch(calendar, at).map_or(at, |stretch| {
                stretch.held = stretch.held.saturating_add(amount);
                stretch.begins
            }),
            Self::Rolling(rolling) => {
                rolling.held = rolling.held.saturating_add(amount);
                at
            }
        }
    }

    /// Gives back what is held in the stretch that begins then. One that is long over holds nothing
    /// back any more.
    pub(super) fn give_back(&mut self, begins: Timestamp, amount: Usd) {
        let held = match self {
            Self::Calendar { current, before } => {
                let mut stretches = std::iter::once(current).chain(before);
                let found = stretches.find(|stretch| stretch.begins == begins);
                found.map(|stretch| &mut stretch.held)
            }
            Self::Rolling(rolling) => Some(&mut rolling.held),
        };
        if let Some(held) = held {
            // What replicas share may have been read without this hold in it.
            *held = held.saturating_sub(amount).max(Usd::ZERO);
        }
    }

    /// Counts what a call of that instant cost.
    pub(super) fn spend(&mut self, calendar: &Calendar, at: Timestamp, amount: Usd) {
        match self {
            Self::Calendar { .. } => {
                if let Some(stretch) = self.stretch(calendar, at) {
                    stretch.spent = stretch.spent.saturating_add(amount);
                }
            }
            Self::Rolling(rolling) => rolling.spend(calendar, at, amount),
        }
    }

    /// Takes over what a store of several replicas says. Where the spent money of a rolling window
    /// lies in it is not said: all of it counts as spent now, and comes back no sooner than it may.
    pub(super) fn adopt(&mut self, calendar: &Calendar, at: Timestamp, spent: Usd, held: Usd) {
        if let Self::Rolling(rolling) = self {
            rolling.buckets.clear();
            rolling.spent = Usd::ZERO;
            rolling.held = held;
            rolling.newest = rolling.newest.max(at);
            rolling.spend(calendar, at, spent);
        } else if let Some(stretch) = self.stretch(calendar, at) {
            stretch.held = held;
            stretch.spent = spent;
        }
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&mut self, calendar: &Calendar, now: Timestamp) -> bool {
        let position = self.position(calendar, now);
        let before = match self {
            Self::Calendar { before, .. } => before.is_some_and(|one| one.held != Usd::ZERO),
            Self::Rolling(_) => false,
        };
        position.spent == Usd::ZERO && position.held == Usd::ZERO && !before
    }

    /// The stretch that counts for an instant, the next one begun where it is due.
    fn stretch(&mut self, calendar: &Calendar, at: Timestamp) -> Option<&mut Position> {
        let Self::Calendar { current, before } = self else {
            return None;
        };
        if at >= current.ends {
            let next = empty(calendar, at);
            *before = (next.begins == current.ends).then_some(*current);
            *current = next;
        }
        match before {
            Some(before) if at < current.begins && before.begins <= at => Some(before),
            Some(_) | None => Some(current),
        }
    }
}

impl Rolling {
    fn position(&mut self, calendar: &Calendar, at: Timestamp) -> Position {
        let (window, bucket) = widths(calendar);
        self.newest = self.newest.max(at);
        let begins = self.newest.unix_ms().saturating_sub(window);
        while let Some((begun, amount)) = self.buckets.front().copied()
            && begun.saturating_add(bucket) <= begins
        {
            self.spent = self.spent.saturating_sub(amount);
            self.buckets.pop_front();
        }
        let oldest = self.buckets.front().map(|(begun, _)| *begun);
        let frees = oldest.map(|begun| begun.saturating_add(bucket).saturating_add(window));
        Position {
            begins: Timestamp::from_unix_ms(begins),
            ends: frees.map_or(self.newest, Timestamp::from_unix_ms),
            spent: self.spent,
            held: self.held,
        }
    }

    fn spend(&mut self, calendar: &Calendar, at: Timestamp, amount: Usd) {
        let (window, bucket) = widths(calendar);
        let begun = bucket_of(at, bucket);
        if begun.saturating_add(bucket) <= self.newest.unix_ms().saturating_sub(window) {
            return;
        }
        self.spent = self.spent.saturating_add(amount);
        let place = self.buckets.partition_point(|(one, _)| *one < begun);
        match self.buckets.get_mut(place) {
            Some((one, sum)) if *one == begun => *sum = sum.saturating_add(amount),
            Some(_) | None => self.buckets.insert(place, (begun, amount)),
        }
    }
}

/// Where the bucket of an instant begins.
pub(super) fn bucket_of(at: Timestamp, bucket: i64) -> i64 {
    let ms = at.unix_ms();
    ms.saturating_sub(ms.rem_euclid(bucket.max(1)))
}

/// The length of a rolling window and of its buckets, in milliseconds.
pub(super) fn widths(calendar: &Calendar) -> (i64, i64) {
    let minutes = match calendar.period {
        Period::Rolling(minutes) => minutes,
        Period::Day | Period::Week | Period::Month | Period::Quarter | Period::Year => 0,
    };
    // Whole minutes, as the sums that counters are rebuilt from.
    let bucket = minutes
        .saturating_add(BUCKETS - 1)
        .div_euclid(BUCKETS)
        .max(1);
    let ms = |minutes: i64| minutes.saturating_mul(MS_PER_MINUTE);
    (ms(minutes), ms(bucket))
}

fn empty(calendar: &Calendar, at: Timestamp) -> Position {
    let (begins, ends) = calendar.stretch(at);
    Position {
        begins,
        ends,
        spent: Usd::ZERO,
        held: Usd::ZERO,
    }
}

const NOWHERE: Position = Position {
    begins: Timestamp::from_unix_ms(0),
    ends: Timestamp::from_unix_ms(0),
    spent: Usd::ZERO,
    held: Usd::ZERO,
};
const BUCKETS: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn calendar(period: &str) -> Calendar {
        Calendar {
            period: period.parse().unwrap(),
            zone: "UTC".parse().unwrap(),
            fiscal_month: 1,
        }
    }

    /// What is spent and held at an instant.
    fn sums(counter: &mut Counter, calendar: &Calendar, instant: &str) -> (String, String) {
        let position = counter.position(calendar, at(instant));
        (position.spent.to_string(), position.held.to_string())
    }

    #[test]
    fn a_call_over_midnight_settles_in_the_day_that_held_it() {
        let day = calendar("day");
        let (evening, morning) = ("2026-11-26T23:59:00Z", "2026-11-27T00:01:00Z");
        let mut counter = Counter::new(&day, at(evening));
        let held = counter.hold(&day, at(evening), usd("2"));
        assert_eq!(sums(&mut counter, &day, morning), ("0".into(), "0".into()));
        counter.give_back(held, usd("2"));
        counter.spend(&day, at(evening), usd("1.5"));
        assert_eq!(sums(&mut counter, &day, morning), ("0".into(), "0".into()));
        // The clock steps back: yesterday is still there.
        assert_eq!(
            sums(&mut counter, &day, evening),
            ("1.5".into(), "0".into())
        );
    }

    #[test]
    fn a_hold_of_a_period_long_over_gives_nothing_back() {
        let day = calendar("day");
        let mut counter = Counter::new(&day, at("2026-11-26"));
        let held = counter.hold(&day, at("2026-11-26T12:00:00Z"), usd("2"));
        // The clock jumps over a whole day: only yesterday is still known.
        let _today = counter.hold(&day, at("2026-11-28T12:00:00Z"), usd("1"));
        counter.give_back(held, usd("2"));
        assert_eq!(
            sums(&mut counter, &day, "2026-11-28T13:00:00Z"),
            ("0".into(), "1".into())
        );
    }

    #[test]
    fn a_clock_that_steps_far_back_counts_in_the_newest_period() {
        let month = calendar("month");
        let mut counter = Counter::new(&month, at("2026-11-26"));
        counter.spend(&month, at("2026-11-26"), usd("3"));
        assert_eq!(sums(&mut counter, &month, "2026-08-01").0, "3");
        counter.spend(&month, at("2026-08-01"), usd("1"));
        assert_eq!(sums(&mut counter, &month, "2026-11-26").0, "4");
    }

    #[test]
    fn a_rolling_window_forgets_a_bucket_only_when_all_of_it_is_old() {
        // A day in 60 buckets of 24 minutes: 00:00 to 00:24 is the first.
        let day = calendar("rolling 24h");
        let mut counter = Counter::new(&day, at("2026-11-26"));
        counter.spend(&day, at("2026-11-26T00:01:00Z"), usd("1"));
        counter.spend(&day, at("2026-11-26T12:00:00Z"), usd("2"));
        let spent = |counter: &mut Counter, instant| sums(counter, &day, instant).0;
        assert_eq!(spent(&mut counter, "2026-11-27T00:23:59Z"), "3");
        assert_eq!(spent(&mut counter, "2026-11-27T00:24:00Z"), "2");
        assert_eq!(spent(&mut counter, "2026-11-26T12:00:00Z"), "2");
        assert_eq!(spent(&mut counter, "2026-11-27T12:24:00Z"), "0");
        let held = counter.hold(&day, at("2026-11-27T12:30:00Z"), usd("5"));
        assert!(!counter.is_idle(&day, at("2026-11-29")));
        counter.give_back(held, usd("5"));
        assert!(counter.is_idle(&day, at("2026-11-29")));
    }
}
