//! What leaves the process about settled calls: starts the collector's task and the access log's
//! thread, and waits for both at the end, within a limit.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::collector::Collector;
use crate::config::Settings;
use crate::telemetry::{AccessLog, Metrics, Sinks};

/// The ways out; each ends by itself when the settling thread has.
#[derive(Default)]
pub(super) struct Outlets {
    collector: Option<JoinHandle<()>>,
    access_log: Option<oneshot::Receiver<()>>,
}

/// Opens what the settings name. To be called on the main runtime.
pub(super) fn open(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Sinks, Outlets)> {
    let mut sinks = Sinks::none();
    let mut outlets = Outlets::default();
    let otlp = &settings.telemetry.otlp;
    if let Some(endpoint) = &otlp.endpoint {
        let (sender, calls) = mpsc::channel(otlp.queue_max);
        let collector = Collector::new(endpoint, settings, calls, Arc::clone(metrics));
        let collector = collector.context("prepare the way to telemetry.otlp.endpoint")?;
        outlets.collector = Some(tokio::spawn(collector.run()));
        sinks.collector = Some(sender);
        sinks.traces = otlp.traces;
        sinks.sample_percent = otlp.sample_percent;
    }
    if let Some(path) = &settings.telemetry.access_log {
        let opened = AccessLog::open(path, Arc::clone(metrics));
        let (log, sender) =
            opened.with_context(|| format!("open the access log {}", path.display()))?;
        let (done, ended) = oneshot::channel();
        let write = move || {
            log.run();
            // Nobody waits any more when the limit has passed.
            let _late = done.send(());
        };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(write)
            .context("start the access log's thread")?;
        outlets.access_log = Some(ended);
        sinks.access_log = Some(sender);
    }
    Ok((sinks, outlets))
}

impl Outlets {
    /// Waits until what has gathered is out, or the limit passes.
    pub(super) async fn flush(self) {
        let all = async {
            if let Some(ended) = self.access_log {
                let _written = ended.await;
            }
            if let Some(collector) = self.collector {
                let _sent = collector.await;
            }
        };
        if tokio::time::timeout(FLUSH_MAX, all).await.is_err() {
            let message = "the collector or the access log did not take all in time";
            tracing::warn!(event = "telemetry_flush_timeout", "{message}");
        }
    }
}

/// How long a stop waits for collector and access log.
const FLUSH_MAX: Duration = Duration::from_secs(5);
