//! Demo traffic: five teams calling through the real AWS SDK for Rust.
//!
//! What is called is drawn from the seed and the number of the call (`plan`); the answers are
//! scripted by `x-simulate`, which a proxy passes through. Failures and aborts are part of it.

mod call;
mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use call::Outcome;
use plan::Plan;

/// What traffic to make.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL to call, without a path.
    pub endpoint: String,
    /// Whether to say in the base path who calls (`/tenant/{team}/application/{name}`), as the
    /// proxy reads it; Bedrock itself has no base path.
    pub base_paths: bool,
    /// How many calls to make; `None` until stopped.
    pub calls: Option<u64>,
    /// How many calls are under way at once.
    pub concurrency: u16,
    /// Calls started per second; `None` as fast as they are answered.
    pub rate: Option<u32>,
    /// Seed of all draws.
    pub seed: u64,
    /// The access key that signs.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl Default for Settings {
    fn default() -> Self {
        let simulator = super::Settings::default();
        Self {
            endpoint: "http://127.0.0.1:8080".to_owned(),
            base_paths: true,
            calls: None,
            concurrency: 16,
            rate: None,
            seed: 1,
            access_key_id: simulator.access_key_id,
            secret_access_key: simulator.secret_access_key,
        }
    }
}

/// How the calls ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All calls that ended.
    pub calls: u64,
    /// Answered to the last byte.
    pub completed: u64,
    /// Left by the client in mid-stream, on purpose.
    pub aborted: u64,
    /// Failed because the answer was scripted to.
    pub faults: u64,
    /// Failed for any other reason.
    pub failures: u64,
    /// What the first of those failures was.
    pub first_failure: Option<&'static str>,
}

/// What the workers share.
struct Traffic {
    settings: Settings,
    client: Client,
    next: AtomicU64,
    pace: Option<Mutex<Interval>>,
}

/// Makes traffic until all calls are made or `stop` is cancelled.
pub async fn run(settings: Settings, stop: CancellationToken) -> Summary {
    let traffic = Arc::new(Traffic {
        client: client(&settings),
        pace: settings.rate.map(pace),
        next: AtomicU64::new(0),
        settings,
    });
    let mut workers = JoinSet::new();
    for _ in 0..traffic.settings.concurrency.max(1) {
        let (traffic, stop) = (Arc::clone(&traffic), stop.clone());
        workers.spawn(async move { traffic.work(&stop).await });
    }
    let mut summary = Summary::default();
    while let Some(worked) = workers.join_next().await {
        if let Ok(part) = worked {
            summary.add(part);
        }
    }
    summary
}

impl Traffic {
    async fn work(&self, stop: &CancellationToken) -> Summary {
        let mut summary = Summary::default();
        while let Some(number) = self.ticket() {
            match stop.run_until_cancelled(Box::pin(self.call(number))).await {
                Some(outcome) => summary.count(outcome),
                None => break,
            }
        }
        summary
    }

    /// The number of the next call, unless all were made.
    fn ticket(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let wanted = self.settings.calls.is_none_or(|calls| number < calls);
        wanted.then_some(number)
    }

    async fn call(&self, number: u64) -> Outcome {
        if let Some(pace) = &self.pace {
            pace.lock().await.tick().await;
        }
        let plan = Plan::draw(self.settings.seed, number);
        call::make(&self.client, &self.settings, &plan).await
    }
}

impl Summary {
    fn count(&mut self, outcome: Outcome) {
        let mut one = Self {
            calls: 1,
            ..Self::default()
        };
        match outcome {
            Outcome::Completed => one.completed = 1,
            Outcome::Aborted => one.aborted = 1,
            Outcome::Fault => one.faults = 1,
            Outcome::Failed(what) => {
                one.failures = 1;
                one.first_failure = Some(what);
            }
        }
        self.add(one);
    }

    fn add(&mut self, part: Self) {
        self.calls += part.calls;
        self.completed += part.completed;
        self.aborted += part.aborted;
        self.faults += part.faults;
        self.failures += part.failures;
        self.first_failure = self.first_failure.or(part.first_failure);
    }
}

/// One client for all teams: they share its connections, and differ in what each call overrides.
fn client(settings: &Settings) -> Client {
    let credentials = Credentials::new(
        &settings.access_key_id,
        &settings.secret_access_key,
        None,
        None,
        "traffic",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

fn pace(rate: u32) -> Mutex<Interval> {
    let mut interval = interval(Duration::from_secs(1) / rate.max(1));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Mutex::new(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator;

    #[tokio::test]
    async fn the_real_sdk_makes_every_kind_of_call() {
        let running = simulator::start(simulator::Settings::default())
            .await
            .unwrap();
        let settings = Settings {
            endpoint: format!("http://{}", running.address()),
            base_paths: false,
            calls: Some(120),
            ..Settings::default()
        };
        let summary = run(settings, CancellationToken::new()).await;
        running.stop().await;
        let ended = summary.completed + summary.aborted + summary.faults;
        assert_eq!((summary.calls, ended), (120, 120), "{summary:?}");
        assert!(summary.aborted > 0, "{summary:?}");
        assert!(summary.completed > 90, "{summary:?}");
    }

    #[tokio::test]
    async fn traffic_stops_when_told_to() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(run(Settings::default(), stop).await, Summary::default());
    }
}
