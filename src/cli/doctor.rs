//! `bedrock-meter doctor`: is the road to AWS open, and what mends it where it is not?

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{output, serve};
use crate::aws::parse_model_ref;
use crate::doctor::{Finding, Patient, State, examine};
use crate::domain::{Region, SystemClock};
use crate::pricing::Catalogue;

/// Prove the road to AWS step by step, and name what mends it
#[derive(Debug, Args)]
#[command(
    after_help = "Example: bedrock-meter doctor --config config/bedrock-meter.toml --region eu-west-1

Checks, in this order: credentials, region, reachability, clock, identity, models, prices, invoke,
stream, ledger, postgres, budget_store. Nothing is charged: it reads lists, and sends requests that Bedrock refuses.

Exit codes: 0 nothing failed, 1 something failed, 78 the configuration is not good."
)]
pub(super) struct DoctorArgs {
    /// The configuration [default: built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The region to examine [default: that of the configuration]
    #[arg(long)]
    region: Option<Region>,
    /// A model whose use is to be proven; repeatable [default: one that the account can call]
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: DoctorFormat,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum DoctorFormat {
    /// Lines for people
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// Makes every check and prints what it found.
///
/// # Errors
/// When the catalogue cannot be read or the output not be written.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let settings = match serve::settings(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    let catalogue = Catalogue::open(&settings.prices, parse_model_ref)?;
    let region = args.region.clone();
    let patient = Patient {
        upstream: &settings.upstream,
        ledger: &settings.ledger,
        budget_store: &settings.budget_store,
        catalogue: &catalogue,
        region: region.unwrap_or_else(|| settings.upstream.default_region.clone()),
        models: args.model.clone(),
        clock: &SystemClock,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings = runtime.block_on(examine(&patient));
    output::printing(|out| {
        match args.format {
            DoctorFormat::Table => print(out, &findings, has_colours())?,
            DoctorFormat::Json => writeln!(out, "{:#}", as_json(&patient.region, &findings))?,
        }
        Ok(exit_code(&findings))
    })
}

fn exit_code(findings: &[Finding]) -> ExitCode {
    if findings
        .iter()
        .any(|finding| finding.state == State::Failed)
    {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// As no-color.org has it: any value but an empty one turns colours off.
fn has_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !refused
}

fn print(out: &mut dyn Write, findings: &[Finding], colours: bool) -> std::io::Result<()> {
    for finding in findings {
        let name = finding.state.name();
        let check = finding.check;
        if colours {
            let colour = colour(finding.state);
            write!(out, "\u{1b}[{colour}m{name:<7}\u{1b}[0m  {check:<12}  ")?;
        } else {
            write!(out, "{name:<7}  {check:<12}  ")?;
        }
        writeln!(out, "{}", finding.seen)?;
        for detail in &finding.details {
            writeln!(out, "{:23}- {detail}", "")?;
        }
        if let Some(mend) = &finding.mend {
            writeln!(out, "{:23}mend: {mend}", "")?;
        }
    }
    let count = |state| {
        findings
            .iter()
            .filter(|finding| finding.state == state)
            .count()
    };
    writeln!(
        out,
        "{} ok, {} warnings, {} failed, {} skipped",
        count(State::Ok),
        count(State::Warning),
        count(State::Failed),
        count(State::Skipped)
    )
}

/// SGR codes: green, yellow, red, and faint for what was not tried.
const fn colour(state: State) -> u8 {
    match state {
        State::Ok => 32,
        State::Warning => 33,
        State::Failed => 31,
        State::Skipped => 2,
    }
}

fn as_json(region: &Region, findings: &[Finding]) -> Value {
    let healthy = findings
        .iter()
        .all(|finding| finding.state != State::Failed);
    let check = |finding: &Finding| {
        json!({
            "check": finding.check,
            "result": finding.state.name(),
            "seen": finding.seen,
            "mend": finding.mend,
            "details": finding.details,
        })
    };
    let checks: Vec<Value> = findings.iter().map(check).collect();
    json!({"region": region.as_str(), "healthy": healthy, "checks": checks})
}
