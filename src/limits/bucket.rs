//! A token bucket: so much per minute, so much at once, in whole numbers.
//!
//! What is taken lies in the bucket until the minute's refill has paid for it, the oldest first.
//! In any 60 seconds no more is taken than the limit and the larger of the burst and of the
//! largest single amount. Time is an argument; where it steps back, that step refills nothing.

/// One bucket. Amounts are kept in units of a 60,000th, so that a limit per minute refills a whole
/// number of units in each millisecond.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// What was taken and not yet paid.
    used: u64,
    /// All that ever left `used`, paid or given back; wraps.
    gone: u64,
    /// The limit per minute: units per millisecond.
    rate: u64,
    at_ms: i64,
}

/// What a bucket gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Per minute.
    pub(super) rate: u64,
    /// At once.
    pub(super) burst: u64,
}

/// Something taken: where it lies in the bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lot {
    amount: u64,
    /// `used` behind it.
    end: u64,
    /// `gone` when it was taken.
    gone: u64,
}

impl Size {
    /// A limit per minute, of which a time's worth is there at once: at least one.
    pub(super) fn of(rate: u64, burst_ms: u64) -> Self {
        let units = rate.saturating_mul(burst_ms);
        Self {
            rate,
            burst: units.div_ceil(UNITS).max(1),
        }
    }
}

impl Size {
    /// The part of one of several replicas: at least one.
    pub(super) fn part(self, replicas: u32) -> Self {
        let part = |whole: u64| whole.checked_div(replicas.into()).unwrap_or(whole).max(1);
        Self {
            rate: part(self.rate),
            burst: part(self.burst),
        }
    }
}

impl Bucket {
    /// Lets time pass, and a changed limit take effect.
    pub(super) fn pass(&mut self, now_ms: i64, rate: u64) {
        let passed = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        self.leave(passed.saturating_mul(self.rate));
        (self.at_ms, self.rate) = (now_ms, rate);
    }

    /// Lets time pass under the limit that it has.
    pub(super) fn pass_on(&mut self, now_ms: i64) {
        self.pass(now_ms, self.rate);
    }

    fn leave(&mut self, units: u64) {
        let units = units.min(self.used);
        self.used = self.used.saturating_sub(units);
        self.gone = self.gone.wrapping_add(units);
    }

    /// How many milliseconds until an amount fits; zero: now. One above the burst fits into a
    /// whole bucket, and is paid for behind it.
    pub(super) fn wait_ms(&self, amount: u64, size: Size) -> u64 {
        let whole = size.burst.saturating_mul(UNITS);
        let asked = amount.min(size.burst).saturating_mul(UNITS);
        let over = self.used.saturating_add(asked).saturating_sub(whole);
        over.div_ceil(size.rate.max(1))
    }

    /// Takes an amount, whether it fits or not.
    pub(super) fn take(&mut self, amount: u64) -> Lot {
        self.used = self.used.saturating_add(amount.saturating_mul(UNITS));
        Lot {
            amount,
            end: self.used,
            gone: self.gone,
        }
    }

    /// Gives back a part of what was taken, as far as it is not paid yet: what has left the bucket
    /// since is counted as this lot's, so that never too much comes back.
    pub(super) fn give_back(&mut self, lot: Lot, amount: u64) {
        let left = lot.end.saturating_sub(self.gone.wrapping_sub(lot.gone));
        let most = amount.min(lot.amount).saturating_mul(UNITS);
        self.leave(most.min(left));
    }

    /// Whether nothing is in it: such a bucket need not be kept.
    pub(super) const fn is_idle(&self) -> bool {
        self.used == 0
    }

    /// What is taken of a burst, in thousandths; above a thousand where a large amount is paid for.
    pub(super) fn used_permille(&self, size: Size) -> u64 {
        let whole = size.burst.saturating_mul(UNITS).max(1);
        let used = u128::from(self.used).saturating_mul(1_000);
        u64::try_from(used.div_euclid(u128::from(whole))).unwrap_or(u64::MAX)
    }
}

/// Units of an amount of one: milliseconds of a minute.
pub(super) const UNITS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn size(rate: u64, burst: u64) -> Size {
        Size { rate, burst }
    }

    #[test]
    fn a_burst_is_a_times_worth_of_the_limit_and_at_least_one() {
        for (rate, burst_ms, expected) in [
            (60, 60_000, 60),
            (60, 10_000, 10),
            (61, 10_000, 11),
            (1, 0, 1),
        ] {
            assert_eq!(Size::of(rate, burst_ms).burst, expected);
        }
    }

    #[test]
    fn a_limit_of_sixty_and_a_burst_of_two_gives_two_and_then_one_a_second() {
        let (mut bucket, size) = (Bucket::default(), size(60, 2));
        bucket.pass(5_000, 60);
        for wait in [0, 0, 1_000] {
            assert_eq!(bucket.wait_ms(1, size), wait);
            if wait == 0 {
                bucket.take(1);
            }
        }
        for (at, wait) in [(5_999, 1), (6_000, 0)] {
            bucket.pass(at, 60);
            assert_eq!(bucket.wait_ms(1, size), wait, "at {at}");
        }
    }

    #[test]
    fn an_amount_above_the_burst_fits_a_whole_bucket_and_is_paid_for_after() {
        let (mut bucket, size) = (Bucket::default(), size(60, 2));
        bucket.pass(0, 60);
        assert_eq!(bucket.wait_ms(30, size), 0);
        bucket.take(30);
        // 30 are used, and one fits where 1 is: 29 seconds.
        assert_eq!(bucket.wait_ms(1, size), 29_000);
    }

    #[test]
    fn a_clock_that_steps_back_neither_fills_nor_freezes() {
        let (mut bucket, size) = (Bucket::default(), size(60, 1));
        bucket.pass(3_600_000, 60);
        bucket.take(1);
        bucket.pass(0, 60);
        assert_eq!(bucket.wait_ms(1, size), 1_000);
        bucket.pass(1_000, 60);
        assert_eq!(bucket.wait_ms(1, size), 0);
    }

    #[test]
    fn what_was_paid_does_not_come_back() {
        let mut bucket = Bucket::default();
        bucket.pass(0, 60);
        let lot = bucket.take(50);
        bucket.pass(30_000, 60);
        let other = bucket.take(40);
        // 30 of the first are paid: 20 are left of it, not the 50 that it did not use.
        bucket.give_back(lot, 50);
        assert_eq!(bucket.used, 40 * UNITS);
        bucket.give_back(other, 10);
        assert_eq!(bucket.used, 30 * UNITS);
    }

    /// A call of the model: when, its reservation, what it turned out to use and when that was
    /// known.
    #[derive(Clone, Debug)]
    struct Call {
        pause_ms: i64,
        reserved: u64,
        actual: u64,
        takes_ms: i64,
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let one = (0..4_000_i64, 1..40_u64, 0..40_u64, 0..90_000_i64);
        let call = one.prop_map(|(pause_ms, reserved, actual, takes_ms)| Call {
            pause_ms,
            reserved,
            actual: actual.min(reserved),
            takes_ms,
        });
        prop::collection::vec(call, 1..120)
    }

    proptest! {
        /// The model: of the calls that were let in, sum up each window of a minute.
        #[test]
        fn no_minute_uses_more_than_limit_and_burst(
            calls in calls(),
            rate in 1..200_u64,
            burst in 1..60_u64,
        ) {
            let (mut bucket, size) = (Bucket::default(), size(rate, burst));
            let mut now = 0;
            let mut open: Vec<(i64, Lot, u64)> = Vec::new();
            let mut let_in: Vec<(i64, u64)> = Vec::new();
            for call in &calls {
                let next = now + call.pause_ms;
                open.sort_by_key(|(ends, ..)| *ends);
                while let Some((ends, lot, unused)) = open.first().copied().filter(|o| o.0 <= next) {
                    bucket.pass(ends, rate);
                    bucket.give_back(lot, unused);
                    open.remove(0);
                }
                now = next;
                bucket.pass(now, rate);
                let wait = bucket.wait_ms(call.reserved, size);
                if wait == 0 {
                    let lot = bucket.take(call.reserved);
                    open.push((now + call.takes_ms, lot, call.reserved - call.actual));
                    let_in.push((now, call.actual));
                }
            }
            let largest = calls.iter().map(|call| call.reserved).max().unwrap();
            let most = rate + burst.max(largest);
            for (from, _) in &let_in {
                let window = let_in.iter().filter(|(at, _)| (*from..from + 60_000).contains(at));
                let used: u64 = window.map(|(_, used)| used).sum();
                prop_assert!(used <= most, "{used} of {most} from {from}");
            }
        }

        /// The hint is true: a millisecond before it does not fit, at it it does.
        #[test]
        fn a_wait_is_neither_too_long_nor_too_short(
            takes in prop::collection::vec(1..50_u64, 1..20),
            rate in 1..1_000_u64,
            burst in 1..60_u64,
            amount in 1..90_u64,
        ) {
            let (mut bucket, size) = (Bucket::default(), size(rate, burst));
            bucket.pass(0, rate);
            for amount in takes {
                bucket.take(amount);
            }
            let wait = i64::try_from(bucket.wait_ms(amount, size)).unwrap();
            prop_assume!(wait > 0);
            bucket.pass(wait - 1, rate);
            prop_assert!(bucket.wait_ms(amount, size) > 0);
            bucket.pass(wait, rate);
            prop_assert_eq!(bucket.wait_ms(amount, size), 0);
        }
    }
}
