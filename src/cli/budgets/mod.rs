//! `bedrock-meter budgets`: what budgets hold, would have held, and could be.

mod place;
mod plan;
mod show;
mod suggest;
mod test_alert;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

/// Budgets: where they stand, what a change would have refused, what history suggests
#[derive(Debug, Args)]
pub(super) struct BudgetsArgs {
    #[command(subcommand)]
    command: BudgetsCommand,
}

#[derive(Debug, Subcommand)]
enum BudgetsCommand {
    Show(show::ShowArgs),
    Plan(plan::PlanArgs),
    Suggest(suggest::SuggestArgs),
    TestAlert(test_alert::TestAlertArgs),
}

/// How budgets are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// One JSON object, amounts as decimal text
    Json,
    /// One line each, with a header
    Csv,
}

/// Runs the command.
///
/// # Errors
/// Why it could not be done.
pub(super) fn run(args: &BudgetsArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        BudgetsCommand::Show(args) => show::run(args),
        BudgetsCommand::Plan(args) => plan::run(args),
        BudgetsCommand::Suggest(args) => suggest::run(args),
        BudgetsCommand::TestAlert(args) => test_alert::run(args),
    }
}

/// A cell of CSV: quoted where it has to be.
fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A line of CSV.
fn csv_line(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    cells.join(",")
}

/// Whose a counter is, for people.
fn subject_text(subject: &str) -> &str {
    if subject.is_empty() { "(all)" } else { subject }
}
