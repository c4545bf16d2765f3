//! The audit log in the registry's file.

use rusqlite::{Row, Transaction};

use super::audit::{Act, AuditEvent};
use super::error::RegistryError;
use super::store::Registry;
use crate::domain::{Keyword as _, Timestamp};

impl Registry {
    /// The newest acts, newest first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn audit(&self, count: u32) -> Result<Vec<AuditEvent>, RegistryError> {
        let reading = RegistryError::sqlite("read the audit log");
        let mut select = self
            .connection
            .prepare(
                "SELECT at, actor, act, subject, tenant, detail FROM audit \
                 ORDER BY number DESC LIMIT ?1",
            )
            .map_err(&reading)?;
        let event = |row: &Row<'_>| {
            let act: String = row.get(2)?;
            Ok(AuditEvent {
                at: Timestamp::from_unix_ms(row.get(0)?),
                actor: row.get(1)?,
                act: Act::from_name(&act).unwrap_or_default(),
                subject: row.get(3)?,
                tenant: row.get(4)?,
                detail: row.get(5)?,
            })
        };
        let events: Result<_, _> = select
            .query_map([count], event)
            .map_err(&reading)?
            .collect();
        events.map_err(&reading)
    }
}

/// Writes an act down, in the transaction of what it did.
pub(super) fn write_down(
    transaction: &Transaction<'_>,
    (actor, at): (&str, Timestamp),
    act: Act,
    subject: &str,
    tenant: &str,
    detail: &str,
) -> Result<(), RegistryError> {
    transaction
        .execute(
            "INSERT INTO audit (at, actor, act, subject, tenant, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (at.unix_ms(), actor, act.name(), subject, tenant, detail),
        )
        .map(drop)
        .map_err(RegistryError::sqlite("write the audit log"))
}
