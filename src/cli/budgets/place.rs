//! Where budgets are looked at: a running server, or the ledger of this machine.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::budgets::{BudgetDocument, StandingDocument};
use crate::cli::keys::{Remote, remote};
use crate::config::Settings;
use crate::ledger::LedgerReader;

/// A running server.
#[derive(Debug, Args)]
pub(super) struct ServerPlace {
    /// Ask a running proxy's admin listener, such as <https://meter.example:8081>
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The token that it wants [default: the variable `BEDROCK_METER_ADMIN_TOKEN`]
    #[arg(long, value_name = "TOKEN", requires = "server")]
    server_token: Option<String>,
    /// Further certificate authorities to trust there, as a PEM file
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
}

/// The ledger of this machine.
#[derive(Debug, Args)]
pub(super) struct LedgerPlace {
    /// The directory of the ledger [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
}

/// What a server answers.
#[derive(Debug, Deserialize)]
pub(super) struct Answered {
    /// Where each counter stands.
    pub(super) budgets: Vec<StandingDocument>,
    /// What is in force.
    pub(super) configured: Vec<BudgetDocument>,
}

impl ServerPlace {
    /// The budgets of the server, where one is named.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn ask(&self) -> anyhow::Result<Option<Answered>> {
        let Some(url) = &self.server else {
            return Ok(None);
        };
        let server: Remote = remote(url, self.server_token.as_deref(), self.ca_file.clone())?;
        server.read("budgets").map(Some)
    }
}

impl LedgerPlace {
    /// The ledger, open for reading.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open(&self, settings: &Settings) -> anyhow::Result<LedgerReader> {
        let reader = match &self.ledger {
            Some(directory) => LedgerReader::open(directory),
            None => LedgerReader::of(&settings.ledger),
        };
        Ok(reader?)
    }
}
