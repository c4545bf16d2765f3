//! `bedrock-meter explain CALL_ID`: one call in full.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output::printing;
use super::report;
use crate::domain::CallId;
use crate::ledger::Settings;
use crate::pricing::Catalogue;
use crate::report::{explain_sources, explain_text};

/// One call in full: usage and where it was read, tiers, and each rate with its amount.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bedrock-meter explain 019ab1c2-7f3e-7d21-9c55-0a1b2c3d4e5f

The id of a call is in the answer header x-bedrock-meter-call-id.")]
pub(super) struct ExplainArgs {
    /// The id of the call
    call_id: CallId,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: ExplainFormat,
    /// The directory of the ledger
    #[arg(long, value_name = "DIR", default_value_os_t = Settings::default().directory)]
    ledger: PathBuf,
    /// The configuration that says where the ledger is, in place of --ledger
    #[arg(long, value_name = "FILE", conflicts_with = "ledger")]
    config: Option<PathBuf>,
}

/// How a call is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum ExplainFormat {
    /// Lines for people
    #[default]
    Table,
    /// One JSON object, amounts as decimal text
    Json,
}

/// Prints the call.
///
/// # Errors
/// When there is no ledger, it cannot be read, or it has no such call.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let reader = match report::reader(&args.ledger, args.config.as_deref()) {
        Ok(reader) => reader?,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let call = reader.call(args.call_id)?;
    let text = match args.format {
        ExplainFormat::Table => {
            let sources = explain_sources(&call, &Catalogue::embedded()?);
            format!("{}{sources}", explain_text(&call))
        }
        ExplainFormat::Json => format!("{}\n", serde_json::to_string_pretty(&call)?),
    };
    printing(|out| {
        out.write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}
