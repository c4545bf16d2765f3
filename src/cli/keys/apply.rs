//! `keys apply` and `tenants apply`: tenants and keys as a file describes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::create::Shown;
use super::registrar::{Described, Handed};
use super::{Desk, Place, Registrar, When};
use crate::cli::output::say;
use crate::domain::TenantId;
use crate::registry::{KeyDocument, KeyKind, KeyRecord, NewKey, Standing, Tenant, TenantDocument};

/// Brings tenants and keys to what files describe; what is so already stays untouched
///
/// A key is known by tenant and name: one that is missing is issued and shown, one whose policy
/// differs is changed and keeps its secret. Every problem of the files is reported before anything
/// is done.
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter keys apply teams.toml --prune

  [tenants.research]
  owner = \"Ann\"
  cost_centre = \"4711\"
  policy = { geographies = [\"us\", \"global\"] }

  [keys.research-ci]
  tenant = \"research\"
  expires = \"2027-01-01\"
  policy = { models = [\"us.anthropic.*\"], mode = \"observe\" }")]
pub(in crate::cli) struct ApplyArgs {
    /// TOML files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Revoke named keys of these tenants that no file has
    #[arg(long)]
    prune: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

/// What of the files is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kinds {
    /// Tenants and keys.
    All,
    /// Tenants alone.
    Tenants,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    tenants: BTreeMap<String, TenantDocument>,
    keys: BTreeMap<String, KeyDocument>,
}

/// One thing to do.
enum Step {
    Tenant(TenantId, Box<TenantDocument>),
    Create(Box<NewKey>),
    Policy(Box<(KeyRecord, KeyDocument)>),
    Revoke(Box<KeyRecord>),
}

/// Applies the files.
///
/// # Errors
/// Every problem of the files at once, or why the registry could not be written.
pub(in crate::cli) fn run(args: &ApplyArgs, kinds: Kinds) -> anyhow::Result<ExitCode> {
    let mut wanted = Wanted::default();
    for file in &args.files {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let read: Wanted =
            toml::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        wanted.tenants.extend(read.tenants);
        wanted.keys.extend(read.keys);
    }
    if kinds == Kinds::Tenants {
        wanted.keys.clear();
    }
    let mut desk = match Desk::open(&args.place)? {
        Ok(desk) => desk,
        Err(code) => return Ok(code),
    };
    let steps = steps(&wanted, &mut desk, args.prune && kinds == Kinds::All)?;
    if steps.is_empty() {
        say("nothing to do: everything is as the files say");
    }
    let mut handed = Vec::new();
    for step in &steps {
        say(&step.described(args.dry_run));
        if !args.dry_run {
            handed.extend(step.take(&mut *desk.registrar)?);
        }
    }
    for key in &handed {
        args.shown.print(key)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be done, after every problem has been looked for.
fn steps(wanted: &Wanted, desk: &mut Desk, prune: bool) -> anyhow::Result<Vec<Step>> {
    let tenants = desk.registrar.tenants()?;
    let mut problems = Vec::new();
    let mut steps = Vec::new();
    for (name, document) in &wanted.tenants {
        let tenant = TenantId::new(name).map_err(anyhow::Error::from);
        let checked = tenant.and_then(|tenant| {
            let wanted = document.check(&tenant)?;
            let differs = differs(&tenants, &wanted)?;
            Ok(differs.then(|| Step::Tenant(tenant, Box::new(document.clone()))))
        });
        match checked {
            Ok(step) => steps.extend(step),
            Err(cause) => problems.push(format!("tenants.{name}: {cause:#}")),
        }
    }
    let known = desk.registrar.keys(None)?;
    for (name, document) in &wanted.keys {
        match key_step(name, document, &known, desk) {
            Ok(step) => steps.extend(step),
            Err(cause) => problems.push(format!("keys.{name}: {cause:#}")),
        }
    }
    anyhow::ensure!(
        problems.is_empty(),
        "nothing was done:\n  {}",
        problems.join("\n  ")
    );
    if prune {
        let revoke = |key| Step::Revoke(Box::new(key));
        steps.extend(pruned(wanted, known, desk).map(revoke));
    }
    Ok(steps)
}

fn differs(known: &[Described], wanted: &Tenant) -> anyhow::Result<bool> {
    let known = known.iter().find(|(name, ..)| *name == wanted.name);
    let same = known.map(|(name, document, _)| document.check(name));
    Ok(same.transpose()?.as_ref() != Some(wanted))
}

fn key_step(
    name: &str,
    document: &KeyDocument,
    known: &[KeyRecord],
    desk: &Desk,
) -> anyhow::Result<Option<Step>> {
    let tenant = TenantId::new(&document.tenant).context("tenant")?;
    document.policy.check()?;
    let kind = document.kind.as_deref().unwrap_or("pair");
    let kind = KeyKind::from_name(kind).filter(|kind| *kind != KeyKind::Session);
    let kind = kind.context("kind: expected pair or token")?;
    let expires = document.expires.as_deref().map(str::parse::<When>);
    let expires = expires
        .transpose()
        .map_err(anyhow::Error::msg)
        .context("expires")?;
    let same = known.iter().find(|key| {
        key.name.as_deref() == Some(name)
            && key.tenant == tenant
            && key.standing(desk.now) == Standing::Good
    });
    Ok(match same {
        Some(key) if key.policy == document.policy => None,
        Some(key) => Some(Step::Policy(Box::new((key.clone(), document.clone())))),
        None => Some(Step::Create(Box::new(NewKey {
            tenant,
            kind,
            name: Some(name.to_owned()),
            policy: document.policy.clone(),
            expires_at: expires.map(|when| when.from(desk.now)),
        }))),
    })
}

fn pruned(wanted: &Wanted, known: Vec<KeyRecord>, desk: &Desk) -> impl Iterator<Item = KeyRecord> {
    let unlisted = |key: &KeyRecord| {
        let of_these = wanted.tenants.contains_key(key.tenant.as_str());
        let listed = key
            .name
            .as_ref()
            .is_none_or(|name| wanted.keys.contains_key(name));
        of_these && !listed && key.standing(desk.now) == Standing::Good
    };
    known.into_iter().filter(unlisted)
}

impl Step {
    fn described(&self, dry_run: bool) -> String {
        let would = if dry_run { "would " } else { "" };
        match self {
            Self::Tenant(name, _) => format!("{would}write tenant {name}"),
            Self::Create(new) => {
                let name = new.name.as_deref().unwrap_or_default();
                format!("{would}issue key {name} to {}", new.tenant)
            }
            Self::Policy(changed) => format!("{would}change what key {} may do", changed.0.id),
            Self::Revoke(key) => {
                let name = key.name.as_deref().unwrap_or_default();
                format!("{would}revoke key {name} ({})", key.id)
            }
        }
    }

    fn take(&self, registrar: &mut dyn Registrar) -> anyhow::Result<Option<Handed>> {
        match self {
            Self::Tenant(name, document) => registrar.put_tenant(name, document)?,
            Self::Create(new) => return Ok(Some(registrar.create(new)?)),
            Self::Policy(changed) => {
                let (key, document) = &**changed;
                registrar.set_policy(key.id, &document.policy)?;
            }
            Self::Revoke(key) => {
                registrar.revoke(key.id)?;
            }
        }
        Ok(None)
    }
}
