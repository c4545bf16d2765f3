//! `bedrock-meter tenants`: who pays, who answers for it, and whether it may call.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::keys::{ApplyArgs, Desk, Format, Kinds, Place, apply, print};
use super::output::{Table, say};
use crate::domain::TenantId;
use crate::registry::ListedTenant;

/// Tenants: teams that pay
#[derive(Debug, Args)]
pub(super) struct TenantsArgs {
    #[command(subcommand)]
    command: TenantsCommand,
}

#[derive(Debug, Subcommand)]
enum TenantsCommand {
    /// Brings tenants to what files describe
    Apply(ApplyArgs),
    List(ListArgs),
    Rename(RenameArgs),
    Suspend(SuspendArgs),
    Resume(SuspendArgs),
}

/// Lists the tenants of the registry
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter tenants list")]
struct ListArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Gives a tenant another name; its keys go with it, entries of the past keep the old name
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter tenants rename research science")]
struct RenameArgs {
    /// The name it has
    old: TenantId,
    /// The name it gets
    new: TenantId,
    #[command(flatten)]
    place: Place,
}

/// Refuses a tenant's calls (suspend), or serves them again (resume), within a second
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter tenants suspend research")]
struct SuspendArgs {
    /// The tenant
    tenant: TenantId,
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
///
/// # Errors
/// Why it could not be done.
pub(super) fn run(args: &TenantsArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        TenantsCommand::Apply(args) => apply(args, Kinds::Tenants),
        TenantsCommand::List(args) => list(args),
        TenantsCommand::Rename(args) => rename(args),
        TenantsCommand::Suspend(args) => suspend(args, true),
        TenantsCommand::Resume(args) => suspend(args, false),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let mut table = Table::new(&["TENANT", "STATE", "OWNER", "COST CENTRE", "CONTACT"]);
    let mut objects = Vec::new();
    for (name, document, suspended_at) in desk.registrar.tenants()? {
        let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let listed = ListedTenant::new(&name, document, suspended_at, desk.now)?;
        table.push(vec![
            listed.tenant.clone(),
            listed.state.clone(),
            cell(&listed.described.owner),
            cell(&listed.described.cost_centre),
            cell(&listed.described.contact),
        ]);
        objects.push(serde_json::to_value(listed)?);
    }
    print(args.format, &table, objects)
}

fn rename(args: &RenameArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    desk.registrar.rename(&args.old, &args.new)?;
    say(&format!("{} is {} from now on", args.old, args.new));
    Ok(ExitCode::SUCCESS)
}

fn suspend(args: &SuspendArgs, suspended: bool) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    desk.registrar.suspend(&args.tenant, suspended)?;
    let word = if suspended {
        "suspended"
    } else {
        "served again"
    };
    say(&format!("{} is {word}", args.tenant));
    Ok(ExitCode::SUCCESS)
}
