//! What the admin listener shows, asked from the app.

use serde::Serialize;

use crate::domain::CallId;

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
    #[error("not found: {0}")]
    NotFound(String),
    /// The question cannot be understood.
    #[error("{0}")]
    BadQuestion(String),
    /// It could not be read.
    #[error("{0}")]
    Failed(String),
}

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
    fn report(&self, query: &str) -> Result<Vec<u8>, PageError>;

    /// `/api/v1/calls/{id}` as JSON.
    ///
    /// # Errors
    /// When there is no such call or the ledger cannot be read.
    fn call(&self, id: CallId) -> Result<Vec<u8>, PageError>;

    /// `/api/v1/live` as JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    fn live(&self) -> Result<Vec<u8>, PageError>;
}
