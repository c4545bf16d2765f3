//! Why the store cannot be used. Nothing here has to do with Bedrock: no call was sent for it.

use std::io;

/// What went wrong between a replica and the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `redis_url` cannot be read.
    #[error("budget_store.redis_url is not redis://, rediss:// or unix:// with a host or a path")]
    InvalidUrl,
    /// The authorities of its certificate cannot be read.
    #[error("read the authorities of the budget store: {0}")]
    Trust(String),
    /// No connection.
    #[error("no connection: {0}")]
    Unreachable(#[from] io::Error),
    /// One node of a cluster names another, and so on.
    #[error(
        "the cluster does not say which node has the keys of this deployment: {0} was named last"
    )]
    Wandering(String),
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It answered with an error.
    #[error("{0}")]
    Refused(#[from] redis::RedisError),
    /// It answered something that no script of ours says.
    #[error("an answer that was not expected: {0}")]
    Unexpected(String),
    /// Another epoch began: the store lost what it knew.
    #[error("another epoch began")]
    Changed,
    /// It forgot what it had confirmed.
    #[error("it forgot what it had confirmed: all is summed up again")]
    RolledBack,
    /// A call found it broken.
    #[error("a call found no answer")]
    Broken,
}

impl StoreError {
    /// Whether the store answered, and only has to be entered again.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(self, Self::Changed | Self::RolledBack)
    }
}
