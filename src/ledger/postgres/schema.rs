//! The tables on the server, their migrations, and who may do what with them.
//!
//! Version N is what the first N migrations make. A migration that was released never changes,
//! and only adds: programs of the version before go on writing and reading beside newer ones.
//! Each version says which program it still takes (`min_program_schema`).

use super::{PostgresSettings, Refusal, Session, failed, open_to_read};
use crate::domain::Timestamp;
use crate::ledger::LedgerError;

/// Finds the schema fit to write to, migrating where it is older.
///
/// # Errors
/// When the server refuses (this role may not migrate), or the schema is of a program that is too
/// new for this one.
pub(super) fn set_up(session: &Session, settings: &PostgresSettings) -> Result<(), LedgerError> {
    match state(session).map_err(failed("read the schema version"))? {
        State::Fits => Ok(()),
        State::Older => migrate(&open_to_read(&settings.patient())?),
        State::TooNew { found } => Err(LedgerError::NewerSchema {
            path: session.schema().into(),
            found,
            known: known(),
        }),
    }
}

/// Brings the schema to the newest version, and grants what roles need that exist. It may take
/// long: the session has to be a patient one.
///
/// # Errors
/// When the server refuses, or the schema is of a program that is too new for this one.
pub(super) fn migrate(session: &Session) -> Result<(), LedgerError> {
    migrate_to(session, MIGRATIONS.len())
}

/// The same up to a version: what an older program made.
pub(super) fn migrate_to(session: &Session, version: usize) -> Result<(), LedgerError> {
    let migrated = migrate_locked(session, version);
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

fn migrate_locked(session: &Session, to: usize) -> Result<(), Refusal> {
    let schema = session.schema();
    // Two programs that start at once migrate one after the other. Each statement has to see what
    // was committed before it got its locks.
    session.batch(&format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({LOCK}, hashtext('{schema}'));
         DO $$ BEGIN
            IF to_regnamespace('\"{schema}\"') IS NULL THEN CREATE SCHEMA \"{schema}\"; END IF;
         END $$"
    ))?;
    let (found, _) = version(session)?;
    let steps = (1_i64..).zip(MIGRATIONS).take(to);
    for (version, migration) in steps.skip_while(|(v, _)| *v <= found) {
        session.batch(&migration.sql.replace("{schema}", schema))?;
        let program = concat!("bedrock-meter ", env!("CARGO_PKG_VERSION"));
        let takes = migration.min_program_schema;
        session.query(
            "INSERT INTO \"schema\" (version, applied_at, program, min_program_schema) \
             VALUES ($1, now(), $2, $3)",
            &[version.into(), program.into(), takes.into()],
        )?;
    }
    if to == MIGRATIONS.len() {
        session.batch(&GRANTS.replace("{schema}", schema))?;
    }
    session.batch("COMMIT")
}

/// Lets the writer delete old entries, or takes that back. Nothing where there is no such role.
///
/// # Errors
/// When the server refuses.
pub(super) fn let_forget(session: &Session, may: bool) -> Result<(), LedgerError> {
    let (verb, to) = if may {
        ("GRANT", "TO")
    } else {
        ("REVOKE", "FROM")
    };
    let grant = format!(
        "DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'meter_writer') THEN
                {verb} EXECUTE ON FUNCTION forget_entries(bigint) {to} meter_writer;
            END IF;
         END $$"
    );
    let done = session.batch(&grant);
    done.map_err(failed("grant the writer what ledger.keep_entries needs"))
}

/// The tables and functions as SQL, for people: in the schema of the default settings.
pub fn postgres_schema() -> String {
    let schema = PostgresSettings::default().schema;
    let steps = (1..).zip(MIGRATIONS).map(|(version, migration)| {
        let sql = migration.sql.replace("{schema}", &schema);
        format!("-- Version {version}.\n\n{sql}\n")
    });
    let steps: String = steps.collect();
    let grants = GRANTS.replace("{schema}", &schema);
    format!(
        "-- Schema version {known}, as `bedrock-meter ledger migrate` makes it.\n\nBEGIN;\n\
         CREATE SCHEMA IF NOT EXISTS {schema};\nSET LOCAL search_path TO {schema};\n\n\
         {steps}{grants}\nCOMMIT;\n",
        known = known()
    )
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

const MIGRATIONS: [Migration; 3] = [
    Migration {
        sql: include_str!("version_1.sql"),
        min_program_schema: 1,
    },
    Migration {
        sql: include_str!("rollups.sql"),
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
