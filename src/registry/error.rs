//! What can go wrong with the registry. No call was made and no secret is named.

use std::path::PathBuf;

/// Why the registry refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// SQLite refused: the file is damaged, full or held by another process.
    #[error("{doing}: {cause}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// SQLite's words.
        cause: rusqlite::Error,
    },
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
    /// A stored row cannot be read: somebody changed the file by hand.
    #[error("the registry holds what this program cannot read: {0}")]
    Stored(String),
    /// A value of a policy, key or tenant does not fit.
    #[error("{key}: {text:?} does not fit: {why}")]
    Value {
        /// Which value.
        key: &'static str,
        /// What was given.
        text: String,
        /// What is expected.
        why: String,
    },
    /// There is no such key.
    #[error("there is no key {0}: see `bedrock-meter keys list`")]
    NoSuchKey(String),
    /// There is no such tenant.
    #[error("there is no tenant {0}: see `bedrock-meter tenants list`")]
    NoSuchTenant(String),
    /// Another tenant has that name.
    #[error("there is a tenant {0} already")]
    TenantExists(String),
    /// The key was revoked or has expired: make a new one.
    #[error("key {0} does not work any more, so it cannot be rotated: create a new one")]
    NotRotatable(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

impl RegistryError {
    pub(super) fn value(key: &'static str, text: &str, why: &str) -> Self {
        Self::Value {
            key,
            text: text.to_owned(),
            why: why.to_owned(),
        }
    }

    pub(super) fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |cause| Self::Sqlite { doing, cause }
    }
}
