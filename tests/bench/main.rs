//! `scripts/bench`: what the proxy costs, as ratios to a bare hyper pass-through and to nginx that
//! are measured in the same minutes. One program with several parts, so that it is linked once.
//! But for `callers`, `budgets` and `ledger` it knows nothing of the library: the proxy under test is a process like the
//! others.
#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a measuring tool: it may stop loudly on its own mistakes, and printing is its job"
)]

mod budgets;
mod callers;
mod client;
mod frames;
mod ledger;
mod load;
mod passthrough;
mod process;
mod protocol;
mod run;
mod scenario;
mod shared;
mod table;
mod target;
mod upstream;

use clap::Parser as _;

/// Measures what a proxy in front of Bedrock costs.
#[derive(clap::Parser)]
struct Arguments {
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(clap::Subcommand)]
enum Part {
    /// The fake Bedrock.
    Upstream(upstream::Options),
    /// The baseline proxy.
    Passthrough(passthrough::Options),
    /// The load generator alone.
    Load(load::Options),
    /// What proving a caller costs.
    Callers(callers::Options),
    /// What a reservation costs.
    Budgets(budgets::Options),
    /// The ledger by itself.
    Ledger(ledger::Options),
    /// The whole measurement.
    Run(run::Options),
}

fn main() -> anyhow::Result<()> {
    let Some(part) = Arguments::parse().part else {
        println!("run scripts/bench, or this with --help");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        match part {
            Part::Upstream(options) => upstream::serve(options).await,
            Part::Passthrough(options) => passthrough::serve(options).await,
            Part::Load(options) => load::run(options).await,
            Part::Callers(options) => callers::run(&options),
            Part::Budgets(options) => budgets::run(&options),
            Part::Ledger(options) => ledger::run(&options),
            Part::Run(options) => run::run(options).await,
        }
    })
}
