//! One call as the ledger keeps it, read back in full: the shape that `explain` prints and the
//! admin API sends. Names are those of the columns; money is decimal text.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Serialize, Serializer};

use super::database::{Fault, Row};
use super::query::Sums;
use super::row::StoredLine;
use crate::domain::{Timestamp, Usd};

/// One settled call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredCall {
    /// Identifies the call.
    pub call_id: String,
    /// When it was admitted.
    #[serde(serialize_with = "text")]
    pub opened_at: Timestamp,
    /// When it was settled.
    #[serde(serialize_with = "text")]
    pub settled_at: Timestamp,
    /// Who called.
    pub caller: StoredCaller,
    /// What was asked.
    pub request: StoredRequest,
    /// How it ended.
    pub answer: StoredAnswer,
    /// What was used, and how surely that is known.
    pub usage: StoredUsage,
    /// What it costs, and why.
    pub charge: StoredCharge,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredCaller {
    /// Who pays.
    pub tenant: String,
    /// Which workload.
    pub application: String,
    /// The user, as the identity settings allow it to be kept.
    pub user: Option<String>,
    /// The session or run.
    pub session: Option<String>,
    /// The public id of the issued key that proved the caller.
    pub key: Option<String>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredRequest {
    /// The operation.
    pub operation: String,
    /// The model as asked for: id or ARN.
    pub model_asked: Option<String>,
    /// The model's label in metrics and reports.
    pub model: Option<String>,
    /// The model's id without prefix.
    pub base_model: Option<String>,
    /// `in-region`, `global` or the prefix of a geographic profile.
    pub geography: Option<String>,
    /// The region that was called.
    pub region: String,
    /// The tier that was asked for.
    pub tier_asked: Option<String>,
    /// Bytes of the body.
    pub bytes: u64,
    /// The same for all attempts of one SDK call.
    pub sdk_invocation_id: Option<String>,
    /// Which attempt this was, from 1.
    pub sdk_attempt: Option<u16>,
    /// What the client had asked for, where a budget made it something cheaper.
    pub downgraded_from: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredAnswer {
    /// The outcome.
    pub outcome: String,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The error class.
    pub error_class: Option<String>,
    /// `x-amzn-requestid`.
    pub aws_request_id: Option<String>,
    /// Bytes of the body that were read.
    pub bytes: u64,
    /// Milliseconds from admission to the first byte of the body.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds from admission to the end.
    pub duration_ms: u64,
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredUsage {
    /// `reported`, `estimated` or `missing`.
    pub source: String,
    /// Why it is not reported.
    pub reason: Option<String>,
    /// Where in the answer it was read; empty when nowhere.
    pub read_from: String,
    /// Two places of the answer disagreed.
    pub disagreement: bool,
    /// The tier that was served.
    pub tier_served: Option<String>,
    /// The latency mode that was served.
    pub latency_served: Option<String>,
    /// The model that a prompt router invoked.
    pub invoked_model: Option<String>,
    /// Quantities by dimension; one that is absent was never reported.
    pub quantities: BTreeMap<String, u64>,
}

/// What it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredCharge {
    /// `priced`, `unpriced` or `allocated`.
    pub status: String,
    /// Why it is unpriced.
    pub reason: Option<String>,
    /// The version of the price catalogue.
    pub catalogue: String,
    /// Quantity x price = amount, for each dimension with a quantity.
    pub lines: Vec<StoredChargeLine>,
    /// The sum; `None` when unpriced.
    #[serde(serialize_with = "optional_text")]
    pub cost_usd: Option<Usd>,
    /// What budgets held for the call; `None` where none applied.
    #[serde(serialize_with = "optional_text")]
    pub reserved_usd: Option<Usd>,
}

/// One line of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredChargeLine {
    /// What was counted.
    pub dimension: String,
    /// How many.
    pub quantity: u64,
    /// The price of one.
    #[serde(serialize_with = "text")]
    pub price_usd: Usd,
    /// The row of the price catalogue.
    pub rate_id: String,
    /// quantity x price, exact.
    #[serde(serialize_with = "text")]
    pub amount_usd: Usd,
}

/// Reads a row of `SELECT * FROM entries`.
pub(super) fn read(row: &Row<'_, '_>) -> Result<StoredCall, Fault> {
    Ok(StoredCall {
        call_id: row.text("call_id")?.to_owned(),
        opened_at: Timestamp::from_unix_ms(row.integer("opened_at")?),
        settled_at: Timestamp::from_unix_ms(row.integer("settled_at")?),
        caller: StoredCaller {
            tenant: row.text("tenant")?.to_owned(),
            application: row.text("application")?.to_owned(),
            user: text_or_null(row, "user")?,
            session: text_or_null(row, "session")?,
            key: text_or_null(row, "key_id")?,
        },
        request: request(row)?,
        answer: answer(row)?,
        usage: usage(row)?,
        charge: charge(row)?,
    })
}

fn request(row: &Row<'_, '_>) -> Result<StoredRequest, Fault> {
    Ok(StoredRequest {
        operation: row.text("operation")?.to_owned(),
        model_asked: text_or_null(row, "model_asked")?,
        model: text_or_null(row, "model")?,
        base_model: text_or_null(row, "base_model")?,
        geography: text_or_null(row, "geography")?,
        region: row.text("region")?.to_owned(),
        tier_asked: text_or_null(row, "tier_asked")?,
        bytes: count(row, "request_bytes")?.unwrap_or(0),
        sdk_invocation_id: text_or_null(row, "sdk_invocation_id")?,
        sdk_attempt: small(row, "sdk_attempt")?,
        downgraded_from: text_or_null(row, "downgraded_from")?,
    })
}

fn answer(row: &Row<'_, '_>) -> Result<StoredAnswer, Fault> {
    Ok(StoredAnswer {
        outcome: row.text("outcome")?.to_owned(),
        status: small(row, "status")?,
        error_class: text_or_null(row, "error_class")?,
        aws_request_id: text_or_null(row, "aws_request_id")?,
        bytes: count(row, "response_bytes")?.unwrap_or(0),
        first_byte_ms: count(row, "first_byte_ms")?,
        duration_ms: count(row, "duration_ms")?.unwrap_or(0),
    })
}

fn usage(row: &Row<'_, '_>) -> Result<StoredUsage, Fault> {
    let units = row.text_or_null("units")?.unwrap_or("{}");
    let mut quantities: BTreeMap<String, u64> =
        serde_json::from_str(units).map_err(|e| damaged("units", e))?;
    for dimension in Sums::TOKENS {
        if let Some(quantity) = count(row, dimension.name())? {
            quantities.insert(dimension.name().to_owned(), quantity);
        }
    }
    Ok(StoredUsage {
        source: row.text("usage_source")?.to_owned(),
        reason: text_or_null(row, "usage_reason")?,
        read_from: row.text("read_from")?.to_owned(),
        disagreement: row.flag("disagreement")?,
        tier_served: text_or_null(row, "tier_served")?,
        latency_served: text_or_null(row, "latency_served")?,
        invoked_model: text_or_null(row, "invoked_model")?,
        quantities,
    })
}

fn charge(row: &Row<'_, '_>) -> Result<StoredCharge, Fault> {
    let micro = row.integer_or_null("cost_microusd")?;
    let femto = row.integer_or_null("cost_femtousd")?;
    let cost = micro.zip(femto);
    let reserved = row.integer_or_null("reserved_microusd")?;
    Ok(StoredCharge {
        status: row.text("price_status")?.to_owned(),
        reason: text_or_null(row, "price_reason")?,
        catalogue: row.text("catalogue")?.to_owned(),
        lines: lines(row)?,
        cost_usd: cost.map(|(micro, femto)| Usd::from_split(micro, femto)),
        reserved_usd: reserved.map(|micro| Usd::from_split(micro, 0)),
    })
}

fn lines(row: &Row<'_, '_>) -> Result<Vec<StoredChargeLine>, Fault> {
    let json = row.text_or_null("lines")?.unwrap_or("[]");
    let stored: Vec<StoredLine<'_>> =
        serde_json::from_str(json).map_err(|e| damaged("lines", e))?;
    let lines: Option<Vec<_>> = stored.iter().map(line).collect();
    lines.ok_or_else(|| damaged("lines", "a price or amount is out of range"))
}

fn line(stored: &StoredLine<'_>) -> Option<StoredChargeLine> {
    let price_usd = Usd::from_femto(stored.femtousd_per_unit.parse().ok()?);
    Some(StoredChargeLine {
        dimension: stored.dimension.to_string(),
        quantity: stored.quantity,
        price_usd,
        rate_id: stored.rate.to_string(),
        amount_usd: price_usd.checked_mul(stored.quantity)?,
    })
}

/// A count in a 64-bit column; the table holds no negative one.
fn count(row: &Row<'_, '_>, column: &str) -> Result<Option<u64>, Fault> {
    Ok(row.integer_or_null(column)?.map(i64::unsigned_abs))
}

fn small(row: &Row<'_, '_>, column: &'static str) -> Result<Option<u16>, Fault> {
    let number = row.integer_or_null(column)?.map(u16::try_from);
    number.transpose().map_err(|e| damaged(column, e))
}

fn text_or_null(row: &Row<'_, '_>, column: &str) -> Result<Option<String>, Fault> {
    Ok(row.text_or_null(column)?.map(str::to_owned))
}

fn damaged(column: &'static str, cause: impl Display) -> Fault {
    let why = cause.to_string();
    Fault::Damaged { column, why }
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn optional_text<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Dimension;
    use crate::ledger::LedgerReader;
    use crate::ledger::store::tests::entry;
    use crate::ledger::test_stores::{filled, stores};

    #[test]
    fn a_call_reads_back_as_it_was_appended() {
        for store in stores() {
            let mut entry = entry();
            entry
                .reading
                .usage
                .set(Dimension::from_name("search_unit"), 2);
            let (fresh, _ledger) = filled(store, &[entry.clone()]);
            let reader = LedgerReader::of(&fresh.settings).unwrap();
            let call = serde_json::to_value(reader.call(entry.call_id).unwrap()).unwrap();
            let check = |pointer: &str, expected: serde_json::Value| {
                assert_eq!(call.pointer(pointer), Some(&expected), "{pointer}");
            };
            check("/call_id", entry.call_id.to_string().into());
            check("/opened_at", "2026-11-21T22:26:40.123Z".into());
            check("/caller/tenant", "search".into());
            check("/caller/session", serde_json::Value::Null);
            check("/answer/status", 200.into());
            check("/usage/quantities/input_tokens", 1200.into());
            check("/usage/quantities/search_unit", 2.into());
            check(
                "/usage/quantities",
                serde_json::json!({
                    "input_tokens": 1200, "output_tokens": 34, "search_unit": 2
                }),
            );
            check("/charge/lines/0/price_usd", "0.000003".into());
            check("/charge/lines/0/amount_usd", "0.0036".into());
            check("/charge/lines/1/amount_usd", "0.00051".into());
            check("/charge/cost_usd", "0.00411".into());
        }
    }
}
