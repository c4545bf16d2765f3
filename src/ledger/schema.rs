//! The schema of the SQLite file and its migrations. `docs/ledger.md` explains it to people.
//!
//! Version N of the schema is what the first N migrations make. A migration that was released
//! never changes; columns are only added, so that reports of the version before keep working.

use std::path::Path;

use rusqlite::Connection;

use super::{LedgerError, rollup};

/// Brings the file to the newest schema, each migration in one transaction.
///
/// # Errors
/// When the file has a newer schema than this program knows, or SQLite refuses.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let found = version(connection)?;
    let known = newest();
    if found > known {
        let path = path.to_owned();
        return Err(LedgerError::NewerSchema { path, found, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip_while(|(v, _)| *v <= found) {
        apply(connection, version, sql).map_err(LedgerError::sqlite("migrate the schema"))?;
    }
    Ok(())
}

/// The newest version that this program knows.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The schema as SQL, for people.
///
/// # Errors
/// When SQLite refuses, which it has no reason to.
pub fn sql_schema() -> Result<String, LedgerError> {
    let failed = || LedgerError::sqlite("print the schema");
    let mut connection = Connection::open_in_memory().map_err(failed())?;
    migrate(&mut connection, Path::new("memory"))?;
    let read = || {
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
        let mut statement = connection.prepare(sql)?;
        let texts = statement.query_map((), |row| row.get::<_, String>(0))?;
        texts.collect::<Result<Vec<_>, rusqlite::Error>>()
    };
    let texts = read().map_err(failed())?;
    let statements = texts.into_iter().map(|text| text + ";\n\n");
    let version = newest();
    Ok(format!("-- Schema version {version}.\n\n") + &statements.collect::<String>())
}

/// The version of the schema in the file; 0 for a new one.
pub(super) fn version(connection: &Connection) -> Result<i64, LedgerError> {
    connection
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .map_err(LedgerError::sqlite("read the schema version"))
}

fn apply(connection: &mut Connection, version: i64, sql: &str) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(sql)?;
    transaction.execute(
        "INSERT INTO schema (version, applied_at, program) \
         VALUES (?1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), ?2)",
        (
            version,
            concat!("bedrock-meter ", env!("CARGO_PKG_VERSION")),
        ),
    )?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

const MIGRATIONS: [&str; 3] = [VERSION_1, VERSION_2, rollup::MIGRATION];

/// An ordinary rowid table: rows of 500 to 1,000 bytes would spill into overflow pages in a
/// `WITHOUT ROWID` table. Ids are of UUID version 7, so both indexes grow at their end.
const VERSION_1: &str = "
CREATE TABLE schema (
    version    INTEGER PRIMARY KEY,
    applied_at TEXT NOT NULL,
    program    TEXT NOT NULL
);

CREATE TABLE entries (
    call_id                TEXT    NOT NULL PRIMARY KEY,
    opened_at              INTEGER NOT NULL,
    settled_at             INTEGER NOT NULL,
    tenant                 TEXT    NOT NULL,
    application            TEXT    NOT NULL,
    user                   TEXT,
    session                TEXT,
    operation              TEXT    NOT NULL,
    model_asked            TEXT,
    model                  TEXT,
    base_model             TEXT,
    geography              TEXT,
    region                 TEXT    NOT NULL,
    tier_asked             TEXT,
    tier_served            TEXT,
    latency_served         TEXT,
    invoked_model          TEXT,
    outcome                TEXT    NOT NULL,
    status                 INTEGER,
    error_class            TEXT,
    aws_request_id         TEXT,
    sdk_invocation_id      TEXT,
    sdk_attempt            INTEGER,
    request_bytes          INTEGER NOT NULL,
    response_bytes         INTEGER NOT NULL,
    first_byte_ms          INTEGER,
    duration_ms            INTEGER NOT NULL,
    usage_source           TEXT    NOT NULL,
    usage_reason           TEXT,
    read_from              TEXT    NOT NULL,
    disagreement           INTEGER NOT NULL,
    input_tokens           INTEGER,
    output_tokens          INTEGER,
    cache_read_tokens      INTEGER,
    cache_write_5m_tokens  INTEGER,
    cache_write_30m_tokens INTEGER,
    cache_write_1h_tokens  INTEGER,
    units                  TEXT,
    price_status           TEXT    NOT NULL,
    price_reason           TEXT,
    cost_microusd          INTEGER,
    cost_femtousd          INTEGER,
    lines                  TEXT,
    catalogue              TEXT    NOT NULL
);

CREATE INDEX entries_opened_at ON entries (opened_at);

CREATE VIEW calls AS
SELECT
    call_id,
    strftime('%Y-%m-%dT%H:%M:%S', opened_at / 1000, 'unixepoch')
        || printf('.%03dZ', opened_at % 1000) AS opened_at,
    strftime('%Y-%m-%dT%H:%M:%S', settled_at / 1000, 'unixepoch')
        || printf('.%03dZ', settled_at % 1000) AS settled_at,
    tenant, application, user, session,
    operation, model_asked, model, base_model, geography, region,
    tier_asked, tier_served, latency_served, invoked_model,
    outcome, status, error_class, aws_request_id, sdk_invocation_id, sdk_attempt,
    request_bytes, response_bytes, first_byte_ms, duration_ms,
    usage_source, usage_reason, read_from, disagreement,
    input_tokens, output_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_30m_tokens, cache_write_1h_tokens, units,
    price_status, price_reason,
    CASE WHEN cost_microusd IS NOT NULL THEN
        printf('%d.%06d%09d',
               cost_microusd / 1000000, cost_microusd % 1000000, cost_femtousd)
    END AS cost_usd,
    catalogue
FROM entries;

CREATE VIEW charge_lines AS
SELECT
    e.call_id,
    e.opened_at,
    e.tenant,
    e.application,
    e.model,
    json_extract(l.value, '$.dimension')         AS dimension,
    json_extract(l.value, '$.quantity')          AS quantity,
    json_extract(l.value, '$.rate')              AS rate,
    json_extract(l.value, '$.femtousd_per_unit') AS femtousd_per_unit
FROM entries AS e, json_each(e.lines) AS l;
";

/// What budgets need to be rebuilt from entries.
const VERSION_2: &str = "
ALTER TABLE entries ADD COLUMN key_id TEXT;
ALTER TABLE entries ADD COLUMN reserved_microusd INTEGER;
ALTER TABLE entries ADD COLUMN downgraded_from TEXT;
";

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("memory")).unwrap();
        connection
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = migrated();
        migrate(&mut connection, Path::new("memory")).unwrap();
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM schema", (), |row| row.get(0))
            .unwrap();
        assert_eq!((rows, version(&connection).unwrap()), (3, 3));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = migrated();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refused = migrate(&mut connection, Path::new("memory"));
        assert!(matches!(
            refused,
            Err(LedgerError::NewerSchema {
                found: 99,
                known: 3,
                ..
            })
        ));
    }

    #[test]
    fn the_printed_schema_makes_the_same_tables() {
        let printed = Connection::open_in_memory().unwrap();
        printed.execute_batch(&sql_schema().unwrap()).unwrap();
        let names = |connection: &Connection| {
            let sql = "SELECT type || ' ' || name FROM sqlite_schema ORDER BY 1";
            let mut statement = connection.prepare(sql).unwrap();
            let names = statement.query_map((), |row| row.get::<_, String>(0));
            names.unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(names(&printed), names(&migrated()));
    }

    const DOCUMENT: &str = include_str!("../../docs/ledger.md");

    #[test]
    fn the_document_names_every_column() {
        let connection = migrated();
        for table in [
            "entries",
            "calls",
            "charge_lines",
            "rollup_hours",
            "rollup_days",
            "retention",
        ] {
            let sql = format!("SELECT * FROM {table}");
            let statement = connection.prepare(&sql).unwrap();
            for column in statement.column_names() {
                assert!(DOCUMENT.contains(&format!("`{column}`")), "{column}");
            }
        }
    }

    #[test]
    fn the_document_s_queries_run() {
        let connection = migrated();
        let queries = DOCUMENT.split("```sql\n").skip(1);
        let queries: Vec<&str> = queries
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert_eq!(queries.len(), 5);
        for sql in queries {
            let mut statement = connection.prepare(sql).unwrap();
            assert!(
                statement.query(()).unwrap().next().unwrap().is_none(),
                "{sql}"
            );
        }
    }
}
