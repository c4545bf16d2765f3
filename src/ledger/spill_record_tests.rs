//! Records of the spill against entries drawn at random, damaged bytes, and the documented layout.

use std::sync::Arc;

use proptest::option::weighted;
use proptest::prelude::*;

use super::spill_record::{encode, scan};
use super::store::tests::entry;
use crate::domain::{
    ApplicationId, CallId, Capacity, Charge, ChargeLine, Dimension, Entry, Geography, Latency,
    ModelRef, Operation, Outcome, PriceStatus, Rate, Reading, Region, ServiceTier, TenantId,
    Timestamp, UnpricedReason, Usage, UsageReason, UsageSource, Usd,
};

fn text() -> impl Strategy<Value = Option<Arc<str>>> {
    weighted(0.7, "\\PC{0,40}".prop_map(Arc::from))
}

fn dimension() -> impl Strategy<Value = Dimension> {
    prop_oneof![
        Just(Dimension::InputTokens),
        Just(Dimension::OutputTokens),
        Just(Dimension::CacheWrite1hTokens),
        "[a-z_]{1,12}".prop_map(|name| Dimension::from_name(&name)),
    ]
}

fn tier() -> impl Strategy<Value = ServiceTier> {
    prop_oneof![
        Just(ServiceTier::Standard),
        Just(ServiceTier::Priority),
        Just(ServiceTier::Flex),
        Just(ServiceTier::Reserved),
        Just(ServiceTier::Other("auto".into())),
        "[a-z]{1,9}x".prop_map(|name| ServiceTier::Other(name.into())),
    ]
}

fn money() -> impl Strategy<Value = Usd> {
    any::<i128>().prop_map(Usd::from_femto)
}

fn charge() -> impl Strategy<Value = Charge> {
    let line = (dimension(), any::<u64>(), "\\PC{0,30}", money(), money());
    let line = line.prop_map(|(dimension, quantity, id, per_unit, amount)| ChargeLine {
        dimension,
        quantity,
        rate: Rate {
            id: id.into(),
            per_unit,
        },
        amount,
    });
    let reason = prop_oneof![
        Just(UnpricedReason::UnknownModel),
        Just(UnpricedReason::NoRateAtInstant),
        Just(UnpricedReason::OutOfRange),
    ];
    let status = prop_oneof![
        Just(PriceStatus::Priced),
        Just(PriceStatus::Allocated),
        reason.prop_map(PriceStatus::Unpriced),
    ];
    let lines = prop::collection::vec(line, 0..5);
    (status, lines, prop::option::of(money())).prop_map(|(status, lines, total)| Charge {
        status,
        lines,
        total,
    })
}

fn reading() -> impl Strategy<Value = Reading> {
    let usage = prop::collection::vec((dimension(), any::<u64>()), 0..6);
    let source = prop_oneof![
        Just(UsageSource::Reported),
        Just(UsageSource::Estimated),
        Just(UsageSource::Missing),
    ];
    let reason = prop::option::of(prop_oneof![
        Just(UsageReason::ProcessDied),
        Just(UsageReason::NotInAnswer),
        Just(UsageReason::NoAnswer),
    ]);
    let read_from = prop_oneof![Just(""), Just("body"), Just("events"), Just("request")];
    let latency = prop::option::of(prop_oneof![
        Just(Latency::Standard),
        Just(Latency::Optimized)
    ]);
    let served = (prop::option::of(tier()), latency, text());
    let parts = (usage, source, reason, read_from, served, any::<bool>());
    parts.prop_map(
        |(usage, source, reason, read_from, served, disagreement)| Reading {
            usage: usage.into_iter().collect::<Usage>(),
            source,
            reason,
            read_from,
            served_tier: served.0,
            served_latency: served.1,
            invoked_model: served.2.map(|name| name.to_string()),
            disagreement,
        },
    )
}

fn model() -> impl Strategy<Value = Option<ModelRef>> {
    let geography = prop_oneof![
        Just(Geography::InRegion),
        Just(Geography::Global),
        Just(Geography::Profile("us".into())),
    ];
    let capacity = prop_oneof![
        Just(Capacity::OnDemand),
        Just(Capacity::Provisioned),
        Just(Capacity::CustomOnDemand),
        Just(Capacity::Imported),
        Just(Capacity::Marketplace),
    ];
    let parts = ("\\PC{1,60}", text(), geography, capacity);
    let model = parts.prop_map(|(asked, base, geography, capacity)| ModelRef {
        asked: asked.into(),
        base,
        geography,
        capacity,
    });
    prop::option::of(model)
}

/// On the heap: so many strategies in one would be too much for a test's stack.
fn any_entry() -> BoxedStrategy<Entry> {
    let ids = (any::<[u8; 16]>(), any::<i64>(), any::<i64>());
    let names = (
        "[a-z][a-z0-9._-]{0,20}",
        "[a-z][a-z0-9]{0,20}",
        "[a-z]{2}-[a-z]{1,9}",
    );
    let texts = (text(), text(), text(), text(), text(), "\\PC{0,20}");
    let kinds = (0..Operation::ALL.len(), 0..Outcome::ALL.len());
    let numbers = (
        any::<Option<u16>>(),
        any::<Option<u16>>(),
        any::<[u64; 3]>(),
        any::<Option<u64>>(),
    );
    let parts = (model().boxed(), reading().boxed(), charge().boxed());
    let rest = (prop::option::of(tier()), parts);
    let all = (ids, names, texts, kinds, numbers, rest);
    let all = all.prop_map(
        |(ids, names, texts, kinds, numbers, (tier_asked, parts))| Entry {
            call_id: CallId::from_bytes(ids.0),
            opened_at: Timestamp::from_unix_ms(ids.1),
            settled_at: Timestamp::from_unix_ms(ids.2),
            tenant: TenantId::new(&names.0).unwrap(),
            application: ApplicationId::new(&names.1).unwrap(),
            region: Region::new(&names.2).unwrap(),
            user: texts.0,
            session: texts.1,
            error_class: texts.2,
            aws_request_id: texts.3,
            sdk_invocation_id: texts.4,
            catalogue: texts.5.into(),
            operation: Operation::ALL[kinds.0],
            outcome: Outcome::ALL[kinds.1],
            status: numbers.0,
            sdk_attempt: numbers.1,
            request_bytes: numbers.2[0],
            response_bytes: numbers.2[1],
            duration_ms: numbers.2[2],
            first_byte_ms: numbers.3,
            tier_asked,
            model: parts.0,
            reading: parts.1,
            charge: parts.2,
            key: numbers.0.map(|n| format!("BMAK{n}").into()),
            reserved: numbers.3.map(|n| Usd::from_femto(n.into())),
            downgraded_from: numbers.1.map(|n| format!("model {n}").into()),
        },
    );
    all.boxed()
}

fn record(entry: &Entry) -> Vec<u8> {
    let mut record = Vec::new();
    encode(entry, &mut record);
    record
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(entries in prop::collection::vec(any_entry(), 0..4)) {
        let bytes: Vec<u8> = entries.iter().flat_map(record).collect();
        let scan = scan(&bytes);
        prop_assert_eq!((scan.records, scan.unreadable), (entries, 0));
    }

    #[test]
    fn a_cut_keeps_every_record_before_it(
        entries in prop::collection::vec(any_entry(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let records: Vec<_> = entries.iter().map(record).collect();
        let bytes = records.concat();
        let cut = cut.index(bytes.len() + 1);
        let ends = records.iter().scan(0, |end, record| {
            *end += record.len();
            Some(*end)
        });
        let whole = ends.filter(|end| *end <= cut).count();
        let scan = scan(&bytes[..cut]);
        prop_assert_eq!(&scan.records[..], &entries[..whole]);
    }

    #[test]
    fn damage_in_the_middle_costs_only_the_record_it_hits(
        entries in prop::collection::vec(any_entry(), 3),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let records: Vec<_> = entries.iter().map(record).collect();
        let mut middle = records[1].clone();
        let at = at.index(middle.len());
        middle[at] ^= flip;
        let scan = scan(&[&records[0][..], &middle, &records[2]].concat());
        prop_assert_eq!(scan.records, vec![entries[0].clone(), entries[2].clone()]);
        prop_assert!(scan.unreadable >= 1);
    }

    #[test]
    fn garbage_is_never_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(scan(&bytes).records.is_empty());
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let entry = entry();
    let record = record(&entry);
    assert_eq!(&record[..4], b"BMsp");
    let length = u32::from_le_bytes(record[4..8].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap() + 12, record.len());
    assert_eq!(record[8], 1);
    assert_eq!(&record[9..25], entry.call_id.as_bytes());
    assert_eq!(record[25..33], 1_795_300_000_123_i64.to_le_bytes());
    assert_eq!(record[33..41], 1_795_300_001_456_i64.to_le_bytes());
    let sizes = [800_u64, 900, 1333].map(u64::to_le_bytes).concat();
    assert_eq!(record[41..65], sizes);
    assert_eq!(record[65..74], [1, 200, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(record[92..102], *b"\x06\0\0\0search");
}

#[test]
fn another_version_is_counted_and_passed_over() {
    let mut bytes = record(&entry());
    bytes[8] = 9;
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[4..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    let next = entry();
    bytes.extend(record(&next));
    let scan = scan(&bytes);
    assert_eq!((scan.records, scan.unreadable), (vec![next], 1));
}
