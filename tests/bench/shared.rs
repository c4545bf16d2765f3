//! What a reservation costs that replicas share: one round trip to a Redis of this machine, as a
//! ratio to a bare PING over the same kind of connection, measured in turns.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bedrock_meter::budgets::{Budgets, Spent};
use bedrock_meter::domain::{CallId, Clock as _, Secret, Subject, SystemClock, TenantId, Usd};
use bedrock_meter::replicas::{Answer, LedgerOf, Settings, Store};
use bedrock_meter::telemetry::{self, KnownNames, Metrics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A Redis of this run on a socket file.
struct Redis {
    child: Child,
    directory: tempfile::TempDir,
}

impl Redis {
    /// `None` where none is installed.
    fn start() -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
        command
            .arg("--unixsocket")
            .arg(directory.path().join("redis.sock"));
        command.arg("--dir").arg(directory.path());
        let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
            return Ok(None);
        };
        let output = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(output).lines();
        let is_ready = lines.any(|line| line.is_ok_and(|line| line.contains("eady to accept")));
        anyhow::ensure!(is_ready, "redis-server does not start");
        std::thread::spawn(move || lines.count());
        Ok(Some(Self { child, directory }))
    }

    fn note(&self) -> std::path::PathBuf {
        self.directory.path().join("untold")
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("redis.sock")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Measures, and prints a row; says so where there is no `redis-server`.
pub(crate) fn run(budgets: &Budgets, tenants: &[TenantId], times: u32) -> anyhow::Result<()> {
    let Some(redis) = Redis::start()? else {
        println!("shared reservation: left out, redis-server is not installed");
        return Ok(());
    };
    // A runtime with a thread of its own, as the proxy has; the caller's cannot wait for it.
    let measured = std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let work = measure(redis, budgets.clone(), tenants.to_vec(), times);
            runtime.block_on(runtime.spawn(work))?
        });
        measuring.join().expect("it measures")
    });
    let (mut reserving, mut pinging) = measured?;
    let of = |times: &mut Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        [times[times.len() / 2], times[times.len() * 99 / 100]]
    };
    let ([p50, p99], [ping, ping_p99]) = (of(&mut reserving), of(&mut pinging));
    println!(
        "shared reservation with 3 budgets: p50 {p50:.0} us, p99 {p99:.0} us; PING p50 {ping:.0} us, \
         p99 {ping_p99:.0} us; ratio {:.2} (one round trip)",
        p50 / ping
    );
    Ok(())
}

async fn measure(
    redis: Redis,
    budgets: Budgets,
    tenants: Vec<TenantId>,
    times: u32,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let settings = Settings {
        redis_url: Some(Secret::new(&format!("unix://{}", redis.socket().display()))),
        timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    let metrics = Metrics::new(&telemetry::Settings::default(), &KnownNames::default())?;
    let (store, keeper) = Store::new(&settings, LedgerOf::All, Arc::new(metrics), redis.note());
    let keeper = tokio::spawn(keeper.run());
    anyhow::ensure!(
        store.wait_up(Duration::from_secs(10)).await,
        "no connection"
    );
    // The ledger is empty.
    let (asked, known) = (store.clone(), budgets.clone());
    let ledger = tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        loop {
            beat.tick().await;
            if let Some(epoch) = asked.wants_sums() {
                asked.sum(epoch, known.shared_books(&[], SystemClock.now()));
            }
        }
    });
    let mut bare = UnixStream::connect(redis.socket()).await?;
    let (mut reserving, mut pinging) = (Vec::new(), Vec::new());
    for (time, tenant) in (0..times).zip(tenants.iter().cycle()) {
        let begun = Instant::now();
        ping(&mut bare).await?;
        let pinged = begun.elapsed();
        let reserved = reserve(&store, &budgets, tenant).await?;
        // The first waits for the store to open, and for sums.
        if time > 0 {
            pinging.push(pinged.as_secs_f64() * 1e6);
            reserving.push(reserved.as_secs_f64() * 1e6);
        }
    }
    keeper.abort();
    ledger.abort();
    Ok((reserving, pinging))
}

async fn ping(bare: &mut UnixStream) -> anyhow::Result<()> {
    let mut answer = [0; 7];
    bare.write_all(b"PING\r\n").await?;
    bare.read_exact(&mut answer).await?;
    anyhow::ensure!(&answer == b"+PONG\r\n", "{answer:?}");
    Ok(())
}

/// From what applies to a call to its reservation; its settlement is told beside it.
async fn reserve(store: &Store, budgets: &Budgets, tenant: &TenantId) -> anyhow::Result<Duration> {
    let now = SystemClock.now();
    let subject = Subject {
        tenant,
        application: "web",
        model: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        key: None,
        user: None,
        session: None,
    };
    let most: Usd = "0.0215".parse()?;
    let call = CallId::generate(now);
    let begun = Instant::now();
    let enrolled = budgets.enroll(&subject, now, Some(most));
    let applying = budgets.applying(&subject, now).of(enrolled);
    let bid = applying.bid(|_, _| Some(most));
    let answer = store.reserve(call, &bid.wants()).await;
    let Ok(Answer::Taken(positions)) = answer else {
        anyhow::bail!("{answer:?} instead of room");
    };
    let held = bid.taken(&positions);
    let reserved = begun.elapsed();
    let spent = Spent {
        subject,
        at: now,
        amount: "0.003".parse()?,
    };
    budgets.settle(held.sent(), &spent);
    store.settle(call, budgets.shared_counters(&subject, now), spent.amount);
    anyhow::ensure!(store.flush(Duration::from_secs(10)).await, "it is told");
    Ok(reserved)
}
