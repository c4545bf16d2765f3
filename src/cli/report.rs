//! `bedrock-meter report`: charges by any grouping over any span.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output::printing;
use super::serve;
use crate::domain::{Clock, SystemClock, Timestamp};
use crate::ledger::{GroupBy, LedgerError, LedgerReader, Period, Settings, Span};
use crate::report::{Report, summary_csv, summary_text};

/// Charges by tenant, application, model and more, from the ledger of this machine.
///
/// The server may be running. A call counts when it was admitted; amounts are exact. CSV has no
/// line for the total.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bedrock-meter report --by tenant,model --from 2026-11-01 --to 2026-12-01 --format csv")]
pub(super) struct ReportArgs {
    /// What to group by: tenant, application, model, operation, region, tier, outcome, day
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "tenant,application,model"
    )]
    by: Vec<GroupBy>,
    /// The first instant: a date (midnight UTC) or RFC 3339 [default: the first of this month]
    #[arg(long)]
    from: Option<Timestamp>,
    /// The first instant after the last: a date or RFC 3339 [default: now]
    #[arg(long)]
    to: Option<Timestamp>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// The directory of the ledger
    #[arg(long, value_name = "DIR", default_value_os_t = Settings::default().directory)]
    ledger: PathBuf,
    /// The configuration that says where the ledger is, in place of --ledger
    #[arg(long, value_name = "FILE", conflicts_with = "ledger")]
    config: Option<PathBuf>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum ReportFormat {
    /// Aligned columns for people
    #[default]
    Table,
    /// One JSON object, amounts as decimal text
    Json,
    /// One line per group, with a header
    Csv,
}

/// Prints the report.
///
/// # Errors
/// When there is no ledger, it cannot be read, or the span ends before it begins.
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let span = span(args, SystemClock.now())?;
    let reader = match reader(&args.ledger, args.config.as_deref()) {
        Ok(reader) => reader?,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let summary = reader.summary(&args.by, span)?;
    let report = Report::new(&args.by, span, summary);
    let text = match args.format {
        ReportFormat::Table => summary_text(&report),
        ReportFormat::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
        ReportFormat::Csv => summary_csv(&report),
    };
    printing(|out| {
        out.write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The ledger of a directory, or the one that a configuration names.
///
/// # Errors
/// The exit code where the configuration is not good.
pub(super) fn reader(
    directory: &Path,
    config: Option<&Path>,
) -> Result<Result<LedgerReader, LedgerError>, ExitCode> {
    let Some(config) = config else {
        return Ok(LedgerReader::open(directory));
    };
    let settings = serve::settings(Some(config))?;
    Ok(LedgerReader::of(&settings.ledger))
}

fn span(args: &ReportArgs, now: Timestamp) -> anyhow::Result<Span> {
    let month = Period::Month.containing(now);
    // `now` itself is inside: a call that was admitted this millisecond counts.
    let after_now = Timestamp::from_unix_ms(now.unix_ms().saturating_add(1));
    let from = args.from.unwrap_or(month.from);
    let to = args.to.unwrap_or_else(|| after_now.max(from));
    anyhow::ensure!(
        from <= to,
        "--from {from} lies after --to {to}: give the earlier instant to --from"
    );
    Ok(Span { from, to })
}
