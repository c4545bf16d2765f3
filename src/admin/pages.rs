//! What the admin listener shows, asked from the app.

use serde::Serialize;

use super::office::{Done, Office};
use crate::domain::{CallId, TenantId};
use crate::registry::RegistryError;

/// Whether a part of the process works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Ok,
    /// It does not, but calls are admitted: a store, a database or AWS is in trouble.
    Trouble,
    /// This process cannot admit a call.
    Blocking,
}

/// The state of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The part, such as `ledger`.
    pub name: &'static str,
    /// Whether it works.
    pub state: State,
    /// In words; no secret.
    pub detail: String,
}

/// Why a page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The question cannot be understood.
    #[error("{0}")]
    BadQuestion(String),
    /// Whoever asks may not do that.
    #[error("{0}")]
    Forbidden(String),
    /// What is there already stands against it.
    #[error("{0}")]
    Conflict(String),
    /// It could not be read or written.
    #[error("{0}")]
    Failed(String),
}

impl From<RegistryError> for PageError {
    fn from(error: RegistryError) -> Self {
        let words = error.to_string();
        match error {
            RegistryError::Value { .. } => Self::BadQuestion(words),
            RegistryError::NoSuchKey(_) | RegistryError::NoSuchTenant(_) => Self::NotFound(words),
            RegistryError::TenantExists(_) | RegistryError::NotRotatable(_) => {
                Self::Conflict(words)
            }
            RegistryError::Sqlite { .. }
            | RegistryError::NewerSchema { .. }
            | RegistryError::Stored(_)
            | RegistryError::NoRandomness => Self::Failed(words),
        }
    }
}

/// Whose calls are shown, and how much of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Of this tenant alone.
    pub tenant: Option<TenantId>,
    /// Without users and sessions.
    pub without_people: bool,
}

/// Work with the registry.
pub type Work<'a> = &'a mut (dyn FnMut(Office<'_>) -> Result<Done, PageError> + Send);

/// The pages. Everything but `readiness` may block on files: it runs on a blocking thread.
pub trait Pages: Send + Sync + 'static {
    /// The parts that a call needs; must answer at once.
    fn readiness(&self) -> Vec<Check>;

    /// The metrics in the Prometheus text format.
    ///
    /// # Errors
    /// When they cannot be read.
    fn metrics(&self) -> Result<String, PageError>;

    /// `/api/v1/report?{query}` as JSON; the query is as the client wrote it, or empty.
    ///
    /// # Errors
    /// When the question is wrong or the ledger cannot be read.
    fn report(&self, query: &str, view: &View) -> Result<Vec<u8>, PageError>;

    /// `/api/v1/calls/{id}` as JSON.
    ///
    /// # Errors
    /// When there is no such call or the ledger cannot be read.
    fn call(&self, id: CallId, view: &View) -> Result<Vec<u8>, PageError>;

    /// `/api/v1/live` as JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    fn live(&self, view: &View) -> Result<Vec<u8>, PageError>;

    /// `/api/v1/budgets` as JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    fn budgets(&self, view: &View) -> Result<Vec<u8>, PageError>;

    /// Does that work with the registry. What it changed is in force for calls when this returns.
    ///
    /// # Errors
    /// Those of the work, or when the registry cannot be read again.
    fn office(&self, work: Work<'_>) -> Result<Done, PageError>;
}
