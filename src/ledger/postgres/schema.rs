//! The tables on the server, their migrations, and who may do what with them.
//!
//! Version N is what the first N migrations make. A migration that was released never changes,
//! and only adds: programs of the version before go on writing and reading beside newer ones.
//! Each version says which program it still takes (`min_program_schema`).

use super::{Refusal, Session, failed};
use crate::domain::Timestamp;
use crate::ledger::LedgerError;

/// Finds the schema fit to write to, migrating where it is older.
///
/// # Errors
/// When the server refuses (this role may not migrate), or the schema is of a program that is too
/// new for this one.
pub(super) fn set_up(session: &Session) -> Result<(), LedgerError> {
    match state(session).map_err(failed("read the schema version"))? {
        State::Fits => Ok(()),
        State::Older => migrate(session),
        State::TooNew { found } => Err(LedgerError::NewerSchema {
            path: session.schema().into(),
            found,
            known: known(),
        }),
    }
}

/// Brings the schema to the newest version, and grants what roles need that exist.
///
/// # Errors
/// When the server refuses, or the schema is of a program that is too new for this one.
pub(super) fn migrate(session: &Session) -> Result<(), LedgerError> {
    let migrated = migrate_locked(session);
    if migrated.is_err() {
        // The transaction goes with the connection.
        session.disconnect();
    }
    migrated.map_err(failed(
        "migrate the schema (run `bedrock-meter ledger migrate` with a role that owns it)",
    ))
}

/// Makes the partitions of the months around an instant, where they are missing.
///
/// # Errors
/// When the server refuses. Rows of a month without a partition have one in common meanwhile.
pub(super) fn make_partitions(session: &Session, now: Timestamp) -> Result<(), Refusal> {
    let now = now.unix_ms().into();
    session
        .query("SELECT make_partitions($1)", &[now])
        .map(drop)
}

/// How the schema fits this program.
pub(super) enum State {
    Fits,
    Older,
    TooNew { found: i64 },
}

pub(super) fn state(session: &Session) -> Result<State, Refusal> {
    let (found, takes) = version(session)?;
    Ok(if found < known() {
        State::Older
    } else if takes > known() {
        State::TooNew { found }
    } else {
        State::Fits
    })
}

/// The newest version, and the oldest program that it takes; 0 for none.
pub(super) fn version(session: &Session) -> Result<(i64, i64), Refusal> {
    let there = session.query("SELECT to_regclass('\"schema\"') IS NOT NULL", &[])?;
    let is_there: bool = match there.first() {
        Some(row) => row.try_get(0).map_err(Refusal::Refused)?,
        None => false,
    };
    if !is_there {
        return Ok((0, 0));
    }
    let sql = "SELECT version, min_program_schema FROM \"schema\" ORDER BY version DESC LIMIT 1";
    let rows = session.query(sql, &[])?;
    let Some(row) = rows.first() else {
        return Ok((0, 0));
    };
    let at = |column| row.try_get::<usize, i64>(column).map_err(Refusal::Refused);
    Ok((at(0)?, at(1)?))
}

fn migrate_locked(session: &Session) -> Result<(), Refusal> {
    let schema = session.schema();
    // Two programs that start at once migrate one after the other.
    session.batch(&format!(
        "BEGIN; SELECT pg_advisory_xact_lock({LOCK}, hashtext('{schema}'));
         DO $$ BEGIN
            IF to_regnamespace('\"{schema}\"') IS NULL THEN CREATE SCHEMA \"{schema}\"; END IF;
         END $$"
    ))?;
    let (found, _) = version(session)?;
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip_while(|(v, _)| *v <= found) {
        session.batch(&migration.sql.replace("{schema}", schema))?;
        let program = concat!("bedrock-meter ", env!("CARGO_PKG_VERSION"));
        let takes = migration.min_program_schema;
        session.query(
            "INSERT INTO \"schema\" (version, applied_at, program, min_program_schema) \
             VALUES ($1, now(), $2, $3)",
            &[version.into(), program.into(), takes.into()],
        )?;
    }
    session.batch(&GRANTS.replace("{schema}", schema))?;
    session.batch("COMMIT")
}

/// The newest version that this program knows.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// One step of the schema.
struct Migration {
    sql: &'static str,
    /// The oldest schema whose program may still write.
    min_program_schema: i64,
}

const MIGRATIONS: [Migration; 2] = [
    Migration {
        sql: include_str!("version_1.sql"),
        min_program_schema: 1,
    },
    Migration {
        sql: include_str!("alert_deliveries.sql"),
        min_program_schema: 1,
    },
];

/// What the roles of `deploy/postgres/roles.sql` may do, where they exist.
const GRANTS: &str = include_str!("grants.sql");

/// Tells our advisory locks from those of other programs.
const LOCK: i32 = 0x424d_6c65;
