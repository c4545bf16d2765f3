//! `bedrock-meter simulate`: the Bedrock simulator alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::printing;
use crate::simulator::{self, RefusedAction, Settings};

/// Runs the Bedrock simulator: an endpoint for tests and loads, with no AWS account behind it
#[derive(Debug, Args)]
#[command(
    after_help = "Example: bedrock-meter simulate --listen 127.0.0.1:9000 --bill-log bill.ndjson

It accepts requests signed with AWS_ACCESS_KEY_ID=AKIASIMULATOREXAMPLE and
AWS_SECRET_ACCESS_KEY=simulator/secret/EXAMPLEKEY, or with the API key of --bearer-key, or any with
--no-verify. It also plays the control plane and STS, and the failures that `bedrock-meter doctor`
looks for:

  --refuse bedrock:InvokeModel=AccessDeniedException     no permission for one action
  --refuse '*=ThrottlingException'                       everything is throttled
  --refuse '*=ExpiredTokenException'                     the session token has expired
  --refuse sts:AssumeRole/ROLE=AccessDeniedException     that role trusts nobody here
  --clock-skew 600                                       its clock is ten minutes ahead
  --serve-region us-west-2                               signatures for other regions are refused
  --without-model anthropic.claude-opus-5-5              that model is not offered here"
)]
pub(super) struct SimulateArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Append one JSON line per request: what was served and would be billed
    #[arg(long, value_name = "FILE")]
    bill_log: Option<PathBuf>,
    /// Accept any signature, or none
    #[arg(long)]
    no_verify: bool,
    /// The Bedrock API key that it accepts as `Authorization: Bearer`
    #[arg(long, default_value = "ABSKsimulatorEXAMPLE", value_name = "KEY")]
    bearer_key: String,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of 100 generations, how many fail
    #[arg(long, default_value_t = 0, value_name = "PERCENT")]
    faults: u8,
    /// Always refuse an action, such as `sts:GetCallerIdentity`, or `*`; repeatable
    #[arg(long, value_name = "ACTION=CLASS")]
    refuse: Vec<RefusedAction>,
    /// Seconds that the sessions of assumed roles last, whatever is asked for
    #[arg(long, value_name = "SECONDS")]
    session_seconds: Option<u32>,
    /// Seconds that its clock is ahead of the machine's; may be negative
    #[arg(
        long,
        default_value_t = 0,
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    clock_skew: i64,
    /// Accept signatures for this region only; repeatable
    #[arg(long, value_name = "REGION")]
    serve_region: Vec<String>,
    /// Do not offer this model; repeatable
    #[arg(long, value_name = "MODEL")]
    without_model: Vec<String>,
}

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        listen: args.listen,
        seed: args.seed,
        bill_log: args.bill_log.clone(),
        verify: !args.no_verify,
        bearer_key: args.bearer_key.clone(),
        faults_percent: args.faults,
        session_seconds: args.session_seconds,
        refused: args.refuse.clone(),
        clock_skew_seconds: args.clock_skew,
        regions: args.serve_region.clone(),
        absent_models: args.without_model.clone(),
        ..Settings::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let running = simulator::start(settings).await?;
        printing(|out| {
            writeln!(out, "simulator listening on http://{}", running.address())?;
            Ok(ExitCode::SUCCESS)
        })?;
        super::stopped().await?;
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}
