//! Where the delivery log is: on the server of the ledger that replicas share, or in a file.

use std::path::{Path, PathBuf};

use super::moved;
use super::shared::SharedLog;
use crate::alerts::{AlertError, DeliveryLog, Settings, SqliteLog};
use crate::ledger::{self, PostgresSettings, SharedDeliveries, StoreKind};

/// Where the log is.
#[derive(Clone, Debug)]
pub enum LogPlace {
    /// A file of this process, or of several on one machine.
    File(PathBuf),
    /// The server of the ledger.
    Shared {
        /// Where it is.
        server: Box<PostgresSettings>,
        /// Where the log was before the server had one.
        before: PathBuf,
    },
}

impl LogPlace {
    /// Where the settings say: a file that they name; else beside the entries.
    pub fn of(alerts: &Settings, ledger: &ledger::Settings) -> Self {
        if let Some(file) = &alerts.file {
            return Self::File(file.clone());
        }
        let file = SqliteLog::file_in(&ledger.directory);
        match ledger.store {
            StoreKind::Sqlite => Self::File(file),
            StoreKind::Postgres => Self::Shared {
                server: Box::new(ledger.postgres.clone()),
                before: file,
            },
        }
    }

    /// The file of a ledger's directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self::File(SqliteLog::file_in(directory))
    }

    /// Opens the log to read it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open_to_read(&self) -> anyhow::Result<Box<dyn DeliveryLog>> {
        match self {
            Self::File(file) => {
                anyhow::ensure!(
                    file.exists(),
                    "there is no delivery log {}: nobody was told of anything, or name it with \
                     --config, --ledger or --file",
                    file.display()
                );
                Ok(Box::new(SqliteLog::open_to_read(file)?))
            }
            Self::Shared { server, .. } => {
                Ok(Box::new(SharedLog(SharedDeliveries::open_to_read(server)?)))
            }
        }
    }

    /// Opens the log to write in it.
    pub(super) fn open(&self) -> Result<Box<dyn DeliveryLog>, AlertError> {
        match self {
            Self::File(file) => Ok(Box::new(SqliteLog::open(file)?)),
            Self::Shared { server, before } => {
                let opened = SharedDeliveries::open(server);
                let opened = opened.map_err(|error| AlertError::Shared(Box::new(error)))?;
                let mut log = SharedLog(opened);
                moved::bring_in(before, &mut log);
                Ok(Box::new(log))
            }
        }
    }
}
