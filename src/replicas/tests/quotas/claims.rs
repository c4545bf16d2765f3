//! What a tenant that found no room claims, and for how long the others leave it to it.

use crate::domain::{SharedLotEnd, SharedRate, SharedRates as _};
use crate::replicas::tests::Redis;

use super::{Timed, share};

fn of(quota: &str, tenant: &str, amount: u64) -> SharedRate {
    SharedRate {
        bucket: quota.into(),
        ..share(tenant, amount)
    }
}

/// How long each has to wait; whoever has room takes it.
fn waits(timed: &Timed, wants: &[SharedRate]) -> Vec<Option<u64>> {
    let answers = timed.take(wants);
    answers.iter().map(|one| one.wait_ms).collect()
}

#[test]
fn of_requests_and_tokens_only_what_lacks_is_claimed() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    timed.begin();
    waits(&timed, &[of("requests", "a", 60)]);
    waits(&timed, &[of("tokens", "a", 40)]);
    let both = [of("requests", "b", 10), of("tokens", "b", 10)];
    assert_eq!(waits(&timed, &both), [Some(10_000), Some(0)]);
    // Ten are claimed before this one.
    assert_eq!(waits(&timed, &[of("requests", "c", 1)]), [Some(11_000)]);
    // Of tokens 20 are free, and nobody's.
    assert_eq!(waits(&timed, &[of("tokens", "c", 15)]), [Some(0)]);
}

#[test]
fn where_both_lack_what_fits_last_is_claimed() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    for (last, first) in [("requests", "tokens"), ("tokens", "requests")] {
        timed.begin();
        waits(&timed, &[of(last, "a", 60)]);
        waits(&timed, &[of(first, "a", 55)]);
        let mut both = [of(last, "b", 10), of(first, "b", 10)];
        both.sort_by(|one, other| one.bucket.cmp(&other.bucket));
        waits(&timed, &both);
        assert_eq!(waits(&timed, &[of(last, "c", 10)]), [Some(20_000)]);
        assert_eq!(waits(&timed, &[of(first, "c", 10)]), [Some(5_000)]);
    }
}

/// Six seconds beyond the hint.
#[test]
fn a_claim_ends_soon_after_its_hint() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    timed.begin();
    waits(&timed, &[share("a", 60)]);
    assert_eq!(waits(&timed, &[share("b", 10)]), [Some(10_000)]);
    timed.at(15_999);
    assert_eq!(waits(&timed, &[share("c", 20)]), [Some(14_001)]);
    timed.at(16_000);
    assert_eq!(waits(&timed, &[share("c", 20)]), [Some(4_000)]);
}

/// A call that used far more than it had taken makes hints of more than two minutes.
#[test]
fn no_claim_is_longer_than_two_minutes_and_the_time_to_come_back() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    timed.begin();
    let lot = timed.take(&[share("a", 60)]).remove(0).lot.unwrap();
    let (unused, more) = (0, 240);
    timed.ended(vec![SharedLotEnd { lot, unused, more }]);
    assert_eq!(waits(&timed, &[share("b", 10)]), [Some(250_000)]);
    // It stands, as long as it may.
    assert_eq!(waits(&timed, &[share("c", 10)]), [Some(260_000)]);
    timed.at(125_999);
    assert_eq!(waits(&timed, &[share("c", 10)]), [Some(134_001)]);
    timed.at(126_000);
    assert_eq!(waits(&timed, &[share("c", 10)]), [Some(124_000)]);
}

#[test]
fn a_claim_that_lies_far_ahead_is_of_a_clock_that_stepped_back() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    for (at, wait) in [(-110_000, 30_000), (-110_001, 20_000)] {
        timed.begin();
        waits(&timed, &[share("a", 60)]);
        waits(&timed, &[share("b", 10)]);
        timed.at(at);
        assert_eq!(waits(&timed, &[share("c", 20)]), [Some(wait)], "{at}");
    }
}
