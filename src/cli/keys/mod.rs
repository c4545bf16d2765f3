//! `bedrock-meter keys`: issues, lists and ends the keys that prove callers.

mod apply;
mod create;
mod lines;
mod list;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

pub(super) use apply::{ApplyArgs, Kinds, run as apply};
pub(super) use list::print;
pub(super) use when::When;

use super::output::{printing, say};
use super::serve;
use crate::app::{master_keys, open_registry};
use crate::config::Settings;
use crate::domain::{Clock as _, SystemClock, Timestamp};
use crate::registry::{KeyId, MasterKeys, Registry};

/// Keys and tokens of callers
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Rotate(RotateArgs),
    Revoke(RevokeArgs),
    Expire(ExpireArgs),
    Apply(ApplyArgs),
    Audit(list::AuditArgs),
    MasterKey(MasterKeyArgs),
}

/// Where the registry is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The configuration of the proxy whose keys they are [default: built-in defaults]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Replaces a key by a new one; the old one works on for a while
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys rotate BMAKABCDEFGHIJKLMNOP --grace 7d")]
struct RotateArgs {
    /// The key's id
    id: KeyId,
    /// How long the old key works on, such as 30m, 24h or 7d
    #[arg(long, default_value = "24h")]
    grace: When,
    #[command(flatten)]
    shown: create::Shown,
    #[command(flatten)]
    place: Place,
}

/// Ends a key at once; a running proxy refuses it within a second
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys revoke BMAKABCDEFGHIJKLMNOP")]
struct RevokeArgs {
    /// The keys' ids
    #[arg(required = true)]
    ids: Vec<KeyId>,
    #[command(flatten)]
    place: Place,
}

/// Gives a key an end
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys expire BMAKABCDEFGHIJKLMNOP --at 2027-01-01")]
struct ExpireArgs {
    /// The key's id
    id: KeyId,
    /// When: in 30m, 24h or 7d, or a date or RFC 3339
    #[arg(long)]
    at: When,
    #[command(flatten)]
    place: Place,
}

/// Prints a new master key: what secrets of key pairs are derived from
///
/// Put it where `keys.master_key` or `keys.master_key_file` reads it. To rotate, add one of the next
/// version before the old one, restart, and remove the old one when no key of it is used any more.
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys master-key --version 2 >> master.key")]
struct MasterKeyArgs {
    /// Its version; the highest makes new pairs
    #[arg(long, default_value_t = 1)]
    version: u32,
}

/// How tables of keys are printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// JSON
    Json,
}

/// The registry with what commands need beside it.
pub(super) struct Desk {
    pub(super) settings: Settings,
    pub(super) registry: Registry,
    pub(super) actor: String,
    pub(super) now: Timestamp,
}

impl Desk {
    /// Opens the registry that the configuration names.
    ///
    /// # Errors
    /// The exit code where the configuration is bad, which has been said then.
    pub(super) fn open(place: &Place) -> anyhow::Result<Result<Self, ExitCode>> {
        let settings = match serve::settings(place.config.as_deref()) {
            Ok(settings) => settings,
            Err(code) => return Ok(Err(code)),
        };
        let registry = open_registry(&settings)?;
        let user = std::env::var("USER").unwrap_or_else(|_unset| "unknown".to_owned());
        Ok(Ok(Self {
            settings,
            registry,
            actor: format!("cli:{user}"),
            now: SystemClock.now(),
        }))
    }

    /// What secrets are derived from.
    ///
    /// # Errors
    /// When there is none and none can be made.
    pub(super) fn masters(&self) -> anyhow::Result<MasterKeys> {
        master_keys(&self.settings)
    }
}

/// Runs the command.
///
/// # Errors
/// Why it could not be done.
pub(super) fn run(args: KeysArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        KeysCommand::Create(args) => create::run(&args),
        KeysCommand::List(args) => list::keys(&args),
        KeysCommand::Audit(args) => list::audit(&args),
        KeysCommand::Apply(args) => apply(&args, Kinds::All),
        KeysCommand::Rotate(args) => rotate(&args),
        KeysCommand::Revoke(args) => revoke(&args),
        KeysCommand::Expire(args) => expire(&args),
        KeysCommand::MasterKey(args) => master_key(&args),
    }
}

fn rotate(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let masters = desk.masters()?;
    let until = args.grace.from(desk.now);
    let issued = desk
        .registry
        .rotate_key(args.id, until, &masters, &desk.actor, desk.now)?;
    say(&format!("{} works until {until}", args.id));
    args.shown.print(&issued, &desk.settings)
}

fn revoke(args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    for id in &args.ids {
        let ended = desk.registry.revoke_key(*id, &desk.actor, desk.now)?;
        let word = if ended {
            "revoked"
        } else {
            "was revoked before"
        };
        say(&format!("{id} {word}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn expire(args: &ExpireArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let at = args.at.from(desk.now);
    desk.registry
        .expire_key(args.id, at, &desk.actor, desk.now)?;
    say(&format!("{} works until {at}", args.id));
    Ok(ExitCode::SUCCESS)
}

fn master_key(args: &MasterKeyArgs) -> anyhow::Result<ExitCode> {
    let key = MasterKeys::generate(args.version).context("draw random bytes")?;
    printing(|out| {
        writeln!(out, "{}", key.as_str())?;
        Ok(ExitCode::SUCCESS)
    })
}
