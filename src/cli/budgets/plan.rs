//! `bedrock-meter budgets plan`: what another configuration changes, and what it would have refused.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::place::{LedgerPlace, ServerPlace};
use super::{Format, csv_line, subject_text};
use crate::budgets::{Budget, BudgetDocument};
use crate::cli::keys::When;
use crate::cli::output::{Progress, printing, say};
use crate::cli::serve;
use crate::domain::{Clock as _, SystemClock, Timestamp};
use crate::ledger::{LedgerReader, Span};
use crate::plan::{Blocked, Change, Replay, Tally, differences};

/// Says what other budgets change, and which past calls they would have refused
///
/// Replays the calls of the ledger in order of admission through the budgets of --config, by the
/// rules that calls are held to: each holds what it held then, and settles when it settled. A call
/// without a recorded hold holds its cost. Budgets that only observe count as if they refused; a
/// call that would have got a cheaper model or tier counts as refused. What was spent before
/// --since counts where its period goes on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bedrock-meter budgets plan --config new.toml --against bedrock-meter.toml
  bedrock-meter budgets plan --config new.toml --server https://meter.example:8081 --since 60d
  bedrock-meter budgets plan --config new.toml --since 2026-11-01 --until 2026-12-01 --format csv")]
pub(super) struct PlanArgs {
    /// The configuration to try
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The configuration to compare it with
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    against: Option<PathBuf>,
    #[command(flatten)]
    server: ServerPlace,
    #[command(flatten)]
    ledger: LedgerPlace,
    /// From when: so long ago (30d, 12h), or a date or RFC 3339
    #[arg(long, default_value = "30d")]
    since: When,
    /// Until before when: so long ago, or a date or RFC 3339 [default: now]
    #[arg(long)]
    until: Option<When>,
    /// How to print; json and csv name every call
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the plan.
///
/// # Errors
/// When a configuration, the server or the ledger cannot be read.
pub(super) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let settings = match serve::settings(Some(&args.config)) {
        Ok(settings) => settings,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let changes = match changes(args, &settings.budgets)? {
        Ok(changes) => changes,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let reader = args.ledger.open(&settings)?;
    let now = SystemClock.now();
    let since = whole_minute(args.since.before(now));
    let until = args.until.map_or(now, |until| until.before(now));
    anyhow::ensure!(
        since <= until,
        "--since {since} lies after --until {until}: give the earlier instant to --since"
    );
    let span = Span {
        from: since,
        to: until,
    };
    printing(|out| {
        let replay = Replay::new(settings.budgets, since);
        match args.format {
            Format::Table => as_table(&reader, replay, span, changes.as_deref(), out)?,
            Format::Json => as_json(&reader, replay, span, changes.as_deref(), out)?,
            Format::Csv => as_csv(&reader, replay, span, out)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What changes; `None` where there is nothing to compare with.
fn changes(
    args: &PlanArgs,
    new: &[Budget],
) -> anyhow::Result<Result<Option<Vec<Change>>, ExitCode>> {
    let documents = |table: &[Budget]| -> Vec<BudgetDocument> {
        table.iter().map(BudgetDocument::from).collect()
    };
    let old = match (&args.against, args.server.ask()?) {
        (Some(file), _) => match serve::settings(Some(file)) {
            Ok(settings) => documents(&settings.budgets),
            Err(bad_configuration) => return Ok(Err(bad_configuration)),
        },
        (None, Some(answered)) => answered.configured,
        (None, None) => return Ok(Ok(None)),
    };
    Ok(Ok(Some(differences(&old, &documents(new)))))
}

/// Sends the calls through, and hands over what would have been refused.
fn replay(
    reader: &LedgerReader,
    replay: &mut Replay,
    span: Span,
    mut each: impl FnMut(&Blocked) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begins = replay.begins();
    if let Some(kept_from) = reader.entries_kept_from()?
        && begins < kept_from
    {
        say(&format!(
            "entries before {kept_from} are deleted: nothing before that is replayed or counted"
        ));
    }
    let known = Span {
        from: begins,
        to: span.to,
    };
    let mut progress = Progress::new("replaying", begins.unix_ms(), span.to.unix_ms());
    reader.past_calls(known, |call| {
        progress.at(call.opened_at.unix_ms());
        match replay.admit(call) {
            Some(blocked) => each(&blocked),
            None => Ok(()),
        }
    })
}

fn as_table(
    reader: &LedgerReader,
    mut through: Replay,
    span: Span,
    changes: Option<&[Change]>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    write_changes(changes, out)?;
    replay(reader, &mut through, span, |_blocked| Ok(()))?;
    for (budget, subject, day, blocked) in through.days() {
        let calls = calls(blocked.calls);
        writeln!(
            out,
            "budget {budget} would have blocked {} on {day}: {calls}, ${}, the first {}",
            subject_text(subject),
            blocked.amount,
            blocked.first
        )?;
    }
    write_totals(&through.tally, span, out)?;
    Ok(())
}

fn write_changes(changes: Option<&[Change]>, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(changes) = changes else {
        let hint = "Not compared with another configuration: name one with --against or --server.";
        writeln!(out, "{hint}\n")?;
        return Ok(());
    };
    if changes.is_empty() {
        writeln!(out, "The two configurations have the same budgets.")?;
    }
    for change in changes {
        match change {
            Change::Added { budget, says } => {
                let says: Vec<String> = says.iter().map(|(k, v)| format!("{k} {v}")).collect();
                writeln!(out, "+ budget {budget}: {}", says.join(", "))?;
            }
            Change::Removed { budget } => writeln!(out, "- budget {budget}")?,
            Change::Changed {
                budget,
                key,
                from,
                to,
            } => {
                let text = |value: &'_ Option<String>| match value {
                    Some(value) => value.clone(),
                    None => "(nothing)".to_owned(),
                };
                writeln!(
                    out,
                    "~ budget {budget}: {key} {} -> {}",
                    text(from),
                    text(to)
                )?;
            }
        }
    }
    writeln!(out)?;
    Ok(())
}

fn write_totals(tally: &Tally, span: Span, out: &mut dyn Write) -> anyhow::Result<()> {
    let Tally {
        calls: replayed,
        without_hold,
        refused_then,
        blocked,
        blocked_amount,
    } = tally;
    let Span { from, to } = span;
    writeln!(
        out,
        "Of {} admitted from {from} to before {to}, {blocked} would have been blocked: ${blocked_amount}.",
        calls(*replayed)
    )?;
    if *without_hold > 0 {
        writeln!(
            out,
            "{} had no hold recorded and were replayed as holding their cost: a call holds more than it costs, so more may be blocked.",
            calls(*without_hold)
        )?;
    }
    if *refused_then > 0 {
        writeln!(
            out,
            "{} were refused by a budget then: they are left out, for nobody knows what they would have cost.",
            calls(*refused_then)
        )?;
    }
    Ok(())
}

fn as_json(
    reader: &LedgerReader,
    mut through: Replay,
    span: Span,
    changes: Option<&[Change]>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // By hand, so that calls are written as they come.
    let (from, to) = (span.from.to_string(), span.to.to_string());
    let changes = json!(changes);
    write!(
        out,
        "{{\"since\":{},\"until\":{},\"changes\":{changes},\"blocked_calls\":[",
        json!(from),
        json!(to)
    )?;
    let mut comma = "\n";
    replay(reader, &mut through, span, |blocked| {
        write!(out, "{comma}{}", call_json(blocked))?;
        comma = ",\n";
        Ok(())
    })?;
    let days = through.days();
    let days: Vec<Value> = days
        .map(|(budget, subject, day, blocked)| {
            json!({
                "budget": budget,
                "subject": subject,
                "day": day,
                "calls": blocked.calls,
                "amount_usd": blocked.amount.to_string(),
                "first_call_id": blocked.first.to_string(),
            })
        })
        .collect();
    let tally = &through.tally;
    let totals = json!({
        "calls": tally.calls,
        "calls_without_hold": tally.without_hold,
        "calls_refused_then": tally.refused_then,
        "blocked_calls": tally.blocked,
        "blocked_usd": tally.blocked_amount.to_string(),
    });
    writeln!(
        out,
        "\n],\"blocked_days\":{},\"totals\":{totals}}}",
        json!(days)
    )?;
    Ok(())
}

fn call_json(blocked: &Blocked) -> Value {
    let Blocked { call, refused, day } = blocked;
    json!({
        "call_id": call.call_id.to_string(),
        "at": call.opened_at.to_string(),
        "tenant": call.tenant.as_str(),
        "application": call.application,
        "model": call.model,
        "budget": &*refused.budget,
        "subject": &*refused.subject,
        "day": day,
        "action": if refused.downgrade.is_some() { "downgrade" } else { "block" },
        "amount_usd": call.counted.to_string(),
        "limit_usd": refused.limit.to_string(),
        "spent_usd": refused.spent.to_string(),
        "held_usd": refused.held.to_string(),
        "this_usd": refused.this.map(|this| this.to_string()),
    })
}

fn as_csv(
    reader: &LedgerReader,
    mut through: Replay,
    span: Span,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "call_id,at,budget,subject,day,tenant,application,model,amount_usd\r"
    )?;
    replay(reader, &mut through, span, |blocked| {
        let Blocked { call, refused, day } = blocked;
        let line = csv_line(&[
            &call.call_id.to_string(),
            &call.opened_at.to_string(),
            &refused.budget,
            &refused.subject,
            day,
            call.tenant.as_str(),
            &call.application,
            call.model.as_deref().unwrap_or_default(),
            &call.counted.to_string(),
        ]);
        writeln!(out, "{line}\r")?;
        Ok(())
    })
}

fn calls(count: u64) -> String {
    let word = if count == 1 { "call" } else { "calls" };
    format!("{count} {word}")
}

/// Budgets are rebuilt from minutes.
fn whole_minute(at: Timestamp) -> Timestamp {
    let ms = at.unix_ms();
    Timestamp::from_unix_ms(ms.saturating_sub(ms.rem_euclid(60_000)))
}
