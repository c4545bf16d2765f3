//! One entry as a row of the table `entries`: which column holds what.
//!
//! Knows the columns and their order, not when rows are written.

use std::borrow::Cow;
use std::fmt::Write as _;

use rusqlite::{Statement, params_from_iter};
use serde::Deserialize;

use super::database::Value;
use crate::domain::{
    Charge, Dimension, Entry, Latency, ModelRef, PriceStatus, ServiceTier, UnpricedReason, Usage,
    UsageReason, Usd,
};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// An integer of 64 bits.
    Integer,
    /// Yes or no.
    Flag,
}

/// The columns of an entry, in the order of [`values`].
pub(super) const COLUMNS: [(&str, Kind); 47] = [
    ("call_id", Kind::Text),
    ("opened_at", Kind::Integer),
    ("settled_at", Kind::Integer),
    ("tenant", Kind::Text),
    ("application", Kind::Text),
    ("user", Kind::Text),
    ("session", Kind::Text),
    ("operation", Kind::Text),
    ("model_asked", Kind::Text),
    ("model", Kind::Text),
    ("base_model", Kind::Text),
    ("geography", Kind::Text),
    ("region", Kind::Text),
    ("tier_asked", Kind::Text),
    ("tier_served", Kind::Text),
    ("latency_served", Kind::Text),
    ("invoked_model", Kind::Text),
    ("outcome", Kind::Text),
    ("status", Kind::Integer),
    ("error_class", Kind::Text),
    ("aws_request_id", Kind::Text),
    ("sdk_invocation_id", Kind::Text),
    ("sdk_attempt", Kind::Integer),
    ("request_bytes", Kind::Integer),
    ("response_bytes", Kind::Integer),
    ("first_byte_ms", Kind::Integer),
    ("duration_ms", Kind::Integer),
    ("usage_source", Kind::Text),
    ("usage_reason", Kind::Text),
    ("read_from", Kind::Text),
    ("disagreement", Kind::Flag),
    ("input_tokens", Kind::Integer),
    ("output_tokens", Kind::Integer),
    ("cache_read_tokens", Kind::Integer),
    ("cache_write_5m_tokens", Kind::Integer),
    ("cache_write_30m_tokens", Kind::Integer),
    ("cache_write_1h_tokens", Kind::Integer),
    ("units", Kind::Text),
    ("price_status", Kind::Text),
    ("price_reason", Kind::Text),
    ("cost_microusd", Kind::Integer),
    ("cost_femtousd", Kind::Integer),
    ("lines", Kind::Text),
    ("catalogue", Kind::Text),
    ("key_id", Kind::Text),
    ("reserved_microusd", Kind::Integer),
    ("downgraded_from", Kind::Text),
];

/// Adds a row to the SQLite file, or nothing when the call has its row already.
///
/// Only a repeated call id is let pass: `INSERT OR IGNORE` would also swallow a row that breaks
/// another constraint.
pub(super) fn insert_sql() -> String {
    let names = COLUMNS.map(|(name, _)| format!("\"{name}\"")).join(", ");
    let places = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO entries ({names}) VALUES ({places}) ON CONFLICT (call_id) DO NOTHING")
}

/// Runs [`insert_sql`] for one entry; `false` when the call has its row already.
pub(super) fn insert(
    statement: &mut Statement<'_>,
    entry: &Entry,
) -> Result<bool, rusqlite::Error> {
    let rows = statement.execute(params_from_iter(values(entry)))?;
    Ok(rows > 0)
}

/// What an entry holds in each of [`COLUMNS`].
pub(super) fn values(entry: &Entry) -> [Value<'_>; COLUMNS.len()] {
    let model = entry.model.as_ref();
    let reading = &entry.reading;
    let tokens = |dimension| reading.usage.get(&dimension).map(integer);
    let price = Price::of(&entry.charge);
    let reserved = entry.reserved.and_then(Usd::split_micro);
    [
        entry.call_id.to_string().into(),
        entry.opened_at.unix_ms().into(),
        entry.settled_at.unix_ms().into(),
        entry.tenant.as_str().into(),
        entry.application.as_str().into(),
        entry.user.as_deref().into(),
        entry.session.as_deref().into(),
        entry.operation.name().into(),
        model.map(|model| &*model.asked).into(),
        model.map(ModelRef::label).into(),
        model.and_then(|model| model.base.as_deref()).into(),
        model.map(|model| model.geography.name()).into(),
        entry.region.as_str().into(),
        entry.tier_asked.as_ref().map(ServiceTier::name).into(),
        reading.served_tier.as_ref().map(ServiceTier::name).into(),
        reading.served_latency.map(Latency::name).into(),
        reading.invoked_model.as_deref().into(),
        entry.outcome.name().into(),
        entry.status.into(),
        entry.error_class.as_deref().into(),
        entry.aws_request_id.as_deref().into(),
        entry.sdk_invocation_id.as_deref().into(),
        entry.sdk_attempt.into(),
        integer(entry.request_bytes).into(),
        integer(entry.response_bytes).into(),
        entry.first_byte_ms.map(integer).into(),
        integer(entry.duration_ms).into(),
        reading.source.name().into(),
        reading.reason.map(UsageReason::name).into(),
        reading.read_from.into(),
        reading.disagreement.into(),
        tokens(Dimension::InputTokens).into(),
        tokens(Dimension::OutputTokens).into(),
        tokens(Dimension::CacheReadTokens).into(),
        tokens(Dimension::CacheWrite5mTokens).into(),
        tokens(Dimension::CacheWrite30mTokens).into(),
        tokens(Dimension::CacheWrite1hTokens).into(),
        units(&reading.usage).into(),
        price.status.name().into(),
        price.status.reason().map(UnpricedReason::name).into(),
        price.cost.map(|(micro, _)| micro).into(),
        price.cost.map(|(_, femto)| femto).into(),
        price.lines.into(),
        (&*entry.catalogue).into(),
        entry.key.as_deref().into(),
        reserved.map(|(micro, _)| micro).into(),
        entry.downgraded_from.as_deref().into(),
    ]
}

/// One charge line in the JSON of column `lines`.
#[derive(Debug, Deserialize)]
pub(super) struct StoredLine<'a> {
    /// What was counted.
    #[serde(borrow)]
    pub(super) dimension: Cow<'a, str>,
    /// How many.
    pub(super) quantity: u64,
    /// The catalogue row.
    #[serde(borrow)]
    pub(super) rate: Cow<'a, str>,
    /// Femtodollars for one unit: text, because it can pass 64 bits.
    #[serde(borrow)]
    pub(super) femtousd_per_unit: Cow<'a, str>,
}

/// The money columns.
struct Price {
    status: PriceStatus,
    cost: Option<(i64, i64)>,
    lines: Option<String>,
}

impl Price {
    fn of(charge: &Charge) -> Self {
        let cost = charge.total.map(Usd::split_micro);
        match cost {
            Some(None) => Self {
                status: PriceStatus::Unpriced(UnpricedReason::OutOfRange),
                cost: None,
                lines: None,
            },
            Some(Some(cost)) => Self {
                status: charge.status.clone(),
                cost: Some(cost),
                lines: lines(charge),
            },
            None => Self {
                status: charge.status.clone(),
                cost: None,
                lines: lines(charge),
            },
        }
    }
}

/// The JSON of column `lines`, an array of [`StoredLine`]. By hand: every priced call has one, and
/// the serializer looks at each byte of texts that hardly ever need escapes.
fn lines(charge: &Charge) -> Option<String> {
    if charge.lines.is_empty() {
        return None;
    }
    let mut json = String::with_capacity(charge.lines.len().saturating_mul(LINE_BYTES));
    for line in &charge.lines {
        json.push(if json.is_empty() { '[' } else { ',' });
        json.push_str(r#"{"dimension":"#);
        push_text(line.dimension.name(), &mut json);
        let (quantity, femto) = (line.quantity, line.rate.per_unit.femto());
        // Writing to a string cannot fail.
        let _ok = write!(json, r#","quantity":{quantity},"rate":"#);
        push_text(&line.rate.id, &mut json);
        let _ok = write!(json, r#","femtousd_per_unit":"{femto}"}}"#);
    }
    json.push(']');
    Some(json)
}

fn push_text(text: &str, json: &mut String) {
    // Without an early end, so that many bytes are looked at in one instruction.
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
        json.push_str(&serde_json::Value::from(text).to_string());
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
}

/// The quantities that have no column of their own, as a JSON object.
fn units(usage: &Usage) -> Option<String> {
    let named = usage
        .iter()
        .filter_map(|(dimension, quantity)| match dimension {
            Dimension::Named(name) => Some((name.to_string(), quantity.into())),
            Dimension::InputTokens
            | Dimension::OutputTokens
            | Dimension::CacheReadTokens
            | Dimension::CacheWrite5mTokens
            | Dimension::CacheWrite30mTokens
            | Dimension::CacheWrite1hTokens => None,
        });
    let named: serde_json::Map<String, serde_json::Value> = named.collect();
    (!named.is_empty()).then(|| serde_json::Value::from(named).to_string())
}

/// The price status and the cost as the row has them: what two columns cannot hold is unpriced.
pub(super) fn stored_price(charge: &Charge) -> (&'static str, Option<(i64, i64)>) {
    match charge.total.map(Usd::split_micro) {
        Some(None) => {
            let status = PriceStatus::Unpriced(UnpricedReason::OutOfRange);
            (status.name(), None)
        }
        Some(cost) => (charge.status.name(), cost),
        None => (charge.status.name(), None),
    }
}

/// SQLite's integers end at 2^63 - 1, far past any count of tokens, bytes or milliseconds.
pub(super) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Of a usual charge line; the text grows for a longer one.
const LINE_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChargeLine, Rate};

    #[test]
    fn lines_are_json_whatever_their_names_hold() {
        let names = ["input_tokens", "a \"quoted\" \\ name", "t\u{e9}\n\u{0}"];
        let line = |name: &&str| ChargeLine {
            dimension: Dimension::from_name(name),
            quantity: u64::MAX,
            rate: Rate {
                id: format!("row/{name}").into(),
                per_unit: Usd::from_femto(i128::MAX),
            },
            amount: Usd::ZERO,
        };
        let charge = Charge::of(names.iter().map(line).collect());
        let json = lines(&charge).unwrap();
        let read: Vec<StoredLine<'_>> = serde_json::from_str(&json).unwrap();
        let read = read.iter().map(|line| {
            assert_eq!(line.rate, format!("row/{}", line.dimension));
            let per_unit = line.femtousd_per_unit.parse();
            assert_eq!((line.quantity, per_unit), (u64::MAX, Ok(i128::MAX)));
            &*line.dimension
        });
        assert_eq!(read.collect::<Vec<_>>(), names);
        assert_eq!(lines(&Charge::of(Vec::new())), None);
    }
}
