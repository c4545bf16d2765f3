//! The thread that tells people. Calls never meet it; it reads what other threads leave.

mod again;
mod desk;
mod log;
#[cfg(test)]
mod log_tests;
mod moved;
mod place;
mod road;
mod shared;
mod signals;
mod teller;
mod test_alert;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use place::LogPlace;
pub(super) use signals::SignalSource;
use teller::Teller;
pub use test_alert::{TestedOutlet, test_alert};

use crate::alerts::{Settings, Signal, SuddenSettings};
use crate::domain::{BudgetStanding, Clock};
use crate::telemetry::Metrics;
use crate::upstream::{self, CredentialStore};

/// Where the budgets of this process stand, asked about once a second.
pub(super) type Standings = Box<dyn Fn() -> Vec<BudgetStanding> + Send>;

/// What stands beside budgets, asked as often.
pub(super) type Signals = Box<dyn FnMut(&SuddenSettings) -> Vec<Signal> + Send>;

/// What the thread works with.
pub(super) struct Alerts {
    pub(super) settings: Settings,
    pub(super) upstream: upstream::Settings,
    pub(super) log: LogPlace,
    pub(super) standings: Standings,
    pub(super) signals: Signals,
    pub(super) credentials: CredentialStore,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The running thread. It ends when this is dropped, and waits a little for what is on its way.
pub(super) struct AlertsThread {
    /// Another configuration goes in here.
    pub(super) settings: watch::Sender<Settings>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AlertsThread {
    /// Starts it.
    ///
    /// # Errors
    /// When an outlet cannot be had.
    pub(super) fn start(alerts: Alerts) -> anyhow::Result<Self> {
        let (settings, changed) = watch::channel(alerts.settings.clone());
        let teller = Teller::new(alerts)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("alerts".to_owned())
            .spawn(move || runtime.block_on(teller.run(changed, stopped)))
            .context("start the thread of alerts")?;
        Ok(Self {
            settings,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for AlertsThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "alerts_failed", "the thread of alerts panicked");
        }
    }
}
