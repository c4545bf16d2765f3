//! `bedrock-meter demo`: the whole product on one machine, with no AWS account.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::output::{printing, say};
use crate::app::Server;
use crate::config::Settings;
use crate::domain::{Clock as _, Region, Secret, SystemClock};
use crate::ledger::{GroupBy, LedgerReader, Period, Span, ledger_file};
use crate::report::{Report, summary_text};
use crate::simulator::{self, traffic};
use crate::upstream::CredentialSettings;

/// Runs everything here, with no AWS account: Bedrock simulator, proxy, traffic of five teams
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter demo --calls 2000")]
pub(super) struct DemoArgs {
    /// Stop after this many calls and print the table
    #[arg(long)]
    calls: Option<u64>,
    /// Make no traffic: point your own SDK at the proxy
    #[arg(long, conflicts_with = "calls")]
    no_traffic: bool,
    /// Where ledger, simulator's bill and metrics are written [default: a new directory under
    /// the system's temporary one]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Where the proxy listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,
    /// Where the admin listener listens
    #[arg(long, default_value = "127.0.0.1:0")]
    admin: std::net::SocketAddr,
    /// Seed of the traffic and of the answers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls per second [default: as fast as they are answered with --calls, else 40]
    #[arg(long)]
    rate: Option<u32>,
}

pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(demo(args))
}

async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let directory = directory(args)?;
    let simulator = simulator::start(simulator::Settings {
        seed: args.seed,
        bill_log: Some(directory.join("bill.ndjson")),
        ..simulator::Settings::default()
    })
    .await?;
    let server = Box::pin(Server::start(settings(args, &directory, &simulator)?)).await?;
    let proxy = format!("http://{}", server.data_address);
    say(&format!(
        "simulator listening on http://{}",
        simulator.address()
    ));
    say(&format!("data listener {proxy}"));
    say(&format!("admin listener http://{}", server.admin_address));
    say(&format!("files in {}", directory.display()));

    let stop = CancellationToken::new();
    let traffic = (!args.no_traffic).then(|| {
        let defaults = traffic::Settings::default();
        let settings = traffic::Settings {
            endpoint: proxy,
            calls: args.calls,
            rate: args
                .rate
                .or_else(|| args.calls.is_none().then_some(DEFAULT_RATE)),
            seed: args.seed,
            ..defaults
        };
        tokio::spawn(traffic::run(settings, stop.clone()))
    });
    let failures = watch(traffic, &directory, &stop).await?;

    let metrics = server.stop().await?;
    simulator.stop().await;
    std::fs::write(directory.join("metrics.txt"), metrics).context("write metrics.txt")?;
    let report = report(&directory)?;
    printing(|out| {
        out.write_all(report.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })?;
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Shows what happens until the traffic ends or somebody stops it; how many calls failed that
/// were not meant to.
async fn watch(
    traffic: Option<tokio::task::JoinHandle<traffic::Summary>>,
    directory: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TABLE_INTERVAL);
    let mut screen = Screen::default();
    let traffic = async {
        match traffic {
            Some(traffic) => traffic.await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(traffic);
    loop {
        tokio::select! {
            summary = &mut traffic => {
                let summary = summary?;
                let traffic::Summary { calls, completed, aborted, faults, failures, .. } = summary;
                say(&format!(
                    "{calls} calls: {completed} completed, {aborted} left by the client, \
                     {faults} faults on purpose, {failures} failures"
                ));
                if let Some(first) = summary.first_failure {
                    say(&format!("the first failure: {first}"));
                }
                return Ok(failures);
            }
            stopped = super::stopped() => {
                stopped?;
                stop.cancel();
                return Ok(0);
            }
            _ = tick.tick() => screen.draw(&teams(directory, begun.elapsed())?),
        }
    }
}

/// The live table: drawn over itself on a terminal, else a line now and then.
#[derive(Default)]
struct Screen {
    lines_drawn: usize,
    ticks: u32,
}

impl Screen {
    fn draw(&mut self, table: &[String]) {
        self.ticks += 1;
        if std::io::stderr().is_terminal() {
            let up = self.lines_drawn;
            if up > 0 {
                say(&format!("\x1b[{}A\x1b[J{}", up + 1, table.join("\n")));
            } else {
                say(&table.join("\n"));
            }
            self.lines_drawn = table.len();
        } else if self.ticks.is_multiple_of(PLAIN_EVERY_TICKS)
            && let Some(total) = table.last()
        {
            say(total);
        }
    }
}

/// One line per team: calls, errors, tokens, dollars, dollars per hour.
fn teams(directory: &Path, elapsed: Duration) -> anyhow::Result<Vec<String>> {
    let summary = LedgerReader::open(directory)?
        .summary(&[GroupBy::Tenant, GroupBy::Outcome], everything())?;
    let mut teams: BTreeMap<String, Team> = BTreeMap::new();
    for group in &summary.groups {
        let name = group.key.first().cloned().flatten().unwrap_or_default();
        let success = group
            .key
            .get(1)
            .is_some_and(|outcome| outcome.as_deref() == Some("success"));
        for team in [name, "all".to_owned()] {
            teams.entry(team).or_default().add(group, success);
        }
    }
    let all = teams.remove("all").unwrap_or_default();
    let mut lines = vec![format!(
        "{:<14}{:>8}{:>8}{:>14}{:>14}{:>12}",
        "team", "calls", "errors", "tokens", "dollars", "$/hour"
    )];
    lines.extend(teams.iter().map(|(name, team)| team.line(name, elapsed)));
    lines.push(all.line("all", elapsed));
    Ok(lines)
}

#[derive(Default)]
struct Team {
    calls: u64,
    errors: u64,
    tokens: u64,
    cost: crate::domain::Usd,
}

impl Team {
    fn add(&mut self, group: &crate::ledger::Group, success: bool) {
        self.calls += group.sums.calls;
        if !success {
            self.errors += group.sums.calls;
        }
        self.tokens += group.sums.tokens.iter().sum::<u64>();
        self.cost = self.cost.saturating_add(group.sums.cost);
    }

    fn line(&self, name: &str, elapsed: Duration) -> String {
        let dollars = super::output::dollars(self.cost);
        let per_hour = dollars * 3600.0 / elapsed.as_secs_f64().max(1.0);
        let Self {
            calls,
            errors,
            tokens,
            ..
        } = self;
        format!("{name:<14}{calls:>8}{errors:>8}{tokens:>14}{dollars:>14.6}{per_hour:>12.2}")
    }
}

fn directory(args: &DemoArgs) -> anyhow::Result<PathBuf> {
    let directory = args.directory.clone().unwrap_or_else(|| {
        let name = format!("bedrock-meter-demo-{}", std::process::id());
        std::env::temp_dir().join(name)
    });
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("create {}", directory.display()))?;
    anyhow::ensure!(
        !ledger_file(&directory).exists(),
        "{} holds a ledger already: give --directory another one",
        directory.display()
    );
    Ok(directory)
}

fn settings(
    args: &DemoArgs,
    directory: &Path,
    simulator: &simulator::Running,
) -> anyhow::Result<Settings> {
    let keys = simulator::Settings::default();
    let url: http::Uri = format!("http://{}", simulator.address()).parse()?;
    let mut settings = Settings::default();
    settings.listener.listen = args.listen;
    settings.admin.listen = args.admin;
    settings.ledger.directory = directory.to_path_buf();
    settings.shutdown.drain_delay = Duration::ZERO;
    let everywhere = |url: &http::Uri| -> BTreeMap<Region, http::Uri> {
        settings
            .upstream
            .regions
            .iter()
            .map(|region| (region.clone(), url.clone()))
            .collect()
    };
    let (endpoints, control_endpoints) = (everywhere(&url), everywhere(&url));
    settings.upstream.endpoints = endpoints;
    settings.upstream.control_endpoints = control_endpoints;
    settings.upstream.credentials = CredentialSettings::Static {
        access_key_id: keys.access_key_id,
        secret_access_key: Secret::new(&keys.secret_access_key),
        session_token: None,
    };
    Ok(settings)
}

fn report(directory: &Path) -> anyhow::Result<String> {
    let by = [GroupBy::Tenant, GroupBy::Application];
    let span = everything();
    let summary = LedgerReader::open(directory)?.summary(&by, span)?;
    Ok(summary_text(&Report::new(&by, span, summary)))
}

/// The months that a demo can touch.
fn everything() -> Span {
    let now = SystemClock.now();
    let month = Period::Month.containing(now);
    let before = Period::Month.containing(crate::domain::Timestamp::from_unix_ms(
        month.from.unix_ms().saturating_sub(1),
    ));
    Span {
        from: before.from,
        to: month.to,
    }
}

const DEFAULT_RATE: u32 = 40;
const TABLE_INTERVAL: Duration = Duration::from_millis(500);
const PLAIN_EVERY_TICKS: u32 = 10;
