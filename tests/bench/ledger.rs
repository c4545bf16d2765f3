//! The ledger by itself: entries appended in a second, how long one waits for its commit at a steady
//! rate, and a report over many.
//!
//! Like `callers` it calls the library: the proxy in front would be what is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bedrock_meter::domain::{
    ApplicationId, CallId, Capacity, Charge, ChargeLine, Dimension, Entry, Geography, ModelRef,
    Operation, Outcome, Rate, Reading, Region, TenantId, Timestamp, Usage, Usd,
};
use bedrock_meter::ledger::{
    GroupBy, Journal, Ledger, LedgerReader, Settings, Span, Spill, SpillState,
};
use bedrock_meter::telemetry::{self, KnownNames, Metrics};

/// What `ledger` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Entries that are appended as fast as it goes.
    #[arg(long, default_value_t = 400_000)]
    entries: usize,
    /// Entries a second for the wait.
    #[arg(long, default_value_t = 2_000)]
    rate: usize,
    /// How long at that rate.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Entries of the ledger that is reported on.
    #[arg(long, default_value_t = 10_000_000)]
    report: usize,
}

/// The settling thread commits at most so many together.
const BATCH: usize = 2_000;
/// `ledger.commit_interval`.
const INTERVAL: Duration = Duration::from_millis(20);
const DAY_MS: i64 = 86_400_000;
/// 2026-01-01.
const YEAR_MS: i64 = 1_767_225_600_000;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    append(options.entries)?;
    wait(options.rate, options.seconds)?;
    report(options.report)
}

/// One of forty workloads and three models, in any hour of the year.
fn entry(number: usize, opened_at: i64) -> anyhow::Result<Entry> {
    let usage: Usage = [
        (Dimension::InputTokens, 1200),
        (Dimension::OutputTokens, 34),
    ]
    .into_iter()
    .collect();
    let lines = [
        (Dimension::InputTokens, 1200, 3_000_000_000),
        (Dimension::OutputTokens, 34, 15_000_000_000),
    ];
    let lines = lines.map(|(dimension, quantity, femto)| {
        let per_unit = Usd::from_femto(femto);
        ChargeLine {
            amount: per_unit.checked_mul(quantity).unwrap_or_default(),
            dimension,
            quantity,
            rate: Rate {
                id: "anthropic.claude-sonnet-4-5/standard/global".into(),
                per_unit,
            },
        }
    });
    let model = format!("anthropic.claude-{}-v1:0", number % 3);
    Ok(Entry {
        call_id: CallId::generate(Timestamp::from_unix_ms(opened_at)),
        opened_at: Timestamp::from_unix_ms(opened_at),
        settled_at: Timestamp::from_unix_ms(opened_at + 900),
        tenant: TenantId::new(&format!("team-{}", number % 10))?,
        application: ApplicationId::new(&format!("app-{}", number % 40))?,
        user: Some("hashed-user-0123456789abcdef".into()),
        session: None,
        operation: Operation::ConverseStream,
        model: Some(ModelRef {
            asked: model.as_str().into(),
            base: Some(model.as_str().into()),
            geography: Geography::Global,
            capacity: Capacity::OnDemand,
        }),
        region: Region::new("us-east-1")?,
        tier_asked: None,
        outcome: Outcome::Success,
        status: Some(200),
        error_class: None,
        aws_request_id: Some("01234567-89ab-cdef-0123-456789abcdef".into()),
        sdk_invocation_id: Some("fedcba98-7654-3210-fedc-ba9876543210".into()),
        sdk_attempt: Some(1),
        request_bytes: 2_000,
        response_bytes: 4_000,
        first_byte_ms: Some(300),
        duration_ms: 900,
        reading: Reading::reported(usage, "events"),
        charge: Charge::of(lines.into()),
        catalogue: "2026-11-01".into(),
        key: None,
        reserved: None,
        downgraded_from: None,
    })
}

fn append(entries: usize) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let mut ledger = Ledger::open(&Settings::in_directory(home.path()))?;
    let mut took = Duration::ZERO;
    for first in (0..entries).step_by(BATCH) {
        let at = YEAR_MS + i64::try_from(first)?;
        let batch: anyhow::Result<Vec<Entry>> =
            (first..first + BATCH).map(|n| entry(n, at)).collect();
        let batch = batch?;
        let begun = Instant::now();
        ledger.append(&batch)?;
        took += begun.elapsed();
    }
    let rate = entries as f64 / took.as_secs_f64();
    println!("appended: {rate:.0} entries a second, in batches of {BATCH} (must: 20,000)");
    Ok(())
}

/// Entries come at a steady rate; how long each waits from its end to its commit.
fn wait(rate: usize, seconds: u64) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let settings = Settings::in_directory(home.path());
    let ledger = Ledger::open(&settings)?;
    let metrics = Metrics::new(&telemetry::Settings::default(), &KnownNames::default())?;
    let spill = Spill::open(&settings)?;
    let state = Arc::<SpillState>::default();
    let mut journal = Journal::start(ledger, spill, Arc::clone(&state), Arc::new(metrics))?;
    let apart = Duration::from_secs(1) / u32::try_from(rate)?;
    let begun = Instant::now();
    let mut waited = Vec::new();
    let mut next = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        // The settling thread's way: what has come within an interval is committed together.
        std::thread::sleep(INTERVAL);
        let mut ended = Vec::new();
        let mut batch = Vec::new();
        while apart * u32::try_from(next)? <= begun.elapsed() {
            ended.push(apart * u32::try_from(next)?);
            batch.push(entry(next, YEAR_MS)?);
            next += 1;
        }
        journal.append(&Arc::new(batch))?;
        let now = begun.elapsed();
        waited.extend(ended.into_iter().map(|end| now.saturating_sub(end)));
    }
    waited.sort();
    let at = |percent: usize| waited[(waited.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let (p50, p99) = (at(50), at(99));
    println!(
        "commit lag at {rate} a second: p50 {p50:.1} ms, p99 {p99:.1} ms (must: 50), \
         commit_interval included; {} went to the spill",
        state.entries()
    );
    journal.close();
    Ok(())
}

fn report(entries: usize) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let settings = Settings::in_directory(home.path());
    let mut ledger = Ledger::open(&settings)?;
    let begun = Instant::now();
    let step = 365 * DAY_MS / i64::try_from(entries)?.max(1);
    for first in (0..entries).step_by(BATCH) {
        let batch: anyhow::Result<Vec<Entry>> = (first..first + BATCH)
            .map(|n| entry(n, YEAR_MS + i64::try_from(n)? * step))
            .collect();
        ledger.append(&batch?)?;
    }
    println!(
        "filled: {entries} entries of a year in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    drop(ledger);
    let reader = LedgerReader::open(home.path())?;
    let by = [GroupBy::Tenant, GroupBy::Application, GroupBy::Model];
    let before = resident_bytes()?;
    let month = |from: i64, to: i64| Span {
        from: Timestamp::from_unix_ms(YEAR_MS + from),
        to: Timestamp::from_unix_ms(YEAR_MS + to),
    };
    for (what, span) in [
        ("a year", month(0, 365 * DAY_MS)),
        ("a month", month(30 * DAY_MS, 60 * DAY_MS)),
        (
            "ten months with ragged ends",
            month(1_234_567, 300 * DAY_MS + 7_654_321),
        ),
    ] {
        let begun = Instant::now();
        let groups = reader.summary(&by, span)?.groups;
        let calls: u64 = groups.iter().map(|group| group.sums.calls).sum();
        let took = begun.elapsed().as_secs_f64();
        println!("report over {what}: {calls} calls in {took:.3} s (must: seconds)");
    }
    let grown = resident_bytes()?.saturating_sub(before);
    println!(
        "memory of these reports: {:.1} MiB",
        grown as f64 / 1_048_576.0
    );
    Ok(())
}

/// Bytes of this process in memory.
fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no VmRSS")?.parse::<u64>()? * 1024)
}
