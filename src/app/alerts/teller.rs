//! Looks each second what stands, notes it in the delivery log, and delivers.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Alerts;
use super::again::{Told, standing_for, to_tell_again};
use super::desk::Desk;
use super::log::AlertLog;
use super::road::Road;
use crate::alerts::{
    Delivery, Firing, Kind, Notice, Outcome, Settings, Signal, crossings, forecast, pause,
};
use crate::domain::{BudgetStanding, Keyword as _, Timestamp};
use crate::telemetry::BudgetGauge;
use crate::upstream;

/// What an attempt came to.
type Attempt = (Delivery, Result<String, String>);

/// The id of a notice, and an outlet that is to hear of it.
type Claim = (String, Arc<str>);

/// Who tells: what it knows between two looks.
pub(super) struct Teller {
    pub(super) alerts: Alerts,
    roads: BTreeMap<String, Arc<Road>>,
    defaults: Arc<[Arc<str>]>,
    /// None where there are no outlets: nobody is told, so nothing is written.
    log: Option<Desk>,
    /// What is in the log, of all that stands; what stands no more is forgotten while the log is there.
    claimed: HashSet<Claim>,
    /// What each outlet that hears again was told of.
    told: BTreeMap<String, Told>,
    pruned_at: Option<Instant>,
    pub(super) on_their_way: JoinSet<Attempt>,
    pub(super) again: JoinSet<(String, Result<String, String>)>,
}

impl Teller {
    /// Who tells with these.
    ///
    /// # Errors
    /// When an outlet cannot be had.
    pub(super) fn new(alerts: Alerts) -> anyhow::Result<Self> {
        let mut teller = Self {
            roads: roads(&alerts.settings, &alerts.upstream)?,
            alerts,
            defaults: Arc::default(),
            log: None,
            claimed: HashSet::new(),
            told: BTreeMap::new(),
            pruned_at: None,
            on_their_way: JoinSet::new(),
            again: JoinSet::new(),
        };
        teller.follow_settings();
        Ok(teller)
    }

    /// Puts another configuration in force; one that cannot be had leaves the old one.
    pub(super) fn reload(&mut self, settings: Settings) {
        match roads(&settings, &self.alerts.upstream) {
            Ok(roads) => {
                self.roads = roads;
                self.alerts.settings = settings;
                self.follow_settings();
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    event = "alerts_not_reloaded",
                    error,
                    "outlets stay as they were"
                );
            }
        }
    }

    fn follow_settings(&mut self) {
        if self.log.is_none() && !self.roads.is_empty() {
            let opened = Desk::open(self.alerts.log.clone());
            let opened = opened.inspect_err(|error| {
                tracing::error!(event = "alerts_failed", %error, "start the delivery log's thread");
            });
            self.log = opened.ok();
        }
        let defaults = self.alerts.settings.default_outlets.iter();
        self.defaults = defaults.map(|name| name.as_str().into()).collect();
        for kind in [Kind::Sudden, Kind::Unpriced, Kind::Store] {
            let has_outlets = !self.defaults.is_empty();
            self.alerts.metrics.alerting(kind.name(), has_outlets);
        }
        // Outlets that were not there may be.
        self.claimed.clear();
    }

    /// Tells until it is stopped, and waits a little for what is on its way.
    pub(super) async fn run(
        mut self,
        mut settings: watch::Receiver<Settings>,
        stop: CancellationToken,
    ) {
        let mut beat = tokio::time::interval(LOOK_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(attempt) = self.on_their_way.join_next() => self.settle_joined(attempt).await,
                Some(again) = self.again.join_next() => self.note_again(again),
                Ok(()) = settings.changed() => {
                    let settings = settings.borrow_and_update().clone();
                    self.reload(settings);
                }
                _instant = beat.tick() => tokio::select! {
                    () = late(&stop) => break,
                    () = self.look() => {}
                },
            }
        }
        let rest = async {
            while let Some(attempt) = self.on_their_way.join_next().await {
                self.settle_joined(attempt).await;
            }
        };
        // What does not end in time is held in the log, and due again after that.
        let _ended = tokio::time::timeout(STOP_MAX, rest).await;
    }

    pub(super) async fn look(&mut self) {
        let now = self.alerts.clock.now();
        let standings = (self.alerts.standings)();
        self.alerts.metrics.budgets(gauges(&standings, now));
        if self.log.is_none() {
            return;
        }
        let mut firing = crossings(&standings, now);
        firing.extend(self.signals(now).await);
        let standing = self.claim(&firing, now).await;
        self.deliver_due(now).await;
        self.tell_again(&firing, now);
        // Without the log nobody else would know that it was told.
        if self.keep_log(now).await {
            self.claimed = standing;
        }
    }

    async fn signals(&mut self, now: Timestamp) -> Vec<Firing> {
        if self.defaults.is_empty() {
            return Vec::new();
        }
        let mut signals = (self.alerts.signals)(&self.alerts.settings.sudden);
        if self.is_log_in_trouble().await {
            let (store, mode) = ("alerts", "the delivery log is kept in memory");
            signals.push(Signal::Trouble { store, mode });
        }
        let firing = |signal: &Signal| Firing {
            notice: signal.notice(now),
            outlets: Arc::clone(&self.defaults),
        };
        signals.iter().map(firing).collect()
    }

    async fn is_log_in_trouble(&self) -> bool {
        match &self.log {
            Some(log) => log.with(|log| log.is_in_trouble()).await == Some(true),
            None => false,
        }
    }

    /// Notes each notice for each of its outlets, once. Returns all that is noted.
    async fn claim(&mut self, firing: &[Firing], now: Timestamp) -> HashSet<Claim> {
        let mut standing = HashSet::new();
        for one in firing {
            for outlet in &*one.outlets {
                let key = (one.notice.id.clone(), Arc::clone(outlet));
                if self.claimed.contains(&key) || self.claim_one(&one.notice, outlet, now).await {
                    standing.insert(key);
                }
            }
        }
        self.claimed.extend(standing.iter().cloned());
        standing
    }

    async fn claim_one(&self, notice: &Notice, outlet: &Arc<str>, now: Timestamp) -> bool {
        if !self.roads.contains_key(&**outlet) {
            let message = "a budget names an outlet that there is not";
            tracing::warn!(
                event = "alert_outlet_unknown",
                outlet = &**outlet,
                "{message}"
            );
            return true;
        }
        let Some(log) = &self.log else {
            return false;
        };
        let (notice, outlet) = (notice.clone(), Arc::clone(outlet));
        let claim = move |log: &mut AlertLog| log.claim(&notice, &outlet, now);
        log.with(claim).await == Some(true)
    }

    async fn deliver_due(&mut self, now: Timestamp) {
        let room = ON_THEIR_WAY_MAX.saturating_sub(self.on_their_way.len());
        let Some(log) = self.log.as_ref().filter(|_| room > 0) else {
            return;
        };
        let hold = self.alerts.settings.timeout.saturating_mul(ADDRESSES_MAX) + HOLD_MARGIN;
        let due = log.with(move |log| log.take_due(room, hold, now)).await;
        for delivery in due.unwrap_or_default() {
            let road = self.roads.get(&delivery.outlet).cloned();
            let authority = self.alerts.credentials.current(now);
            self.on_their_way.spawn(async move {
                let told = match road {
                    Some(road) => road.tell(&delivery.notice, authority, now).await,
                    None => Err("there is no such outlet in the configuration".to_owned()),
                };
                (delivery, told)
            });
        }
    }

    pub(super) async fn settle_joined(&self, attempt: Result<Attempt, JoinError>) {
        match attempt {
            Ok((delivery, told)) => self.settle(delivery, told).await,
            Err(error) => {
                tracing::error!(event = "alerts_failed", %error, "a delivery panicked");
            }
        }
    }

    async fn settle(&self, delivery: Delivery, told: Result<String, String>) {
        let now = self.alerts.clock.now();
        let metrics = &self.alerts.metrics;
        let Delivery {
            notice,
            outlet,
            attempts,
            ..
        } = &delivery;
        let (id, kind) = (notice.id.as_str(), notice.kind.name());
        let outcome = match told {
            Ok(_status) => {
                metrics.alert_sent(outlet, kind);
                tracing::info!(
                    event = "alert_delivered",
                    outlet,
                    kind,
                    id,
                    attempts,
                    "notice"
                );
                Outcome::Delivered
            }
            Err(why) => {
                metrics.alert_failed(outlet);
                let outcome = self.after_failure(&delivery, why.clone(), now);
                let gives_up = matches!(outcome, Outcome::GivenUp(_));
                if gives_up {
                    metrics.alert_given_up(outlet);
                }
                tracing::warn!(
                    event = "alert_failed",
                    outlet,
                    kind,
                    id,
                    attempts,
                    gives_up,
                    why,
                    "notice"
                );
                outcome
            }
        };
        if let Some(log) = &self.log {
            let _settled = log
                .with(move |log| log.settle(&delivery, &outcome, now))
                .await;
        }
    }

    fn after_failure(&self, delivery: &Delivery, why: String, now: Timestamp) -> Outcome {
        let pause = pause(delivery.attempts, fastrand::u8(..));
        let next = later(now, pause);
        if next > later(delivery.claimed_at, self.alerts.settings.retry_for) {
            Outcome::GivenUp(why)
        } else {
            Outcome::Again(pause, why)
        }
    }

    /// Tells those who want to hear again: at once of what is new or stands no more, each minute of
    /// the rest. Beside the log, which sees to it that they hear at all.
    fn tell_again(&mut self, firing: &[Firing], now: Timestamp) {
        for (outlet, road) in &self.roads {
            if !road.hears_again() {
                continue;
            }
            let told = self.told.entry(outlet.clone()).or_default();
            let notices = to_tell_again(told, standing_for(outlet, firing), Instant::now());
            if !notices.is_empty() {
                let (road, outlet) = (Arc::clone(road), outlet.clone());
                self.again
                    .spawn(async move { (outlet, road.tell_again(&notices, now).await) });
            }
        }
    }

    pub(super) fn note_again(&self, again: Result<(String, Result<String, String>), JoinError>) {
        if let Ok((outlet, Err(why))) = again {
            self.alerts.metrics.alert_failed(&outlet);
            tracing::warn!(event = "alert_failed", outlet, why, "telling again");
        }
    }

    /// Whether the log is there.
    async fn keep_log(&mut self, now: Timestamp) -> bool {
        let Some(log) = &self.log else {
            return false;
        };
        let is_due = |at: Instant| at.elapsed() >= PRUNE_INTERVAL;
        let prunes = self.pruned_at.is_none_or(is_due);
        if prunes {
            self.pruned_at = Some(Instant::now());
        }
        let keep_ms = self.alerts.settings.keep_for.as_millis();
        let keep_ms = i64::try_from(keep_ms).unwrap_or(i64::MAX);
        let before = Timestamp::from_unix_ms(now.unix_ms().saturating_sub(keep_ms));
        let kept = log.with(move |log| {
            log.recover();
            if prunes {
                log.prune(before);
            }
            (log.pending(), !log.is_in_trouble())
        });
        let (pending, is_there) = kept.await.unwrap_or_default();
        if let Some(pending) = pending {
            self.alerts.metrics.alerts_pending(pending);
        }
        is_there
    }
}

/// The ways to all outlets.
fn roads(
    settings: &Settings,
    upstream: &upstream::Settings,
) -> anyhow::Result<BTreeMap<String, Arc<Road>>> {
    let roads = settings.outlets.iter().map(|outlet| {
        let road = Road::new(outlet, upstream, settings.timeout)?;
        Ok((outlet.name.clone(), Arc::new(road)))
    });
    roads.collect()
}

fn gauges(standings: &[BudgetStanding], now: Timestamp) -> Vec<BudgetGauge> {
    let gauge = |standing: &BudgetStanding| BudgetGauge {
        budget: Arc::clone(&standing.budget),
        tenant: standing
            .tenant
            .as_ref()
            .map_or_else(|| "".into(), |tenant| tenant.as_str().into()),
        subject: Arc::clone(&standing.subject),
        period: Arc::clone(&standing.period),
        limit: standing.limit,
        spent: standing.spent,
        reserved: standing.held,
        forecast: forecast(standing, now),
        has_outlets: !standing.outlets.is_empty(),
    };
    standings.iter().map(gauge).collect()
}

/// Returns when it was stopped, and what is under way took too long after that.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP_MAX).await;
}

fn later(than: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(than.unix_ms().saturating_add(by))
}

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);
/// Deliveries at the same time.
const ON_THEIR_WAY_MAX: usize = 16;
/// An Alertmanager cluster of this size is told within one hold.
const ADDRESSES_MAX: u32 = 3;
const HOLD_MARGIN: Duration = Duration::from_secs(2);
const STOP_MAX: Duration = Duration::from_secs(3);
