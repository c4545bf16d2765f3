//! `bedrock-meter tenants`: who pays, who answers for it, and whether it may call.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::keys::{ApplyArgs, Desk, Format, Kinds, Place, apply, print};
use super::output::{Table, say};
use crate::domain::TenantId;

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
    let desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let mut table = Table::new(&["TENANT", "STATE", "OWNER", "COST CENTRE", "CONTACT"]);
    let mut objects = Vec::new();
    let active = desk.registry.tenants()?;
    let active = active.iter().map(|tenant| tenant.is_active(desk.now));
    for ((name, document, suspended_at), active) in
        desk.registry.tenant_documents()?.into_iter().zip(active)
    {
        let state = match (active, suspended_at) {
            (true, _) => "active",
            (false, Some(_)) => "suspended",
            (false, None) => "outside its dates",
        };
        let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.push(vec![
            name.to_string(),
            state.to_owned(),
            cell(&document.owner),
            cell(&document.cost_centre),
            cell(&document.contact),
        ]);
        objects.push(json!({
            "tenant": name.as_str(), "state": state,
            "suspended_at": suspended_at.map(|at| at.to_string()), "described": document,
        }));
    }
    print(args.format, &table, objects)
}

fn rename(args: &RenameArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    desk.registry
        .rename_tenant(&args.old, &args.new, &desk.actor, desk.now)?;
    say(&format!("{} is {} from now on", args.old, args.new));
    Ok(ExitCode::SUCCESS)
}

fn suspend(args: &SuspendArgs, suspended: bool) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    desk.registry
        .suspend_tenant(&args.tenant, suspended, &desk.actor, desk.now)?;
    let word = if suspended {
        "suspended"
    } else {
        "served again"
    };
    say(&format!("{} is {word}", args.tenant));
    Ok(ExitCode::SUCCESS)
}
