//! `bedrock-meter keys list` and `keys audit`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Desk, Format, Place};
use crate::cli::output::{Table, printing};
use crate::domain::{Keyword as _, TenantId, Timestamp};
use crate::registry::{AuditEvent, KeyRecord, Standing};

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
    let desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let keys = desk.registry.keys(args.tenant.as_ref())?;
    let standing = |key: &KeyRecord| match key.standing(desk.now) {
        Standing::Good => "good",
        Standing::Expired => "expired",
        Standing::Revoked => "revoked",
    };
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
            standing(key).to_owned(),
            day(Some(key.created_at)),
            day(key.expires_at),
            key.last_used_at.map_or_else(nothing, |at| at.to_string()),
        ]);
        objects.push(json!({
            "id": key.id.as_str(), "kind": key.kind.name(), "tenant": key.tenant.as_str(),
            "name": key.name, "state": standing(key), "created_at": key.created_at.to_string(),
            "expires_at": text(key.expires_at), "revoked_at": text(key.revoked_at),
            "last_used_at": text(key.last_used_at), "policy": key.policy,
        }));
    }
    print(args.format, &table, objects)
}

/// Prints the audit log.
///
/// # Errors
/// When the registry cannot be read.
pub(super) fn audit(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let mut table = Table::new(&["AT", "WHO", "WHAT", "SUBJECT", "TENANT", "DETAIL"]);
    let mut objects = Vec::new();
    for event in desk.registry.audit(args.last)? {
        let AuditEvent {
            at,
            actor,
            act,
            subject,
            tenant,
            detail,
        } = event;
        objects.push(json!({
            "at": at.to_string(), "actor": actor, "act": act.name(), "subject": subject,
            "tenant": tenant, "detail": detail,
        }));
        table.push(vec![
            at.to_string(),
            actor,
            act.name().to_owned(),
            subject,
            tenant,
            detail,
        ]);
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

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn day(at: Option<Timestamp>) -> String {
    let day = at.map(|at| at.to_string().chars().take(10).collect());
    day.unwrap_or_else(nothing)
}
