//! `bedrock-meter keys list` and `keys audit`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{Desk, Format, Place};
use crate::cli::output::{Table, printing};
use crate::domain::{TenantId, Timestamp};
use crate::registry::{ListedAct, ListedKey};

/// Lists keys: whose, what for, whether they work, when they were last used
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys list --tenant research --format json")]
pub(super) struct ListArgs {
    /// Of this tenant alone
    #[arg(long)]
    tenant: Option<TenantId>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Shows who changed what: every administrative act, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys audit --last 20")]
pub(super) struct AuditArgs {
    /// How many
    #[arg(long, default_value_t = 100)]
    last: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Prints the keys.
///
/// # Errors
/// When the registry cannot be read.
pub(super) fn keys(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let keys = desk.registrar.keys(args.tenant.as_ref())?;
    let mut table = Table::new(&[
        "ID",
        "TENANT",
        "NAME",
        "STATE",
        "CREATED",
        "EXPIRES",
        "LAST USED",
    ]);
    let mut objects = Vec::new();
    for key in &keys {
        table.push(vec![
            key.id.to_string(),
            key.tenant.to_string(),
            key.name.clone().unwrap_or_else(nothing),
            key.standing(desk.now).name().to_owned(),
            day(Some(key.created_at)),
            day(key.expires_at),
            key.last_used_at.map_or_else(nothing, |at| at.to_string()),
        ]);
        objects.push(serde_json::to_value(ListedKey::new(key, desk.now))?);
    }
    print(args.format, &table, objects)
}

/// Prints the audit log.
///
/// # Errors
/// When the registry cannot be read.
pub(super) fn audit(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let mut table = Table::new(&["AT", "WHO", "WHAT", "SUBJECT", "TENANT", "DETAIL"]);
    let mut objects = Vec::new();
    for event in desk.registrar.audit(args.last)? {
        let listed = ListedAct::from(event);
        objects.push(serde_json::to_value(&listed)?);
        let ListedAct {
            at,
            actor,
            act,
            subject,
            tenant,
            detail,
        } = listed;
        table.push(vec![at, actor, act, subject, tenant, detail]);
    }
    print(args.format, &table, objects)
}

pub(in crate::cli) fn print(
    format: Format,
    table: &Table,
    objects: Vec<Value>,
) -> anyhow::Result<ExitCode> {
    printing(|out| {
        match format {
            Format::Table => table.write(out)?,
            Format::Json => writeln!(out, "{:#}", Value::from(objects))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn nothing() -> String {
    "-".to_owned()
}

fn day(at: Option<Timestamp>) -> String {
    let day = at.map(|at| at.to_string().chars().take(10).collect());
    day.unwrap_or_else(nothing)
}
