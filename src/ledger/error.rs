//! What can go wrong with the ledger, and what the operator does about it.
//!
//! No variant says that a call reached Bedrock: the open-calls record is written before the first
//! upstream byte, so a failure there means that nothing was sent; a failure to commit an entry
//! concerns a call that may have been served, and its open-calls record stays until it is settled.

use std::io;
use std::path::PathBuf;

use super::database::Fault;
use super::postgres::Refusal;
use crate::domain::{CallId, ReplicaId, Timestamp};

/// A failure of the ledger. Its words hold their cause.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or directory of the ledger cannot be created, read or written. Cause: permissions,
    /// a full or failing disk. From [`super::OpenCalls::append`] it means that nothing was sent
    /// upstream. Mend: make room or correct the permissions; nothing is lost meanwhile.
    #[error("cannot {action} {path}: {cause}", path = path.display())]
    File {
        /// What was tried, verb first.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },

    /// Another process owns the directory. Nothing was sent upstream. Mend: stop that process, or
    /// give this one a directory of its own.
    #[error(
        "another process{owner} is writing the ledger in {directory}: stop it, or set \
         ledger.directory to another directory",
        directory = directory.display()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// ` (pid N)` where the lock file says so, else empty.
        owner: String,
    },

    /// The file was written by a newer version of this program. Nothing was sent upstream. Mend:
    /// run that version, or restore a backup made before the upgrade.
    #[error(
        "the ledger {path} has schema version {found}, this program knows up to {known}: run the \
         newer program, or restore the backup made before the upgrade",
        path = path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },

    /// SQLite refused. Cause: a full disk, a damaged file, a lock held by another tool. While
    /// appending, the calls may have been served: their entries are to be appended again.
    /// Mend: by SQLite's own words; `PRAGMA integrity_check` tells a damaged file.
    #[error("cannot {action} in the ledger: {cause}")]
    Sqlite {
        /// What was tried, verb first.
        action: &'static str,
        /// What SQLite said.
        cause: rusqlite::Error,
    },

    /// The store does not take entries and the spill has no room for more. The calls may have been
    /// served: their entries wait in memory, and new calls are refused. Mend: make the store take
    /// entries again (its own error is in the log), or raise `ledger.spill_bytes_max`.
    #[error(
        "the spill holds {bytes} bytes and may hold {bytes_max} (ledger.spill_bytes_max): mend the \
         store, or raise the limit"
    )]
    SpillFull {
        /// What it holds.
        bytes: u64,
        /// What it may hold.
        bytes_max: u64,
    },

    /// The entries of the hour that the question cuts are deleted (`ledger.keep_entries`), only the
    /// sums of whole hours are kept. Mend: ask for whole hours.
    #[error(
        "entries before {kept_from} are deleted, only sums of whole hours are kept: begin and end \
         at a whole hour (UTC)"
    )]
    EntriesDeleted {
        /// Since when every entry is there.
        kept_from: Timestamp,
    },

    /// A restore would lose calls. Nothing was changed. Mend: take a newer backup, or give --force;
    /// the database is then kept beside the restored one.
    #[error(
        "{path} {lost}: take a newer backup, or give --force (the database is kept beside the \
         restored one)",
        path = path.display()
    )]
    NewerLedger {
        /// The database.
        path: PathBuf,
        /// What of it would be lost.
        lost: String,
    },

    /// A copy is not a whole database. Nothing was changed. Mend: make it again; when it happens
    /// again, the disk or the source is damaged (`bedrock-meter ledger verify`).
    #[error("{path} is not whole: {found}", path = path.display())]
    NotWhole {
        /// The copy.
        path: PathBuf,
        /// What SQLite found.
        found: String,
    },

    /// The PostgreSQL server refused, or did not answer in time. While appending, the calls may
    /// have been served: their entries are to be appended again. Mend: by its own words; the
    /// entries wait meanwhile.
    #[error("cannot {action}: {cause}")]
    Postgres {
        /// What was tried, verb first.
        action: &'static str,
        /// What the server said, or that it said nothing.
        cause: Refusal,
    },

    /// The ledger of that directory is in PostgreSQL, and what was asked is for the SQLite file.
    /// Nothing was changed. Mend: use the tools of PostgreSQL (`docs/replicas.md`).
    #[error(
        "the ledger of {directory} is in PostgreSQL, schema {schema}, and there is no file: back \
         it up and restore it with pg_dump and pg_restore, and read it with --config (docs/replicas.md)",
        directory = directory.display()
    )]
    InPostgres {
        /// The directory.
        directory: PathBuf,
        /// The schema of the tables on the server.
        schema: String,
    },

    /// A living process has the same replica id, and would have its open calls settled by this
    /// one. Nothing was sent upstream. Mend: give each replica its own.
    #[error("another process lives with the replica id {0}: give each its own (replica.id)")]
    ReplicaLives(ReplicaId),

    /// There is no ledger in that directory. Mend: name the directory that `serve` writes.
    #[error(
        "there is no ledger in {directory}: name the directory that `bedrock-meter serve` writes \
         (ledger.directory) with --ledger",
        directory = directory.display()
    )]
    NoLedger {
        /// The directory.
        directory: PathBuf,
    },

    /// The ledger holds no entry of that call. Cause: a mistyped id, another ledger, or a call
    /// that is still open. Mend: look again once the call has ended.
    #[error(
        "no call {0} in this ledger: check the id (header x-bedrock-meter-call-id); a call that \
         is still open has no entry yet"
    )]
    NoSuchCall(CallId),

    /// A stored value is not what this program writes. Cause: the file was edited by hand. Mend:
    /// restore the row from a backup.
    #[error("the ledger holds {value:?} as {column}, which this program never writes")]
    Damaged {
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
}

impl LedgerError {
    /// Names the file and the action around an error of the operating system.
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File {
            action,
            path,
            cause,
        }
    }

    /// Names the action around what kept a database from answering.
    pub(super) fn of(action: &'static str) -> impl FnOnce(Fault) -> Self {
        move |fault| match fault {
            Fault::Sqlite(cause) => Self::Sqlite { action, cause },
            Fault::Postgres(cause) => Self::Postgres { action, cause },
            Fault::Damaged { column, why } => Self::Damaged { column, value: why },
            Fault::Deleted { kept_from } => Self::EntriesDeleted { kept_from },
        }
    }

    /// Names the action around an error of SQLite.
    pub(super) fn sqlite(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |cause| Self::Sqlite { action, cause }
    }
}
