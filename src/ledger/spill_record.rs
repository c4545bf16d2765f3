//! The record of a settled call in the spill: a whole entry.
//!
//! Little-endian, explicit, versioned, in a frame (`frame.rs`) with the magic `BMsp` and at most
//! 16 MiB. `docs/ledger.md` has the same table for people.
//!
//! ```text
//! body, version 1
//! 0       1     version = 1
//! 1       16    call id
//! 17      16    opened at, settled at: milliseconds since 1970 (signed, 8 each)
//! 33      24    request bytes, response bytes, duration in milliseconds (8 each)
//! 57      ...   the rest in this order:
//!               optional numbers (1 byte: 0 absent, 1 there; then 8 bytes):
//!                 status, attempt of the SDK, first byte in milliseconds
//!               texts (4 bytes length, 4,294,967,295 = absent; then UTF-8):
//!                 tenant, application, operation, region, outcome, user, session,
//!                 error class, AWS request id, SDK invocation id, tier asked, catalogue,
//!                 model as asked, base model, geography, capacity,
//!                 usage source, usage reason, read from, tier served, latency served,
//!                 invoked model
//!               1 byte: whether two places disagreed
//!               usage: 4 bytes count, then each: text dimension, 8 bytes quantity
//!               texts: price status, price reason
//!               cost: 1 byte whether it is there, then 16 bytes femtodollars (signed)
//!               lines: 4 bytes count, then each: text dimension, 8 bytes quantity,
//!                 text row of the price catalogue, 16 bytes femtodollars of one unit,
//!                 16 bytes femtodollars of the line
//!               texts: key id, what it was downgraded from
//!               held: 1 byte whether it is there, then 16 bytes femtodollars (signed)
//! ```
//!
//! Names are those of the columns in `docs/ledger.md`. Knows nothing of files.

use std::sync::Arc;

use super::frame::{Frame, Scan};
use super::model_names::{capacity_name, capacity_of, geography_of};
use super::spill_bytes::{Source, put_count, put_number, put_text};
use crate::domain::{
    CallId, Charge, ChargeLine, Dimension, Entry, Latency, ModelRef, Operation, Outcome,
    PriceStatus, Rate, Reading, ServiceTier, Timestamp, UnpricedReason, Usage, UsageReason,
    UsageSource, Usd,
};

/// Appends the whole record of an entry.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    FRAME.put(out, |out| encode_body(entry, out));
}

/// Taken apart whole, so that a field that is new to entries is not forgotten here: it goes to the
/// end of the body, which becomes the next version.
fn encode_body(entry: &Entry, out: &mut Vec<u8>) {
    let Entry {
        call_id,
        opened_at,
        settled_at,
        tenant,
        application,
        user,
        session,
        operation,
        model,
        region,
        tier_asked,
        outcome,
        status,
        error_class,
        aws_request_id,
        sdk_invocation_id,
        sdk_attempt,
        request_bytes,
        response_bytes,
        first_byte_ms,
        duration_ms,
        reading,
        charge,
        catalogue,
        key,
        reserved,
        downgraded_from,
    } = entry;
    out.push(VERSION);
    out.extend_from_slice(call_id.as_bytes());
    for at in [opened_at, settled_at] {
        out.extend_from_slice(&at.unix_ms().to_le_bytes());
    }
    for count in [request_bytes, response_bytes, duration_ms] {
        out.extend_from_slice(&count.to_le_bytes());
    }
    put_number(status.map(u64::from), out);
    put_number(sdk_attempt.map(u64::from), out);
    put_number(*first_byte_ms, out);
    let texts = [
        Some(tenant.as_str()),
        Some(application.as_str()),
        Some(operation.name()),
        Some(region.as_str()),
        Some(outcome.name()),
        user.as_deref(),
        session.as_deref(),
        error_class.as_deref(),
        aws_request_id.as_deref(),
        sdk_invocation_id.as_deref(),
        tier_asked.as_ref().map(ServiceTier::name),
        Some(catalogue),
    ];
    for text in texts {
        put_text(text, out);
    }
    encode_model(model.as_ref(), out);
    encode_reading(reading, out);
    encode_charge(charge, out);
    put_text(key.as_deref(), out);
    put_text(downgraded_from.as_deref(), out);
    put_money(*reserved, out);
}

fn put_money(amount: Option<Usd>, out: &mut Vec<u8>) {
    out.push(u8::from(amount.is_some()));
    if let Some(amount) = amount {
        out.extend_from_slice(&amount.femto().to_le_bytes());
    }
}

fn encode_model(model: Option<&ModelRef>, out: &mut Vec<u8>) {
    put_text(model.map(|model| &*model.asked), out);
    put_text(model.and_then(|model| model.base.as_deref()), out);
    put_text(model.map(|model| model.geography.name()), out);
    put_text(model.map(|model| capacity_name(model.capacity)), out);
}

fn encode_reading(reading: &Reading, out: &mut Vec<u8>) {
    let Reading {
        usage,
        source,
        reason,
        read_from,
        served_tier,
        served_latency,
        invoked_model,
        disagreement,
    } = reading;
    put_text(Some(source.name()), out);
    put_text(reason.map(UsageReason::name), out);
    put_text(Some(read_from), out);
    put_text(served_tier.as_ref().map(ServiceTier::name), out);
    put_text(served_latency.map(Latency::name), out);
    put_text(invoked_model.as_deref(), out);
    out.push(u8::from(*disagreement));
    put_count(usage.iter().count(), out);
    for (dimension, quantity) in usage.iter() {
        put_text(Some(dimension.name()), out);
        out.extend_from_slice(&quantity.to_le_bytes());
    }
}

fn encode_charge(charge: &Charge, out: &mut Vec<u8>) {
    let Charge {
        status,
        lines,
        total,
    } = charge;
    put_text(Some(status.name()), out);
    put_text(status.reason().map(UnpricedReason::name), out);
    put_money(*total, out);
    put_count(lines.len(), out);
    for line in lines {
        let ChargeLine {
            dimension,
            quantity,
            rate,
            amount,
        } = line;
        put_text(Some(dimension.name()), out);
        out.extend_from_slice(&quantity.to_le_bytes());
        put_text(Some(&rate.id), out);
        out.extend_from_slice(&rate.per_unit.femto().to_le_bytes());
        out.extend_from_slice(&amount.femto().to_le_bytes());
    }
}

/// Reads the records of a segment, whatever happened to it: the entries in the order they were
/// written.
pub(super) fn scan(bytes: &[u8]) -> Scan<Entry> {
    FRAME.scan(bytes, decode_body)
}

fn decode_body(body: &[u8]) -> Option<Entry> {
    let mut body = Source::of(body);
    if body.array::<1>()? != [VERSION] {
        return None;
    }
    let call_id = CallId::from_bytes(body.array()?);
    let opened_at = Timestamp::from_unix_ms(i64::from_le_bytes(body.array()?));
    let settled_at = Timestamp::from_unix_ms(i64::from_le_bytes(body.array()?));
    let [request_bytes, response_bytes, duration_ms] =
        [body.integer()?, body.integer()?, body.integer()?];
    let status = body.number::<u16>()?;
    let sdk_attempt = body.number::<u16>()?;
    let first_byte_ms = body.number::<u64>()?;
    let entry = Entry {
        call_id,
        opened_at,
        settled_at,
        tenant: body.text()??.parse().ok()?,
        application: body.text()??.parse().ok()?,
        operation: Operation::from_name(body.text()??)?,
        region: body.text()??.parse().ok()?,
        outcome: Outcome::from_name(body.text()??)?,
        user: body.text()?.map(Arc::from),
        session: body.text()?.map(Arc::from),
        error_class: body.text()?.map(Arc::from),
        aws_request_id: body.text()?.map(Arc::from),
        sdk_invocation_id: body.text()?.map(Arc::from),
        tier_asked: body.text()?.map(tier_of),
        catalogue: body.text()??.into(),
        model: decode_model(&mut body)?,
        reading: decode_reading(&mut body)?,
        charge: decode_charge(&mut body)?,
        key: body.text()?.map(Arc::from),
        downgraded_from: body.text()?.map(Arc::from),
        reserved: decode_money(&mut body)?,
        status,
        sdk_attempt,
        request_bytes,
        response_bytes,
        first_byte_ms,
        duration_ms,
    };
    body.is_empty().then_some(entry)
}

#[expect(
    clippy::option_option,
    reason = "the outer layer is for `?`: broken bytes; the inner one is the value"
)]
fn decode_model(body: &mut Source<'_>) -> Option<Option<ModelRef>> {
    let [asked, base, geography, capacity] =
        [body.text()?, body.text()?, body.text()?, body.text()?];
    let Some(asked) = asked else {
        return Some(None);
    };
    Some(Some(ModelRef {
        asked: asked.into(),
        base: base.map(Arc::from),
        geography: geography_of(geography?),
        capacity: capacity_of(capacity?)?,
    }))
}

fn decode_reading(body: &mut Source<'_>) -> Option<Reading> {
    let source = usage_source(body.text()??)?;
    let reason = body.text()?.map(usage_reason);
    let read_from = body.text()??;
    let mut reading = Reading {
        usage: Usage::none(),
        source,
        reason: known(reason)?,
        read_from: read_from_of(read_from),
        served_tier: body.text()?.map(tier_of),
        served_latency: body.text()?.map(Latency::from_name),
        invoked_model: body.text()?.map(str::to_owned),
        disagreement: body.array::<1>()? != [0],
    };
    for _ in 0..body.count()? {
        let dimension = Dimension::from_name(body.text()??);
        reading.usage.set(dimension, body.integer()?);
    }
    Some(reading)
}

#[expect(
    clippy::option_option,
    reason = "the outer layer is for `?`: broken bytes; the inner one is the value"
)]
fn decode_money(body: &mut Source<'_>) -> Option<Option<Usd>> {
    match body.array::<1>()? {
        [0] => Some(None),
        _ => Some(Some(body.money()?)),
    }
}

fn decode_charge(body: &mut Source<'_>) -> Option<Charge> {
    let status = body.text()??;
    let reason = body.text()?.map(unpriced_reason);
    let status = match (status, known(reason)?) {
        ("priced", None) => PriceStatus::Priced,
        ("allocated", None) => PriceStatus::Allocated,
        ("unpriced", Some(reason)) => PriceStatus::Unpriced(reason),
        _ => return None,
    };
    let total = decode_money(body)?;
    let mut lines = Vec::new();
    for _ in 0..body.count()? {
        lines.push(ChargeLine {
            dimension: Dimension::from_name(body.text()??),
            quantity: body.integer()?,
            rate: Rate {
                id: body.text()??.into(),
                per_unit: body.money()?,
            },
            amount: body.money()?,
        });
    }
    Some(Charge {
        status,
        lines,
        total,
    })
}

/// An absent name is no fault, an unknown one is.
#[expect(
    clippy::option_option,
    reason = "absent, there and unknown, there and known"
)]
fn known<T>(found: Option<Option<T>>) -> Option<Option<T>> {
    match found {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

/// A place that this version does not know is left unsaid: better than an entry that is lost.
fn read_from_of(name: &str) -> &'static str {
    let known = READ_FROM.into_iter().find(|known| *known == name);
    known.unwrap_or_default()
}

/// Unlike [`ServiceTier::from_name`], which also reads the words of requests.
fn tier_of(name: &str) -> ServiceTier {
    let known = [
        ServiceTier::Standard,
        ServiceTier::Priority,
        ServiceTier::Flex,
        ServiceTier::Reserved,
    ];
    let found = known.into_iter().find(|tier| tier.name() == name);
    found.unwrap_or_else(|| ServiceTier::Other(name.into()))
}

/// The value of a name, over all values: one that is missing here does not compile.
macro_rules! of_name {
    ($name:ident, $type:ident, [$($variant:ident),* $(,)?]) => {
        fn $name(name: &str) -> Option<$type> {
            let _every_variant = |value: $type| match value {
                $($type::$variant => {})*
            };
            [$($type::$variant),*].into_iter().find(|value| value.name() == name)
        }
    };
}

of_name!(usage_source, UsageSource, [Reported, Estimated, Missing]);
of_name!(
    usage_reason,
    UsageReason,
    [
        CutShort,
        NotDrained,
        ProcessDied,
        NotInAnswer,
        Unreadable,
        NotMetered,
        NoAnswer,
    ]
);
of_name!(
    unpriced_reason,
    UnpricedReason,
    [
        UnresolvedModel,
        UnknownModel,
        NoRateForRegion,
        NoRateForGeography,
        NoRateForTier,
        NoRateForLatency,
        NoRateForDimension,
        NoRateForEndpoint,
        NoRateAtInstant,
        UsageMissing,
        OutOfRange,
    ]
);

/// Where meters say that they read usage.
const READ_FROM: [&str; 7] = [
    "", "body", "headers", "metadata", "metrics", "events", "request",
];

const VERSION: u8 = 1;

const FRAME: Frame = Frame {
    magic: *b"BMsp",
    // Far more than the headers and bodies that entries are made of allow.
    body_bytes_max: 16 << 20,
};
