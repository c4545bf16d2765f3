//! `bedrock-meter budgets test-alert`: whether the outlets of a configuration take a notice.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::{TestedOutlet, test_alert};
use crate::cli::output::{Table, printing};
use crate::cli::serve;
use crate::domain::Keyword as _;

/// Sends a test notice through the outlets of a configuration, and prints what each answered
///
/// Nothing is written to the delivery log. Exit codes: 0 every outlet took it, 1 one did not.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bedrock-meter budgets test-alert --outlet ops --config bedrock-meter.toml")]
pub(super) struct TestAlertArgs {
    /// Only this outlet; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    outlet: Vec<String>,
    /// The budget that the notice names [default: none]
    #[arg(long, value_name = "NAME")]
    budget: Option<String>,
    /// The configuration [default: built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Sends it.
///
/// # Errors
/// When it cannot be done.
pub(super) fn run(args: &TestAlertArgs) -> anyhow::Result<ExitCode> {
    let settings = match serve::settings(args.config.as_deref()) {
        Ok(settings) => settings,
        Err(bad_configuration) => return Ok(bad_configuration),
    };
    anyhow::ensure!(
        !settings.alerts.outlets.is_empty(),
        "the configuration has no outlets: add one as docs/alerts.md shows"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tested = test_alert(&settings, &args.outlet, args.budget.as_deref());
    let (id, tested) = runtime.block_on(tested)?;
    let all_took = tested.iter().all(|one| one.answer.is_ok());
    printing(|out| {
        writeln!(out, "notice {id}")?;
        let mut table = Table::new(&["OUTLET", "KIND", "TAKEN", "ANSWER", "MS"]);
        for one in &tested {
            table.push(cells(one));
        }
        table.write(out)?;
        Ok(if all_took {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

fn cells(one: &TestedOutlet) -> Vec<String> {
    let (taken, answer) = match &one.answer {
        Ok(answer) => ("yes", answer),
        Err(why) => ("no", why),
    };
    vec![
        one.outlet.clone(),
        one.kind.name().to_owned(),
        taken.to_owned(),
        answer.clone(),
        one.took.as_millis().to_string(),
    ]
}
