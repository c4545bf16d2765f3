//! The whole measurement: rounds of scenarios, in each the targets one after another in an order
//! that rotates, each process started fresh.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::frames::DELTAS;
use crate::load::{self, Measured};
use crate::process::{cpu_seconds, pss_mb};
use crate::protocol::make_certificate;
use crate::scenario::{Metric, SCENARIOS, Scenario};
use crate::table::{self, Results};
use crate::target::{Rig, Running, Target};

/// How to measure.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The bedrock-meter binary.
    #[arg(long, default_value = "target/release/bedrock-meter")]
    meter: PathBuf,
    /// What to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "direct,passthrough,nginx,meter,budgeted,all-on"
    )]
    targets: Vec<Target>,
    /// Only these scenarios of docs/performance.md.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Each round measures every scenario and target once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Also write all numbers to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cores of the fake upstream; run this program on the same ones.
    #[arg(long, default_value = "0")]
    upstream_core: String,
    /// Core of the proxies.
    #[arg(long, default_value = "1")]
    proxy_core: String,
}

/// One target under one load, once.
pub(crate) struct Cell {
    pub(crate) round: usize,
    pub(crate) scenario: &'static str,
    pub(crate) target: Target,
    pub(crate) measured: Measured,
    /// CPU seconds of the target's processes in the window; none for `Direct`.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) idle_mb: Option<f64>,
    pub(crate) loaded_mb: Option<f64>,
}

impl Cell {
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        let per = |count: u64| {
            let seconds = self.cpu_seconds.filter(|_| count > 0)?;
            Some(seconds * 1e6 / count as f64)
        };
        match metric {
            Metric::CpuPerCall => per(self.measured.calls),
            Metric::CpuPerFrame => per(self.measured.frames),
            Metric::AddedP50 => self.measured.latency_p50_us,
            Metric::AddedP99 => self.measured.latency_p99_us,
            Metric::FrameLag => self.measured.lag_p50_us,
            Metric::IdleMemory => self.idle_mb,
            Metric::LoadedMemory | Metric::MemoryPerFurtherStream => self.loaded_mb,
        }
    }
}

/// Measures everything, prints the table and fails when a number cannot be trusted.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let targets = present(&options)?;
    let scenarios = chosen(&options.only)?;
    let folder = tempfile::tempdir()?;
    make_certificate(folder.path())?;
    let rig = Rig {
        meter: options.meter.clone(),
        upstream_core: options.upstream_core.clone(),
        proxy_core: options.proxy_core.clone(),
        folder: folder.path().to_owned(),
    };
    let mut cells = Vec::new();
    for round in 0..options.rounds {
        for scenario in &scenarios {
            for target in in_turn(scenario, &targets, round) {
                let cell = measure(&rig, scenario, target, options.seconds, round).await;
                cells.push(cell.with_context(|| format!("{}, {}", scenario.name, target.name()))?);
            }
        }
        eprintln!("round {} of {} done", round + 1, options.rounds);
    }
    let results = Results::new(cells, options.seconds);
    println!("{}", table::markdown(&results));
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&table::json(&results))?)?;
    }
    table::verdict(&results)
}

/// The wanted targets; a missing nginx is left out loudly, anything else missing is an error.
fn present(options: &Options) -> anyhow::Result<Vec<Target>> {
    let mut targets = options.targets.clone();
    let nginx = Command::new("nginx").arg("-v").output().is_ok();
    if !nginx && targets.contains(&Target::Nginx) {
        eprintln!("NO NGINX: its rows are left out and nobody checks that the baseline is fast");
        targets.retain(|target| *target != Target::Nginx);
    }
    let meter = targets.contains(&Target::Meter);
    ensure!(
        !meter || options.meter.exists(),
        "no binary at {}",
        options.meter.display()
    );
    Ok(targets)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        bail!("no scenario is called {unknown}");
    }
    let wanted =
        |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

/// The scenario's targets, in each round another one first.
fn in_turn(scenario: &Scenario, targets: &[Target], round: usize) -> Vec<Target> {
    let wanted = |target: &Target| targets.contains(target);
    let mut order: Vec<Target> = scenario.targets.iter().copied().filter(wanted).collect();
    if !order.is_empty() {
        let first = round % order.len();
        order.rotate_left(first);
    }
    order
}

async fn measure(
    rig: &Rig,
    scenario: &Scenario,
    target: Target,
    seconds: f64,
    round: usize,
) -> anyhow::Result<Cell> {
    let upstream = rig.upstream(scenario.gap_ms, scenario.way)?;
    let running = rig.target(target, scenario.way, upstream.address)?;
    let address = running
        .as_ref()
        .map_or(upstream.address, |running| running.address);
    let pid = running.as_ref().map(Running::pid);
    // Memory is asked for only where it is a row: the question itself costs the target time.
    let memory_of = pid.filter(|_| scenario.measures_memory());
    let probe = || {
        let cpu = pid.map(cpu_seconds).transpose()?;
        anyhow::Ok((cpu, memory_of.map(pss_mb).transpose()?))
    };
    let idle_mb = memory_of.map(pss_mb).transpose()?;
    let load = load::Options {
        target: address,
        protocol: scenario.way.protocol,
        certificates: Some(rig.folder.clone()),
        operation: scenario.operation.to_owned(),
        body_bytes: scenario.body_bytes,
        deltas: DELTAS,
        connections: scenario.connections,
        fresh: scenario.fresh,
        rate: scenario.rate,
        warm_up: scenario.warm_up,
        seconds,
    };
    let (measured, [(before, _), (after, loaded_mb)]) = load::measure(&load, probe).await?;
    let cpu_seconds = before.zip(after).map(|(before, after)| after - before);
    Ok(Cell {
        round,
        scenario: scenario.name,
        target,
        measured,
        cpu_seconds,
        idle_mb,
        loaded_mb,
    })
}
