//! `bedrock-meter keys`: issues, lists and ends the keys that prove callers.

mod apply;
mod create;
mod lines;
mod list;
mod registrar;
mod remote;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

pub(super) use apply::{ApplyArgs, Kinds, run as apply};
pub(super) use list::print;
pub(super) use registrar::Registrar;
pub(super) use when::When;

use registrar::LocalRegistrar;
pub(super) use remote::RemoteRegistrar as Remote;

use super::output::{printing, say};
use super::serve;
use crate::domain::{Clock as _, SystemClock, Timestamp};
use crate::registry::{KeyId, MasterKeys};

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

/// Where the registry is: a file on this machine, or a running server.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The configuration of the proxy whose keys they are [default: built-in defaults]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Ask a running proxy's admin listener instead, such as <https://meter.example:8081>
    #[arg(long, value_name = "URL", global = true, conflicts_with = "config")]
    server: Option<String>,
    /// The token that it wants [default: the variable `BEDROCK_METER_ADMIN_TOKEN`]
    #[arg(long, value_name = "TOKEN", global = true, requires = "server")]
    server_token: Option<String>,
    /// Further certificate authorities to trust there, as a PEM file
    #[arg(long, value_name = "FILE", global = true, requires = "server")]
    ca_file: Option<PathBuf>,
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

/// Whoever keeps keys and tenants, and the time.
pub(super) struct Desk {
    pub(super) registrar: Box<dyn Registrar>,
    pub(super) now: Timestamp,
}

impl Desk {
    /// Opens the registry that the configuration names, or turns to the server.
    ///
    /// # Errors
    /// The exit code where the configuration is bad, which has been said then.
    pub(super) fn open(place: &Place) -> anyhow::Result<Result<Self, ExitCode>> {
        let now = SystemClock.now();
        if let Some(url) = &place.server {
            let remote = remote(url, place.server_token.as_deref(), place.ca_file.clone())?;
            let registrar = Box::new(remote);
            return Ok(Ok(Self { registrar, now }));
        }
        let settings = match serve::settings(place.config.as_deref()) {
            Ok(settings) => settings,
            Err(code) => return Ok(Err(code)),
        };
        let registrar = Box::new(LocalRegistrar::open(settings, now)?);
        Ok(Ok(Self { registrar, now }))
    }
}

/// A running server; its token is the one that was given, else that of the variable.
///
/// # Errors
/// When the URL cannot be called or the certificate authorities cannot be read.
pub(super) fn remote(
    url: &str,
    token: Option<&str>,
    ca_file: Option<PathBuf>,
) -> anyhow::Result<Remote> {
    let given = token.map(str::to_owned);
    let token = given.or_else(|| std::env::var("BEDROCK_METER_ADMIN_TOKEN").ok());
    Remote::new(url, token.as_deref(), ca_file)
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
    let until = args.grace.from(desk.now);
    let handed = desk.registrar.rotate(args.id, until)?;
    say(&format!("{} works until {until}", args.id));
    args.shown.print(&handed)
}

fn revoke(args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    for id in &args.ids {
        let word = if desk.registrar.revoke(*id)? {
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
    desk.registrar.expire(args.id, at)?;
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
