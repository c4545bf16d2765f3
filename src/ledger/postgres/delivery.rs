//! A row of the delivery log that replicas share.

use tokio_postgres::Row;

use super::Refusal;
use crate::domain::Timestamp;
use crate::ledger::database::Value;

/// One row: a notice for one outlet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedDelivery {
    /// The notice's id.
    pub id: String,
    /// Who is told.
    pub outlet: String,
    /// The kind of the notice.
    pub kind: String,
    /// The notice, as JSON.
    pub notice: String,
    /// When the period ends that it is of.
    pub ends: Timestamp,
    /// When it was noted.
    pub claimed_at: Timestamp,
    /// How many attempts there were.
    pub attempts: u32,
    /// When it is due, by the server's clock; none once it is done.
    pub next_try_at: Option<Timestamp>,
    /// When the outlet took it.
    pub delivered_at: Option<Timestamp>,
    /// When it was given up.
    pub failed_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// What stands when a row is added.
pub(super) fn noted(row: &SharedDelivery) -> [Value<'_>; 6] {
    [
        row.id.as_str().into(),
        row.outlet.as_str().into(),
        row.kind.as_str().into(),
        row.notice.as_str().into(),
        row.ends.unix_ms().into(),
        row.claimed_at.unix_ms().into(),
    ]
}

/// A row in the hands of one attempt.
pub(super) fn held(row: &SharedDelivery) -> [Value<'_>; 3] {
    [
        row.id.as_str().into(),
        row.outlet.as_str().into(),
        i64::from(row.attempts).into(),
    ]
}

/// A row as [`COLUMNS`] has it.
pub(super) fn read(row: &Row) -> Result<SharedDelivery, Refusal> {
    let read = || {
        let instant = |column: &str| {
            let ms: Option<i64> = row.try_get(column)?;
            Ok::<_, tokio_postgres::Error>(ms.map(Timestamp::from_unix_ms))
        };
        let attempts: i64 = row.try_get("attempts")?;
        Ok(SharedDelivery {
            id: row.try_get("id")?,
            outlet: row.try_get("outlet")?,
            kind: row.try_get("kind")?,
            notice: row.try_get("notice")?,
            ends: Timestamp::from_unix_ms(row.try_get("ends")?),
            claimed_at: Timestamp::from_unix_ms(row.try_get("claimed_at")?),
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            next_try_at: instant("next_try_ms")?,
            delivered_at: instant("delivered_at")?,
            failed_at: instant("failed_at")?,
            last_error: row.try_get("last_error")?,
        })
    };
    read().map_err(Refusal::Refused)
}

/// What [`read`] reads, of `d`.
pub(super) const COLUMNS: &str = "d.id, d.outlet, d.kind, d.notice, d.ends, d.claimed_at, d.attempts, \
    (extract(epoch FROM d.next_try_at) * 1000)::bigint AS next_try_ms, \
    d.delivered_at, d.failed_at, d.last_error";
