//! `bedrock-meter alerts`: what people were told.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{Table, printing};
use super::serve;
use crate::alerts::{Line, Notice, Standing};
use crate::app::LogPlace;
use crate::domain::{Keyword as _, Timestamp};
use crate::ledger::Settings;
use crate::report::csv_line;

/// What is asked of alerts.
#[derive(Debug, Args)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    Log(LogArgs),
}

/// Lists deliveries, newest first: what each outlet was told, or is still to be told
///
/// The server may be running.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bedrock-meter alerts log --failed --format json
  bedrock-meter alerts log --config bedrock-meter.toml")]
struct LogArgs {
    /// Only what an outlet did not take for as long as it was tried
    #[arg(long)]
    failed: bool,
    /// The most lines
    #[arg(long, value_name = "N", default_value_t = 1000)]
    most: usize,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: LogFormat,
    /// The directory of the ledger
    #[arg(long, value_name = "DIR", default_value_os_t = Settings::default().directory)]
    ledger: PathBuf,
    /// The file of the delivery log, where it is not in that directory
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration that says where the log is: the way to one in PostgreSQL
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ledger", "file"])]
    config: Option<PathBuf>,
}

/// How the log is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// Aligned columns for people
    #[default]
    Table,
    /// One JSON array, with each notice whole
    Json,
    /// One line per delivery, with a header
    Csv,
}

/// Runs the command.
///
/// # Errors
/// When there is no log, or it cannot be read.
pub(super) fn run(args: &AlertsArgs) -> anyhow::Result<ExitCode> {
    let AlertsCommand::Log(args) = &args.command;
    let place = match place(args) {
        Ok(place) => place,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let mut lines = place.open_to_read()?.lines(args.most)?;
    lines.retain(|line| !args.failed || line.standing == Standing::Failed);
    printing(|out| {
        match args.format {
            LogFormat::Table => table(&lines).write(out)?,
            LogFormat::Json => {
                let lines: Vec<_> = lines.iter().map(json).collect();
                writeln!(out, "{}", serde_json::to_string_pretty(&lines)?)?;
            }
            LogFormat::Csv => {
                write!(out, "{}", csv_line(HEAD.map(str::to_lowercase)))?;
                for line in &lines {
                    write!(out, "{}", csv_line(cells(line)))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Where the log is.
///
/// # Errors
/// With the exit code of a configuration that cannot be read; why was said.
fn place(args: &LogArgs) -> Result<LogPlace, ExitCode> {
    if let Some(config) = &args.config {
        let settings = serve::settings(Some(config))?;
        return Ok(LogPlace::of(&settings.alerts, &settings.ledger));
    }
    let file = args.file.clone().map(LogPlace::File);
    Ok(file.unwrap_or_else(|| LogPlace::in_directory(&args.ledger)))
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(&HEAD);
    for line in lines {
        table.push(cells(line).to_vec());
    }
    table
}

fn cells(line: &Line) -> [String; 10] {
    let notice = &line.notice;
    let instant = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    [
        line.claimed_at.to_string(),
        line.outlet.clone(),
        line.standing.name().to_owned(),
        line.attempts.to_string(),
        instant(line.ended_at.or(line.next_try_at)),
        notice.kind.name().to_owned(),
        notice.budget.clone().unwrap_or_default(),
        notice.subject.clone(),
        notice.id.clone(),
        line.last_error.clone().unwrap_or_default(),
    ]
}

const HEAD: [&str; 10] = [
    "CLAIMED_AT",
    "OUTLET",
    "STANDING",
    "ATTEMPTS",
    "ENDED_OR_NEXT",
    "KIND",
    "BUDGET",
    "SUBJECT",
    "ID",
    "LAST_ERROR",
];

/// A line as JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    outlet: &'a str,
    standing: &'static str,
    attempts: u32,
    claimed_at: String,
    ended_at: Option<String>,
    next_try_at: Option<String>,
    last_error: Option<&'a str>,
    notice: &'a Notice,
}

fn json(line: &Line) -> JsonLine<'_> {
    let instant = |at: Option<Timestamp>| at.map(|at| at.to_string());
    JsonLine {
        outlet: &line.outlet,
        standing: line.standing.name(),
        attempts: line.attempts,
        claimed_at: line.claimed_at.to_string(),
        ended_at: instant(line.ended_at),
        next_try_at: instant(line.next_try_at),
        last_error: line.last_error.as_deref(),
        notice: &line.notice,
    }
}
