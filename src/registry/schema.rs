//! The schema of the registry's file and its migrations.
//!
//! Version N is what the first N migrations make. A migration that was released never changes.

use std::path::Path;

use rusqlite::Connection;

use super::error::RegistryError;

/// Brings the file to the newest schema.
///
/// # Errors
/// When the file has a newer schema than this program knows, or SQLite refuses.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), RegistryError> {
    // One writer at a time: two programs that open a new file must not both make its tables.
    let migrating = RegistryError::sqlite("migrate the registry");
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(&migrating)?;
    let found: i64 = transaction
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .map_err(&migrating)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        let path = path.to_owned();
        return Err(RegistryError::NewerSchema { path, found, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip_while(|(v, _)| *v <= found) {
        transaction.execute_batch(sql).map_err(&migrating)?;
        transaction
            .pragma_update(None, "user_version", version)
            .map_err(&migrating)?;
    }
    transaction.commit().map_err(&migrating)
}

const MIGRATIONS: [&str; 1] = [VERSION_1];

/// `generation` counts changes that callers must see: one cheap read tells a running proxy whether
/// to load again. When keys were last used is kept apart, so that it does not count as a change.
const VERSION_1: &str = "
CREATE TABLE state (
    generation INTEGER NOT NULL
);
INSERT INTO state VALUES (0);

CREATE TABLE tenants (
    name         TEXT NOT NULL PRIMARY KEY,
    owner        TEXT,
    cost_centre  TEXT,
    contact      TEXT,
    starts_at    INTEGER,
    ends_at      INTEGER,
    suspended_at INTEGER,
    policy       TEXT,
    created_at   INTEGER NOT NULL
);

CREATE TABLE keys (
    id             TEXT NOT NULL PRIMARY KEY,
    kind           TEXT NOT NULL,
    tenant         TEXT NOT NULL REFERENCES tenants (name) ON UPDATE CASCADE,
    name           TEXT,
    master_version INTEGER,
    secret_sha256  BLOB,
    policy         TEXT,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    revoked_at     INTEGER,
    replaces       TEXT
);
CREATE INDEX keys_tenant ON keys (tenant);

CREATE TABLE key_use (
    id           TEXT NOT NULL PRIMARY KEY,
    last_used_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
    number  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    detail  TEXT NOT NULL
);

CREATE TABLE jobs (
    arn        TEXT NOT NULL PRIMARY KEY,
    tenant     TEXT NOT NULL,
    started_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER keys_inserted AFTER INSERT ON keys
    BEGIN UPDATE state SET generation = generation + 1; END;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys
    BEGIN UPDATE state SET generation = generation + 1; END;
CREATE TRIGGER tenants_inserted AFTER INSERT ON tenants
    BEGIN UPDATE state SET generation = generation + 1; END;
CREATE TRIGGER tenants_updated AFTER UPDATE ON tenants
    BEGIN UPDATE state SET generation = generation + 1; END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is never cut'); END;
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is never changed'); END;
";
