//! The command line: one file per command.

mod alerts;
mod budgets;
mod check_config;
mod completions;
mod demo;
mod doctor;
mod explain;
mod keys;
mod ledger;
mod output;
mod prices;
mod report;
mod serve;
mod simulate;
mod tenants;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bedrock-meter", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Simulate(simulate::SimulateArgs),
    /// The price catalogue
    #[command(after_help = "Example: bedrock-meter prices show amazon.nova-lite-v1:0")]
    Prices(prices::PricesArgs),
    Keys(keys::KeysArgs),
    Tenants(tenants::TenantsArgs),
    Budgets(budgets::BudgetsArgs),
    /// What people were told
    #[command(after_help = "Example: bedrock-meter alerts log --format csv")]
    Alerts(alerts::AlertsArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Doctor(doctor::DoctorArgs),
    Report(report::ReportArgs),
    Explain(explain::ExplainArgs),
    Ledger(ledger::LedgerArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the command that the arguments name. Exit codes: 0 done, 1 failed, 2 wrong usage.
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Prices(args) => prices::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Tenants(args) => tenants::run(&args),
        Command::Budgets(args) => budgets::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Ledger(args) => ledger::run(&args),
    };
    done.unwrap_or_else(|cause| {
        output::complain(&cause);
        ExitCode::FAILURE
    })
}

/// Waits until somebody asks the process to stop.
async fn stopped() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
