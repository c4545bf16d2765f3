//! `bedrock-meter ledger`: what the keeper of a shared ledger does to it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::{printing, say};
use super::serve;
use crate::ledger::{ROLES_SQL, migrate};

/// The ledger in PostgreSQL: its tables and roles
#[derive(Debug, Args)]
pub(super) struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    Migrate(MigrateArgs),
    RolesSql(RolesSqlArgs),
}

/// Brings the tables of a shared ledger to what this program needs, and grants its roles theirs
///
/// Run it before the replicas are upgraded: programs of the version before go on beside it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: bedrock-meter ledger migrate --config owner.toml

The configuration has ledger.store = \"postgres\" and the URL of the role that owns the schema."
)]
struct MigrateArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Prints the SQL that makes the roles of a shared ledger
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter ledger roles-sql | psql -d meter")]
struct RolesSqlArgs {}

/// Does what was asked.
///
/// # Errors
/// When the server cannot be reached or refuses, or the output cannot be written.
pub(super) fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        LedgerCommand::Migrate(args) => run_migrate(args),
        LedgerCommand::RolesSql(RolesSqlArgs {}) => printing(|out| {
            out.write_all(ROLES_SQL.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

fn run_migrate(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let settings = match serve::settings(Some(&args.config)) {
        Ok(settings) => settings,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let version = migrate(&settings.ledger)?;
    say(&format!("the ledger has schema version {version}"));
    Ok(ExitCode::SUCCESS)
}
