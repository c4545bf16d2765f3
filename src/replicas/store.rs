//! The store as calls see it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use super::error::StoreError;
use super::keeper::Keeper;
use super::link::{Link, Reply};
use super::names::Names;
use super::ops::{Ops, Summing};
use super::settings::{Settings, StoreDown};
use super::told::Told;
use crate::domain::{
    CallId, Keyword as _, SharedBook, SharedCounter, SharedHolds, SharedPosition, SharedWant, Usd,
};
use crate::telemetry::Metrics;

/// The budgets of all replicas, as one of them reaches them. Clones share.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

/// Whose entries the ledger of this process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerOf {
    /// Those of all replicas: any of them can sum up.
    All,
    /// Those of this one, under a name that outlives restarts: each sums up its own.
    This(String),
}

/// What the store says to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is held; where the counters stand now.
    Taken(Vec<SharedPosition>),
    /// Nothing is held: this want has no room.
    Full {
        /// Which.
        index: usize,
        /// Where its counter stands.
        position: SharedPosition,
    },
}

/// The store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The how-manieth time since the start.
    pub number: u64,
}

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) names: Names,
    /// Whether each replica sums up its own ledger.
    pub(super) sums_own: bool,
    /// The connection, while calls may use it.
    link: ArcSwapOption<Link>,
    outages: AtomicU64,
    ops: Mutex<Ops>,
    /// Which calls have places among the calls at once.
    pub(super) told: Mutex<Told>,
    /// There is something to send.
    pub(super) work: Notify,
    /// A call found the connection broken.
    pub(super) broken: Notify,
    /// The store answered, and only has to be entered again: calls wait for that.
    is_reentering: AtomicBool,
    /// Settled calls wait in the spill: the ledger does not say all that was spent.
    pub(super) is_behind: AtomicBool,
    /// Somebody reads the ledger when asked: before, nobody else is kept from it.
    pub(super) has_reader: AtomicBool,
    /// Counts what calls may wait for.
    pub(super) changed: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    /// There while the store was not told of everything.
    pub(super) note: PathBuf,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A store, and the one who keeps up with it. Nothing is connected yet.
    ///
    /// `note` is a file of this replica's own: it is there while the store was not told of
    /// everything, so that one that dies then has all summed up again when it starts.
    pub fn new(
        settings: &Settings,
        ledger: LedgerOf,
        metrics: Arc<Metrics>,
        note: PathBuf,
    ) -> (Self, Keeper) {
        let replica = uuid::Uuid::now_v7().simple().to_string();
        let (sums_own, ledger) = match ledger {
            LedgerOf::All => (false, "all".to_owned()),
            LedgerOf::This(name) => (true, format!("of:{name}")),
        };
        let inner = Inner {
            names: Names::new(&settings.deployment, replica, ledger),
            settings: settings.clone(),
            sums_own,
            link: ArcSwapOption::empty(),
            outages: AtomicU64::new(1),
            ops: Mutex::default(),
            told: Mutex::default(),
            work: Notify::new(),
            broken: Notify::new(),
            is_reentering: AtomicBool::new(false),
            is_behind: AtomicBool::new(false),
            has_reader: AtomicBool::new(false),
            changed: watch::Sender::new(0),
            metrics,
            note,
        };
        let store = Self {
            inner: Arc::new(inner),
        };
        store.inner.show_mode(settings.when_down.name());
        (store.clone(), Keeper::new(store))
    }

    /// What happens to calls while it does not answer.
    pub fn when_down(&self) -> StoreDown {
        self.inner.settings.when_down
    }

    /// Among how many replicas what is left is shared then.
    pub fn replicas(&self) -> u32 {
        self.inner.settings.replicas
    }

    /// Holds what a call wants of every counter, or nothing: one round trip, except where the store
    /// has to be told first what was spent.
    ///
    /// # Errors
    /// When it does not answer in time. Whether the call holds anything there is not known then:
    /// say with [`Self::hold`] or `give_back` what became of it.
    pub async fn reserve(&self, call: CallId, wants: &[SharedWant]) -> Result<Answer, Outage> {
        let inner = &*self.inner;
        // A client that leaves meanwhile must not leave a hold behind.
        let mut unsure = Unsure(Some((self, call)));
        let begun = Instant::now();
        let mut changed = inner.changed.subscribe();
        let name = call.to_string();
        while begun.elapsed() < WAIT_MAX {
            changed.mark_unchanged();
            let Some(link) = inner.link.load_full() else {
                if !inner.is_reentering() {
                    break;
                }
                let _in_time = wait(&mut changed, begun).await;
                continue;
            };
            match link.reserve(&name, wants, inner.settings.timeout).await {
                Ok(Reply::Taken(positions)) => {
                    inner.ops().open(call, wants);
                    unsure.0 = None;
                    return Ok(Answer::Taken(positions));
                }
                Ok(Reply::Full { index, position }) => {
                    unsure.0 = None;
                    return Ok(Answer::Full { index, position });
                }
                Ok(Reply::Closed(left)) => tokio::time::sleep(left).await,
                Ok(Reply::Unknown) => {
                    if inner.is_behind.load(Ordering::Relaxed) {
                        break;
                    }
                    inner.want_sums();
                    let _in_time = wait(&mut changed, begun).await;
                }
                Ok(Reply::Changed) => {
                    inner.lost(&link, &StoreError::Changed);
                    let _in_time = wait(&mut changed, begun).await;
                }
                Err(error) => {
                    inner.lost(&link, &error);
                    break;
                }
            }
        }
        unsure.0 = None;
        Err(inner.outage())
    }

    /// What a call cost, once its entry is in the ledger.
    pub fn settle(&self, call: CallId, counters: Vec<SharedCounter>, amount: Usd) {
        self.inner.ops().settle(call, counters, amount);
        self.inner.work.notify_one();
    }

    /// Whether the store has to be told what the ledger says, and in which epoch. To be answered
    /// with [`Self::sum`], or with [`Self::not_summed`] where the ledger cannot be read.
    pub fn wants_sums(&self) -> Option<u64> {
        if !self.inner.has_reader.swap(true, Ordering::Relaxed) {
            self.inner.work.notify_one();
        }
        let mut ops = self.inner.ops();
        let may = match ops.summing {
            Summing::May => true,
            Summing::Asked => self.inner.sums_own,
            Summing::No | Summing::Reading | Summing::Ready(..) => false,
        };
        if may {
            ops.summing = Summing::Reading;
        }
        may.then_some(ops.epochs)
    }

    /// Says whether settled calls wait in the spill: then the ledger does not say all.
    pub fn is_behind(&self, is_behind: bool) {
        self.inner.is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// The ledger could not be read: asks for it once more.
    pub fn not_summed(&self) {
        let mut ops = self.inner.ops();
        if let Summing::Reading = ops.summing {
            ops.summing = Summing::Asked;
        }
        drop(ops);
        self.inner.work.notify_one();
    }

    /// What the ledger says, at an instant at which everything of it that was settled here has been
    /// told to [`Self::settle`].
    pub fn sum(&self, epoch: u64, books: Vec<SharedBook>) {
        let mut ops = self.inner.ops();
        if ops.epochs == epoch {
            ops.sum(books);
        }
        drop(ops);
        self.inner.work.notify_one();
    }

    /// Where counters stand, for those who only watch: none of one whose ledger was not asked yet,
    /// and an empty list while the store does not answer.
    pub async fn look(&self, counters: &[(SharedCounter, i64)]) -> Vec<Option<SharedPosition>> {
        let Some(link) = self.inner.link.load_full() else {
            return Vec::new();
        };
        match link.look(counters).await {
            Ok(positions) => positions,
            Err(error) => {
                self.inner.lost(&link, &error);
                Vec::new()
            }
        }
    }

    /// Whether the store answers.
    pub fn is_up(&self) -> bool {
        self.inner.link.load().is_some()
    }

    /// Waits until the store answers, at most that long.
    pub async fn wait_up(&self, longest: Duration) -> bool {
        let mut changed = self.inner.changed.subscribe();
        let up = async { while !self.is_up() && changed.changed().await.is_ok() {} };
        let _in_time = tokio::time::timeout(longest, up).await.is_ok();
        self.is_up()
    }

    /// How many results of calls the store has not confirmed.
    pub fn unconfirmed(&self) -> usize {
        let results = self.inner.ops().len();
        results.saturating_add(self.inner.places().len())
    }

    /// Waits until the store has confirmed everything, at most that long.
    pub async fn flush(&self, longest: Duration) -> bool {
        let mut changed = self.inner.changed.subscribe();
        let empty = async { while self.unconfirmed() > 0 && changed.changed().await.is_ok() {} };
        tokio::time::timeout(longest, empty).await.is_ok()
    }
}

impl SharedHolds for Store {
    fn hold(&self, call: CallId, wants: &[SharedWant]) {
        self.inner.ops().hold(call, wants);
        self.inner.work.notify_one();
    }

    fn give_back(&self, call: CallId) {
        self.inner.ops().give_back(call);
        self.inner.work.notify_one();
    }

    fn spend_hold(&self, call: CallId) {
        self.inner.ops().spend_hold(call);
        self.inner.work.notify_one();
    }
}

/// A call of which is not known whether the store holds anything for it.
struct Unsure<'a>(Option<(&'a Store, CallId)>);

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        if let Some((store, call)) = self.0.take() {
            store.give_back(call);
        }
    }
}

/// Waits for something to have changed, within the patience of a call; false when it is over.
pub(super) async fn wait(changed: &mut watch::Receiver<u64>, begun: Instant) -> bool {
    let left = WAIT_MAX.saturating_sub(begun.elapsed());
    tokio::time::timeout(left, changed.changed()).await.is_ok()
}

impl Inner {
    pub(super) fn ops(&self) -> MutexGuard<'_, Ops> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, while calls may use it.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    /// Whether calls that find no connection wait for one.
    pub(super) fn is_reentering(&self) -> bool {
        self.is_reentering.load(Ordering::Acquire)
    }

    pub(super) fn outage(&self) -> Outage {
        Outage {
            number: self.outages.load(Ordering::Relaxed),
        }
    }

    /// Calls use this connection from now on.
    pub(super) fn up(&self, link: &Arc<Link>) {
        self.link.store(Some(Arc::clone(link)));
        self.is_reentering.store(false, Ordering::Release);
        self.show_mode(SHARED);
        tracing::info!(event = "budget_store_up", "replicas share their budgets");
        self.tell();
    }

    /// Those who wait look again.
    pub(super) fn tell(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A call found a connection broken.
    pub(super) fn lost(&self, link: &Arc<Link>, error: &StoreError) {
        // Before the link goes: a call that finds none looks whether it is to wait.
        if error.is_answer() && self.uses(link) {
            self.is_reentering.store(true, Ordering::Release);
        }
        let current = self.link.compare_and_swap(link, None);
        let was_current = current.as_ref().is_some_and(|one| Arc::ptr_eq(one, link));
        if was_current {
            self.broken.notify_one();
        }
        if was_current && !error.is_answer() {
            self.show_down(error);
        }
    }

    /// Why calls use no connection.
    pub(super) fn why_none(&self) -> StoreError {
        if self.is_reentering() {
            StoreError::Changed
        } else {
            StoreError::Broken
        }
    }

    /// Whether calls use this connection.
    pub(super) fn uses(&self, link: &Arc<Link>) -> bool {
        let current = self.link.load();
        current.as_ref().is_some_and(|one| Arc::ptr_eq(one, link))
    }

    /// The store answers, and has to be entered again: calls wait for that.
    pub(super) fn reenter(&self) {
        self.is_reentering.store(true, Ordering::Release);
        self.link.store(None);
    }

    /// No call uses the connection any more, or waits for another.
    pub(super) fn down(&self, error: &StoreError) {
        let was_reentering = self.is_reentering.swap(false, Ordering::AcqRel);
        if self.link.swap(None).is_some() || was_reentering {
            self.show_down(error);
        } else {
            self.write_note();
        }
        self.tell();
    }

    /// Calls are decided without the store, and it may never learn of them from this process.
    fn write_note(&self) {
        if let Err(error) = fs::write(&self.note, "") {
            tracing::warn!(event = "budget_note_failed", %error, "note that the store was not told");
        }
    }

    /// The store was told of everything.
    pub(super) fn forget_note(&self) {
        // It may not be there.
        let _removed = fs::remove_file(&self.note).is_ok();
    }

    fn show_down(&self, error: &StoreError) {
        // Before the first call is decided.
        self.write_note();
        self.outages.fetch_add(1, Ordering::Relaxed);
        let mode = self.settings.when_down.name();
        self.show_mode(mode);
        tracing::warn!(event = "budget_store_down", %error, mode, "budget store");
    }

    pub(super) fn want_sums(&self) {
        let mut ops = self.ops();
        // Those that are on their way may be the ones.
        if let Summing::No = ops.summing {
            ops.summing = Summing::Asked;
        }
        drop(ops);
        self.work.notify_one();
    }

    fn show_mode(&self, mode: &'static str) {
        self.metrics.budget_store_mode(mode);
    }
}

/// The mode in which replicas see each other.
const SHARED: &str = "shared";
/// How long a call waits where the store has to learn first: sums of the ledger, or its replicas.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(8);
