//! `bedrock-meter budgets show`: where every counter stands.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::place::{LedgerPlace, ServerPlace};
use super::{Format, csv_line, subject_text};
use crate::budgets::{Budgets, StandingDocument};
use crate::cli::output::{Table, printing};
use crate::cli::serve;
use crate::domain::{Clock as _, SystemClock};
use crate::proxy::of_ledger;

/// Shows where budgets stand: limit, spent, held, remaining
///
/// With --server: the running proxy's own numbers. Without: what the ledger of this machine says
/// was spent, with the budgets of --config; what is held for calls in flight is not known then.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bedrock-meter budgets show --server https://meter.example:8081
  bedrock-meter budgets show --config config/bedrock-meter.toml --format csv")]
pub(super) struct ShowArgs {
    /// The configuration with the budgets [default: built-in defaults, which have none]
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    config: Option<PathBuf>,
    #[command(flatten)]
    ledger: LedgerPlace,
    #[command(flatten)]
    server: ServerPlace,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Prints the counters.
///
/// # Errors
/// When the server or the ledger cannot be asked.
pub(super) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let standings = match args.server.ask()? {
        Some(answered) => answered.budgets,
        None => match of_ledger_file(args)? {
            Ok(standings) => standings,
            Err(bad_configuration) => return Ok(bad_configuration),
        },
    };
    printing(|out| {
        match args.format {
            Format::Table => table(&standings).write(out)?,
            Format::Json => writeln!(out, "{:#}", json!({ "budgets": standings }))?,
            Format::Csv => csv(&standings, out)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn of_ledger_file(args: &ShowArgs) -> anyhow::Result<Result<Vec<StandingDocument>, ExitCode>> {
    let settings = match serve::settings(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(code) => return Ok(Err(code)),
    };
    let now = SystemClock.now();
    let amounts = match Budgets::begins(&settings.budgets, now) {
        Some(begins) => args.ledger.open(&settings)?.amounts_since(begins)?,
        None => Vec::new(),
    };
    let spent: Vec<_> = amounts.iter().map(of_ledger).collect();
    let budgets = Budgets::new(settings.budgets, &spent, now);
    let mut standings = StandingDocument::of_all(&budgets.table(), &budgets.standings(now));
    for one in &mut standings {
        one.held_usd = None;
    }
    Ok(Ok(standings))
}

fn table(standings: &[StandingDocument]) -> Table {
    let mut table = Table::new(&[
        "BUDGET",
        "WHOSE",
        "PERIOD",
        "LIMIT",
        "SPENT",
        "HELD",
        "REMAINING",
        "ENDS",
        "ACTION",
    ]);
    for one in standings {
        let dollars = |amount: &Option<String>| match amount {
            Some(amount) => format!("${amount}"),
            None => "-".to_owned(),
        };
        table.push(vec![
            one.budget.clone(),
            subject_text(&one.subject).to_owned(),
            one.period.clone(),
            format!("${}", one.limit_usd),
            dollars(&one.spent_usd),
            dollars(&one.held_usd),
            dollars(&one.remaining_usd),
            one.ends.clone(),
            format!("{} ({})", one.action, one.mode),
        ]);
    }
    table
}

fn csv(standings: &[StandingDocument], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "budget,subject,tenant,period,begins,ends,limit_usd,spent_usd,held_usd,remaining_usd,\
         action,mode,owner\r"
    )?;
    for one in standings {
        let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
        let line = csv_line(&[
            &one.budget,
            &one.subject,
            &text(&one.tenant),
            &one.period,
            &one.begins,
            &one.ends,
            &one.limit_usd,
            &text(&one.spent_usd),
            &text(&one.held_usd),
            &text(&one.remaining_usd),
            &one.action,
            &one.mode,
            &text(&one.owner),
        ]);
        writeln!(out, "{line}\r")?;
    }
    Ok(())
}
