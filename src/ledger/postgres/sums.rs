//! Sums on the server: folded now and then, and kept when their entries are deleted.
//!
//! The server itself makes them, in the transaction of their entries (`rollups.sql`).

use super::{Refusal, Session};
use crate::domain::Timestamp;

/// Makes one row of those that sum up the same, once there are so many of them: how many rows became
/// fewer. Whoever reads sees the same sums before and after.
///
/// # Errors
/// When the server refuses; it is to be tried again.
pub(super) fn fold(session: &Session, rows_min: i64) -> Result<u64, Refusal> {
    let rows = session.query("SELECT fold_sums($1)", &[rows_min.into()])?;
    let fewer = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
    let fewer = fewer.map_err(Refusal::Refused)?;
    Ok(fewer.unwrap_or_default().unsigned_abs())
}

/// Deletes the oldest month of entries that was over at an instant, or some rows of that time that
/// no month took; `true` where there may be more. The server keeps the last 62 days all the same.
///
/// # Errors
/// When the server refuses, or the table is in use for longer than a moment.
pub(in crate::ledger) fn forget(session: &Session, before: Timestamp) -> Result<bool, Refusal> {
    let before = before.unix_ms().into();
    let rows = session.query("SELECT forget_entries($1)", &[before])?;
    let more = rows.first().map(|row| row.try_get(0)).transpose();
    Ok(more.map_err(Refusal::Refused)?.unwrap_or_default())
}
