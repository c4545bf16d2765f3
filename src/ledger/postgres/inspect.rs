//! Whether a shared ledger could be used, found out without changing it.

use super::schema::{State, state};
use super::{Refusal, failed, open_to_read};
use crate::ledger::{LedgerError, PostgresSettings};

/// What a server says of the ledger in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCondition {
    /// The version of the server.
    pub server: String,
    /// How its tables fit this program.
    pub tables: Tables,
    /// Whether this role may do what `serve` does.
    pub may_serve: bool,
    /// Whether it may delete old entries.
    pub may_forget: bool,
    /// The replicas that live.
    pub replicas: u64,
}

/// How tables fit a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// As it needs them, or newer and taking it.
    Fit,
    /// Older, or none that this role can see.
    Older,
    /// Too new for it.
    TooNew,
}

/// Asks the server of the settings.
///
/// # Errors
/// When it cannot be reached or refuses.
pub fn inspect_shared(settings: &PostgresSettings) -> Result<SharedCondition, LedgerError> {
    let session = open_to_read(settings)?;
    let ask = || {
        let server = session.query("SELECT current_setting('server_version')", &[])?;
        let server = server.first().map(|row| row.try_get(0)).transpose();
        let mut condition = SharedCondition {
            server: server.map_err(Refusal::Refused)?.unwrap_or_default(),
            tables: match state(&session)? {
                State::Fits => Tables::Fit,
                State::Older => Tables::Older,
                State::TooNew { .. } => Tables::TooNew,
            },
            may_serve: false,
            may_forget: false,
            replicas: 0,
        };
        if condition.tables == Tables::Fit {
            let rows = session.query(RIGHTS, &[])?;
            if let Some(row) = rows.first() {
                condition.may_serve = row.try_get(0).map_err(Refusal::Refused)?;
                condition.may_forget = row.try_get(1).map_err(Refusal::Refused)?;
                let replicas: i64 = row.try_get(2).map_err(Refusal::Refused)?;
                condition.replicas = replicas.unsigned_abs();
            }
        }
        Ok(condition)
    };
    ask().map_err(failed("look at the ledger in PostgreSQL"))
}

const RIGHTS: &str = "
SELECT has_table_privilege('entries', 'INSERT') AND has_table_privilege('entries', 'SELECT')
        AND has_function_privilege('make_partitions(bigint)', 'EXECUTE')
        AND has_table_privilege('replicas', 'INSERT') AND has_table_privilege('replicas', 'DELETE')
        AND has_table_privilege('open_calls', 'INSERT')
        AND has_table_privilege('rollup_days', 'SELECT')
        AND has_function_privilege('fold_sums(bigint)', 'EXECUTE')
        AND has_table_privilege('alert_deliveries', 'INSERT'),
    has_function_privilege('forget_entries(bigint)', 'EXECUTE'),
    (SELECT count(*) FROM replicas WHERE lease_until > now())";
