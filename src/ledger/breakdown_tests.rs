//! Sums of small ledgers, computed by hand beside the rows.

use std::collections::BTreeMap;

use super::store::tests::entry;
use super::test_stores::{await_readers, filled, stores};
use super::{Breakdown, StoreKind};
use crate::domain::{
    CallId, Charge, ChargeLine, Dimension, Entry, Outcome, Rate, Timestamp, UsageSource, Usd,
};
use crate::telemetry::LedgerFamily;

const NOW: &str = "2026-11-22T10:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A call with one charge line: a quantity, at a price of so many femtodollars.
fn bought(opened_at: &str, dimension: Dimension, quantity: u64, femto: i128) -> Entry {
    let mut entry = entry();
    entry.call_id = CallId::generate(at(opened_at));
    entry.opened_at = at(opened_at);
    entry.settled_at = at(opened_at);
    entry.charge = Charge::of(vec![ChargeLine {
        dimension,
        quantity,
        rate: Rate {
            id: "row".into(),
            per_unit: Usd::from_femto(femto),
        },
        amount: Usd::from_femto(femto * i128::from(quantity)),
    }]);
    entry
}

fn attempt(opened_at: &str, id: &str, number: u16, outcome: Outcome, femto: i128) -> Entry {
    Entry {
        sdk_invocation_id: Some(id.into()),
        sdk_attempt: Some(number),
        outcome,
        ..bought(opened_at, Dimension::InputTokens, 1, femto)
    }
}

type Found = BTreeMap<String, i128>;

/// The sums of one family that are not zero, by their labels.
fn sums(breakdown: &Breakdown, family: LedgerFamily) -> Found {
    let all = breakdown.sums().unwrap().into_iter();
    let of = all.filter(|sum| sum.family == family && sum.amount != 0);
    of.map(|sum| (sum.labels.join(" "), sum.amount)).collect()
}

fn found<const N: usize>(expected: [(&str, i128); N]) -> Found {
    expected
        .map(|(labels, sum)| (labels.to_owned(), sum))
        .into()
}

/// The sums of a ledger read at once, which must be those of one followed entry by entry.
fn check<const N: usize>(family: LedgerFamily, entries: &[Entry], expected: [(&str, i128); N]) {
    for store in stores() {
        let (fresh, mut ledger) = filled(store, &[]);
        let mut followed = Breakdown::of(&fresh.settings, at(NOW)).unwrap();
        for entry in entries {
            ledger.append(std::slice::from_ref(entry)).unwrap();
            await_readers(&ledger);
            while followed.refresh(entry.settled_at).unwrap() {}
        }
        while followed.refresh(at(NOW)).unwrap() {}
        let mut read = Breakdown::of(&fresh.settings, at(NOW)).unwrap();
        while read.refresh(at(NOW)).unwrap() {}
        assert_eq!(sums(&read, family), found(expected), "{store:?}");
        assert_eq!(
            sums(&followed, family),
            found(expected),
            "{store:?} followed"
        );
    }
}

const TODAY: &str = "2026-11-22T08:00:00Z";
const THIS_MONTH: &str = "2026-11-03T08:00:00Z";

#[test]
fn costs_by_model_and_kind_are_those_of_the_lines() {
    let entries = [
        bought("2026-10-31T23:59:59.999Z", Dimension::InputTokens, 1, 1),
        bought(THIS_MONTH, Dimension::InputTokens, 10, 7),
        bought(TODAY, Dimension::InputTokens, 2, 3),
        bought(TODAY, Dimension::CacheWrite1hTokens, 5, 100),
    ];
    let expected = [
        ("none input month", 76),
        ("none input day", 6),
        ("none cache_write_1h month", 500),
        ("none cache_write_1h day", 500),
    ];
    check(LedgerFamily::ModelCost, &entries, expected);
}

#[test]
fn unpriced_calls_have_calls_and_tokens_and_no_dollars() {
    let mut estimated = bought(TODAY, Dimension::InputTokens, 1, 5);
    estimated.reading.source = UsageSource::Estimated;
    let mut unpriced = bought(TODAY, Dimension::InputTokens, 1, 9);
    unpriced.charge = Charge::unpriced(crate::domain::UnpricedReason::UnknownModel);
    unpriced.reading.usage.set(Dimension::InputTokens, 1000);
    unpriced.reading.usage.set(Dimension::OutputTokens, 24);
    let entries = [
        bought(THIS_MONTH, Dimension::InputTokens, 1, 3),
        estimated,
        unpriced,
    ];
    let expected = [
        ("reported month", 3),
        ("estimated month", 5),
        ("estimated day", 5),
    ];
    check(LedgerFamily::SourceCost, &entries, expected);
    let expected = [
        ("reported priced month", 1),
        ("reported unpriced month", 1),
        ("reported unpriced day", 1),
        ("estimated priced month", 1),
        ("estimated priced day", 1),
    ];
    check(LedgerFamily::Calls, &entries, expected);
    let (fresh, mut ledger) = filled(StoreKind::Sqlite, &[]);
    ledger.append(&entries).unwrap();
    let mut read = Breakdown::of(&fresh.settings, at(NOW)).unwrap();
    while read.refresh(at(NOW)).unwrap() {}
    let tokens = sums(&read, LedgerFamily::Tokens);
    assert_eq!(tokens.get("reported unpriced day"), Some(&1024));
}

#[test]
fn a_change_is_volume_price_and_mix_and_they_add_up() {
    let entries = [
        // Before yesterday began: what yesterday lacks did not happen.
        bought("2026-11-20T12:00:00Z", Dimension::InputTokens, 1, 1),
        // Yesterday to 10:00: 2 calls, 200 tokens at 10: 2000.
        bought("2026-11-21T00:00:00Z", Dimension::InputTokens, 100, 10),
        bought("2026-11-21T09:59:59.999Z", Dimension::InputTokens, 100, 10),
        // Later than it is now.
        bought("2026-11-21T10:00:00Z", Dimension::InputTokens, 77, 10),
        // Today: 3 calls, 200 tokens at 12 and 50 of another kind at 100: 2400 + 5000.
        bought("2026-11-22T01:00:00Z", Dimension::InputTokens, 100, 12),
        bought("2026-11-22T02:00:00Z", Dimension::InputTokens, 100, 12),
        bought("2026-11-22T03:00:00Z", Dimension::OutputTokens, 50, 100),
    ];
    // 7400 - 2000 = 5400. Three calls in place of two at yesterday's 1000 each: +1000. 200 tokens
    // at 12 in place of 10: +400. The rest is what was bought: +4000.
    // A week ago the ledger did not exist: nothing is said of it.
    let application = entries[0].application.to_string();
    let labels =
        ["volume", "price", "mix"].map(|effect| format!("{application} yesterday {effect}"));
    let [volume, price, mix] = labels.each_ref().map(String::as_str);
    let expected = [(volume, 1000), (price, 400), (mix, 4000)];
    check(LedgerFamily::CostChange, &entries, expected);
}

#[test]
fn an_application_that_is_new_or_gone_changed_by_volume() {
    let mut gone = bought("2026-11-15T09:00:00Z", Dimension::InputTokens, 3, 100);
    gone.application = crate::domain::ApplicationId::new("gone").unwrap();
    let mut new = bought(TODAY, Dimension::InputTokens, 2, 100);
    new.application = crate::domain::ApplicationId::new("new").unwrap();
    let entries = [
        bought("2026-11-14", Dimension::InputTokens, 1, 1),
        gone,
        new,
    ];
    let expected = [
        ("gone last_week volume", -300),
        ("new last_week volume", 200),
        ("new yesterday volume", 200),
    ];
    check(LedgerFamily::CostChange, &entries, expected);
}

#[test]
fn an_attempt_that_was_paid_and_sent_again_is_waste_in_any_order() {
    let left = Outcome::ClientLeft;
    let entries = [
        attempt(TODAY, "in order", 1, left, 7),
        attempt(TODAY, "in order", 2, Outcome::Success, 1000),
        // The first was drained and settled last.
        attempt(TODAY, "reversed", 2, Outcome::Success, 1000),
        attempt(TODAY, "reversed", 1, left, 20),
        attempt(TODAY, "alone", 1, left, 300),
        attempt(TODAY, "failed", 1, Outcome::StreamFailed, 4000),
        attempt(TODAY, "good", 1, Outcome::Success, 50000),
    ];
    let expected = [
        ("none retried day", 27),
        ("none retried month", 27),
        ("none abandoned day", 300),
        ("none abandoned month", 300),
    ];
    check(LedgerFamily::Waste, &entries, expected);
}

#[test]
fn cache_writes_are_waste_when_nothing_read_while_they_lived() {
    let mut read = bought("2026-11-22T06:04:00Z", Dimension::CacheReadTokens, 1, 1);
    read.reading.usage.set(Dimension::CacheReadTokens, 1);
    let entries = [
        // Read four minutes later.
        bought(
            "2026-11-22T06:00:00Z",
            Dimension::CacheWrite5mTokens,
            100,
            3,
        ),
        read,
        // Alone for its hour.
        bought("2026-11-22T08:10:00Z", Dimension::CacheWrite1hTokens, 10, 5),
        // Its hour is not over.
        bought("2026-11-22T09:30:00Z", Dimension::CacheWrite1hTokens, 10, 9),
    ];
    let expected = [
        ("none cache_write_never_read day", 50),
        ("none cache_write_never_read month", 50),
    ];
    check(LedgerFamily::Waste, &entries, expected);
}

/// Whoever asks may be told to stop: late in the day that must not take hundreds of questions.
#[test]
fn earlier_days_are_read_an_hour_of_them_at_a_turn() {
    for store in stores() {
        let (fresh, mut ledger) = filled(store, &[]);
        let sold = |when: &str| bought(when, Dimension::InputTokens, 1, 5);
        let days = [
            "2026-11-01T12:00:00Z",
            "2026-11-28T00:30:00Z",
            "2026-11-28T22:30:00Z",
        ];
        ledger.append(&days.map(sold)).unwrap();
        let mut read = Breakdown::of(&fresh.settings, at("2026-11-29T23:00:00Z")).unwrap();
        let mut turns = 1;
        while read.refresh(at("2026-11-29T23:00:00Z")).unwrap() {
            turns += 1;
            assert!(turns < 100, "it ends");
        }
        // 23 hours of two days.
        assert_eq!(turns, 46, "{store:?}");
        let changed = sums(&read, LedgerFamily::CostChange);
        let label = format!("{} yesterday volume", sold(days[1]).application);
        assert_eq!(changed.get(&label), Some(&-10), "{changed:?}");
    }
}

#[test]
fn a_new_day_begins_at_nothing_and_a_new_month_forgets_the_last() {
    let (fresh, mut ledger) = filled(StoreKind::Sqlite, &[]);
    let entries = [bought("2026-11-29T23:00:00Z", Dimension::InputTokens, 1, 5)];
    ledger.append(&entries).unwrap();
    let mut breakdown = Breakdown::of(&fresh.settings, at("2026-11-29T23:30:00Z")).unwrap();
    while breakdown.refresh(at("2026-11-30T00:00:00Z")).unwrap() {}
    let month = found([("reported month", 5)]);
    assert_eq!(sums(&breakdown, LedgerFamily::SourceCost), month);
    while breakdown.refresh(at("2026-12-01T00:00:00Z")).unwrap() {}
    assert_eq!(sums(&breakdown, LedgerFamily::SourceCost), found([]));
}
