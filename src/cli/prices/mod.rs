//! `bedrock-meter prices`: the rates of the catalogue, and what usage costs under them.

mod quote;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::aws::parse_model_ref;
use crate::domain::{Dimension, Usd};
use crate::pricing::{Catalogue, Settings};

/// Arguments of `prices`.
#[derive(Debug, Args)]
pub(super) struct PricesArgs {
    #[command(subcommand)]
    command: PricesCommand,
    /// A catalogue file in place of the one that is part of the program
    #[arg(long, global = true, value_name = "FILE")]
    catalogue: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum PricesCommand {
    /// Lists rates with their sources and dates
    #[command(
        after_help = "Example: bedrock-meter prices show us.amazon.nova-lite-v1:0 --region us-east-1"
    )]
    Show(show::ShowArgs),
    /// Says what usage costs
    #[command(after_help = quote::EXAMPLES)]
    Quote(Box<quote::QuoteArgs>),
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs: one JSON object per line
    Json,
}

/// Runs `prices`.
///
/// # Errors
/// When the catalogue cannot be read, an argument names nothing, or the output cannot be written.
pub(super) fn run(args: PricesArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        catalogue_file: args.catalogue,
        ..Settings::default()
    };
    let catalogue = Catalogue::open(&settings, parse_model_ref).context("read the prices")?;
    match args.command {
        PricesCommand::Show(args) => show::run(&catalogue, &args),
        PricesCommand::Quote(args) => quote::run(&catalogue, *args),
    }
}

/// The unit in which the catalogue lists a dimension.
fn listed_unit(dimension: &Dimension) -> &'static str {
    if dimension.is_tokens() {
        "per_1M"
    } else {
        "per_1"
    }
}

/// The price of that unit.
fn listed_price(dimension: &Dimension, per_unit: Usd) -> Usd {
    let units = if dimension.is_tokens() { 1_000_000 } else { 1 };
    per_unit.checked_mul(units).unwrap_or(per_unit)
}
