//! What can go wrong when people are to be told. No secret is named: URLs of outlets are secrets.

use std::path::PathBuf;

/// Why the delivery log fails.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// SQLite refused: the file is damaged, full or held by another process.
    #[error("{doing}: {cause}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// SQLite's words.
        cause: rusqlite::Error,
    },
    /// The server that replicas share refused, or does not answer.
    #[error("delivery log: {0}")]
    Shared(Box<dyn std::error::Error + Send + Sync>),
    /// The file was written by a newer program: use that one.
    #[error("{path} has schema {found}, and this program knows {known}: use the newer program")]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// A notice in the log cannot be read: somebody changed the file by hand.
    #[error("the delivery log holds a notice that cannot be read: {0}")]
    Stored(serde_json::Error),
}

impl AlertError {
    pub(super) fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |cause| Self::Sqlite { doing, cause }
    }
}

/// An outlet that cannot be used as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct InvalidOutlet {
    /// The key that is wrong or missing.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// What to do about it.
    pub mend: &'static str,
}

impl InvalidOutlet {
    pub(super) const fn new(key: &'static str, what: &'static str, mend: &'static str) -> Self {
        Self { key, what, mend }
    }
}
