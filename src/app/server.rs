//! The running proxy: wires the rooms together, and takes them apart in order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::acceptor::{Limits, accept};
use super::alerts::{Alerts, AlertsThread, LogPlace, SignalSource, Standings};
use super::books::Books;
use super::callers::{CallersThread, Known};
use super::door::Door;
use super::follow::{Load, follow};
use super::issuer_keys::KeyKeeper;
use super::keyring::open_registry;
use super::leases::LeasesThread;
use super::outlets::{self, Outlets};
use super::pages::{LastMetrics, ProxyPages};
use super::reload::{IssuerKeyring, Reloader, Tables, followed_issuers, known_names};
use super::shared::Shared;
use super::sums::SumsThread;
use super::worker::{Worker, WorkerContext};
use crate::admin::{self, Admin, People, PeopleParts};
use crate::config::{Problems, Settings};
use crate::domain::{Clock, Secret, SystemClock};
use crate::identity::{KeyRing, Replays};
use crate::ledger::{
    self, Journal, Ledger, PeriodTotals, Recovered, Replayed, Spill, SpillState, replay,
};
use crate::limits;
use crate::proxy::{Drains, Gates, Jobs, OpenSet, Service, Settlement, Settler, queue};
use crate::relay::GatherLimits;
use crate::telemetry::{Metrics, Sinks};
use crate::upstream::{CredentialStore, Patience, Pool, RoleSessions};

/// A proxy that serves.
pub struct Server {
    /// Where the data listener listens.
    pub data_address: SocketAddr,
    /// Where the admin listener listens.
    pub admin_address: SocketAddr,
    /// Calls that an earlier process left open; each has its entry now.
    pub recovered: Recovered,
    /// Entries that an earlier process left in the spill; each is in the ledger now.
    pub replayed: Replayed,
    gates: Arc<Gates>,
    pages: Arc<ProxyPages>,
    tasks: JoinSet<()>,
    workers: Vec<JoinHandle<()>>,
    settler: JoinHandle<()>,
    outlets: Outlets,
    sums_thread: SumsThread,
    callers_thread: CallersThread,
    alerts_thread: AlertsThread,
    leases_thread: LeasesThread,
    shared: Shared,
    accepting: CancellationToken,
    context: WorkerContext,
    admin_stop: CancellationToken,
    reloader: Arc<Reloader>,
    drain_delay: Duration,
    drain_timeout: Duration,
}

impl Server {
    /// Starts everything. To be called on a runtime, which then serves the admin listener and
    /// accepts connections; calls are served on threads of their own.
    ///
    /// # Errors
    /// When something the settings name cannot be had: an address, a file, the ledger.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (ledger, spill, replayed) = open_ledger(&settings.ledger).await?;
        // After the ledger: the pseudonyms' key lies in its directory.
        let ring = Arc::<KeyRing>::default();
        let Tables { world, connections } = Tables::load(&settings, &ring)?;
        let (known, callers) = Known::open(&settings)?;
        let metrics = start_metrics(&settings)?;
        let mut shared = Shared::open(&settings, &metrics).await?;
        let (catalogue, store) = (&world.catalogue, shared.store.as_ref());
        let (mut books, ledger) = Books::open(&settings, ledger, catalogue, &clock, store).await?;
        shared.follow(&books.budgets, &clock);
        let (journal, spill) = start_journal(ledger, spill, &replayed, &metrics)?;

        let mut tasks = JoinSet::new();
        let (credentials, role_sessions) =
            start_credentials(&settings, &clock, &metrics, &mut tasks).await?;
        let keys = start_keys(&settings, ring, &metrics, &clock, &mut tasks);
        let (settlements, queue) = queue(settings.listener.calls_in_flight_max);
        let gates = Arc::new(Gates {
            world: ArcSwap::from_pointee(world),
            callers: ArcSwap::from_pointee(callers),
            jobs: Arc::new(Jobs::new(open_registry(&settings)?)),
            replays: Replays::default(),
            limits: limits::Limits::new(&settings.limits, Arc::clone(&clock)),
            budgets: books.budgets.clone(),
            budgets_wanted: Arc::default(),
            replicas: shared.store.clone(),
            tails: Arc::default(),
            bodies: body_limits(&settings),
            settlements,
            spill,
            open_calls: Arc::clone(&books.open_calls),
            ledger: settings.ledger.clone(),
            open_set: Arc::new(OpenSet::default()),
            drains: Arc::new(Drains::new(settings.drain.clone(), Arc::clone(&metrics))),
            credentials,
            role_sessions,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            skew_ms: AtomicI64::new(0),
            patience: patience(&settings),
            permit_wait_max: PERMIT_WAIT_MAX,
            keeps_origin: settings.telemetry.wants_origin(),
            stopping: AtomicBool::new(false),
        });
        let waiting = Arc::new(AtomicU64::new(0));
        let (sinks, outlets) = outlets::open(&settings, &metrics)?;
        let login = (known.login_secret()?, Arc::clone(&keys.ring));
        let leases_thread = LeasesThread::start(books.leases.take(), &gates)?;
        let (roster, callers_thread) = CallersThread::start(known, &gates)?;
        let (sums_thread, alerts_thread) = start_watchers(&settings, &books.totals, &gates)?;
        let (recovered, totals) = (books.recovered, Arc::clone(&books.totals));
        let settler = settler(&settings, books, journal, sinks, &waiting, &gates);
        let settler = start_settler(settler, queue)?;

        let pages = Arc::new(ProxyPages {
            gates: Arc::clone(&gates),
            totals,
            sums: Arc::clone(&sums_thread.newest),
            waiting,
            ledger: settings.ledger.clone(),
            roster,
        });
        let (admin_address, admin_stop) =
            start_admin(&settings, Arc::clone(&pages), &login, &mut tasks).await?;
        let context = WorkerContext::new(connections);
        let accepting = CancellationToken::new();
        let (data_address, workers) =
            start_data(&settings, &gates, &context, &accepting, &mut tasks).await?;
        let shutdown = settings.shutdown.clone();
        let reloader = Reloader::new(&gates, &context, keys, &alerts_thread, settings);
        Ok(Self {
            data_address,
            admin_address,
            recovered,
            replayed,
            gates,
            pages,
            tasks,
            workers,
            settler,
            outlets,
            sums_thread,
            callers_thread,
            alerts_thread,
            leases_thread,
            shared,
            accepting,
            context,
            admin_stop,
            drain_delay: shutdown.drain_delay,
            drain_timeout: shutdown.drain_timeout,
            reloader: Arc::new(reloader),
        })
    }

    /// Has the configuration reloaded on SIGHUP and when it changed, until the server stops.
    ///
    /// # Errors
    /// When the signal cannot be listened to.
    pub fn follow(&mut self, load: Load) -> io::Result<()> {
        let hangup = signal(SignalKind::hangup())?;
        let reloader = Arc::clone(&self.reloader);
        let started = reloader.started().clone();
        self.tasks.spawn(follow(reloader, load, started, hangup));
        Ok(())
    }

    /// Puts another configuration in force for new calls and connections; `false` when it is
    /// refused whole. What needs a restart stays as it is.
    pub async fn reload(&self, loaded: Result<Settings, Problems>) -> bool {
        self.reloader.reload(loaded).await
    }

    /// Stops in order: unready; no new connections; calls in flight and drains end, or are
    /// settled as estimates when the limit passes; every entry is committed. Returns the metrics
    /// at the very end.
    ///
    /// # Errors
    /// When a thread panicked.
    pub async fn stop(mut self) -> anyhow::Result<String> {
        self.gates.stopping.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.drain_delay).await;
        self.accepting.cancel();
        self.context.stop.cancel();
        self.context.open.close();
        let drains = Arc::clone(&self.gates.drains);
        let all_ended = async {
            self.context.open.wait().await;
            drains.wait().await;
        };
        if tokio::time::timeout(self.drain_timeout, all_ended)
            .await
            .is_err()
        {
            tracing::warn!(
                event = "drain_timeout",
                "calls in flight are settled as estimates"
            );
        }
        self.context.end.cancel();
        self.admin_stop.cancel();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        let last = LastMetrics::of(&self.pages);
        let (callers, alerts) = (self.callers_thread, self.alerts_thread);
        drop((self.gates, self.pages, self.reloader, drains));
        let (workers, settler, sums) = (self.workers, self.settler, self.sums_thread);
        let leases = self.leases_thread;
        let joined = tokio::task::spawn_blocking(move || {
            drop((alerts, sums, callers));
            // The queue ends when the last worker has dropped its end of it.
            let workers = workers.into_iter().map(JoinHandle::join);
            let ended = workers.chain([settler.join()]).all(|ended| ended.is_ok());
            // What is settled now is no more told as open.
            drop(leases);
            ended
        });
        anyhow::ensure!(joined.await?, "a thread of the proxy panicked");
        self.shared.leave().await;
        self.outlets.flush().await;
        last.render()
    }
}

/// The ledger with what an earlier process left in the spill. Calls that were left open come after
/// that: one that is in the spill is settled.
async fn open_ledger(settings: &ledger::Settings) -> anyhow::Result<(Ledger, Spill, Replayed)> {
    let settings = settings.clone();
    // On a thread that may wait: the ledger may lie on a server.
    let open = move || {
        let mut ledger = Ledger::open(&settings).context("open the ledger")?;
        let mut spill = Spill::open(&settings).context("open the spill")?;
        let replayed = replay(&mut ledger, &mut spill).context("bring in the spill")?;
        Ok((ledger, spill, replayed))
    };
    tokio::task::spawn_blocking(open).await?
}

fn start_metrics(settings: &Settings) -> anyhow::Result<Arc<Metrics>> {
    let metrics = Metrics::new(&settings.telemetry, &known_names(settings));
    Ok(Arc::new(metrics.context("make the metrics")?))
}

/// Where the settling thread writes, and what others see of it.
fn start_journal(
    ledger: Ledger,
    spill: Spill,
    replayed: &Replayed,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Journal, Arc<SpillState>)> {
    let unreadable = replayed.unreadable;
    if unreadable > 0 {
        metrics.ledger_failed("spill_damaged");
        tracing::error!(
            event = "spill_damaged",
            unreadable,
            "segments of the spill are kept with .damaged after their names"
        );
    }
    let state = Arc::<SpillState>::default();
    let journal = Journal::start(ledger, spill, Arc::clone(&state), Arc::clone(metrics));
    Ok((journal.context("start the store's thread")?, state))
}

/// Loads the proxy's credentials, and assumes roles with them, on tasks of their own.
async fn start_credentials(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(CredentialStore, RoleSessions)> {
    let (credentials, refresher) =
        CredentialStore::open(&settings.upstream.credentials, Arc::clone(clock)).await;
    tasks.spawn(refresher.run());
    let sts = Pool::new(&settings.upstream).context("prepare connections to STS")?;
    let (role_sessions, assumer) = RoleSessions::open(
        sts,
        credentials.clone(),
        Arc::clone(clock),
        Arc::clone(metrics),
    );
    tasks.spawn(assumer.run());
    Ok((credentials, role_sessions))
}

/// What turns the end of each call into an entry.
fn settler(
    settings: &Settings,
    books: Books,
    journal: Journal,
    sinks: Sinks,
    waiting: &Arc<AtomicU64>,
    gates: &Gates,
) -> Settler {
    Settler {
        journal,
        ledger_settings: settings.ledger.clone(),
        open_calls: books.open_calls,
        totals: books.totals,
        metrics: Arc::clone(&gates.metrics),
        sinks,
        waiting: Arc::clone(waiting),
        budgets: books.budgets,
        budgets_wanted: Arc::clone(&gates.budgets_wanted),
        replicas: gates.replicas.clone(),
        tails: Arc::clone(&gates.tails),
        estimator: books.estimator,
        clock: Arc::clone(&gates.clock),
        commit_interval: settings.ledger.commit_interval,
        last_sync: Instant::now(),
    }
}

/// Follows the ledger, and tells people, each on a thread of its own.
fn start_watchers(
    settings: &Settings,
    totals: &Arc<Mutex<PeriodTotals>>,
    gates: &Arc<Gates>,
) -> anyhow::Result<(SumsThread, AlertsThread)> {
    let (totals, metrics) = (Arc::clone(totals), Arc::clone(&gates.metrics));
    let sums = SumsThread::start(&settings.ledger, totals, metrics)?;
    let (budgets, clock) = (gates.budgets.clone(), Arc::clone(&gates.clock));
    let standings: Standings = Box::new(move || budgets.standings(clock.now()));
    let mut signals = SignalSource::new(Arc::clone(gates), Arc::clone(&sums.newest));
    let alerts = AlertsThread::start(Alerts {
        settings: settings.alerts.clone(),
        upstream: settings.upstream.clone(),
        log: LogPlace::of(&settings.alerts, &settings.ledger),
        standings,
        signals: Box::new(move |settings| signals.signals(settings)),
        credentials: gates.credentials.clone(),
        metrics: Arc::clone(&gates.metrics),
        clock: Arc::clone(&gates.clock),
    })?;
    Ok((sums, alerts))
}

/// Settles on a thread of its own.
fn start_settler(settler: Settler, queue: Receiver<Settlement>) -> anyhow::Result<JoinHandle<()>> {
    let beat = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name("settler".to_owned())
        .spawn(move || settler.run(queue, &beat))
        .context("start the settling thread")
}

/// Has the keys of all issuers read, now and whenever a reload changes them.
fn start_keys(
    settings: &Settings,
    ring: Arc<KeyRing>,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
    tasks: &mut JoinSet<()>,
) -> IssuerKeyring {
    let (issuers, followed) = watch::channel(followed_issuers(settings, &settings.admin));
    let keeper = KeyKeeper {
        issuers: followed,
        ring: Arc::clone(&ring),
        upstream: settings.upstream.clone(),
        metrics: Arc::clone(metrics),
        clock: Arc::clone(clock),
    };
    tasks.spawn(keeper.run());
    IssuerKeyring { ring, issuers }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("listen on {address} (is another process there?)"))
}

/// `login`: what sessions are signed with, and the keys that tokens are verified with.
async fn start_admin(
    settings: &Settings,
    pages: Arc<ProxyPages>,
    (secret, ring): &(Secret, Arc<KeyRing>),
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(SocketAddr, CancellationToken)> {
    let listener = listen(settings.admin.listen).await?;
    let address = listener.local_addr()?;
    let people = People::new(PeopleParts {
        settings: &settings.admin.login,
        listening: address,
        secret,
        ring,
        upstream: &settings.upstream,
        metrics: Arc::clone(&pages.gates.metrics),
        clock: Arc::clone(&pages.gates.clock),
    });
    let admin = Admin::new(&settings.admin, address.ip(), pages).with_people(people);
    let stop = CancellationToken::new();
    tasks.spawn(admin::serve(listener, admin, stop.clone()));
    Ok((address, stop))
}

/// Listens for calls, and serves them on threads of their own.
async fn start_data(
    settings: &Settings,
    gates: &Arc<Gates>,
    context: &WorkerContext,
    accepting: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(SocketAddr, Vec<JoinHandle<()>>)> {
    let listener = listen(settings.listener.listen).await?;
    let address = listener.local_addr()?;
    let (workers, threads) = start_workers(settings, gates, context)?;
    let limits = Arc::new(Limits::new(
        settings.listener.connections_max,
        settings.listener.connections_per_peer_max,
    ));
    let connections = Arc::clone(&context.settings);
    tasks.spawn(accept(
        listener,
        workers,
        connections,
        limits,
        accepting.clone(),
    ));
    Ok((address, threads))
}

const fn patience(settings: &Settings) -> Patience {
    Patience {
        head: settings.upstream.response_timeout,
        idle: settings.upstream.idle_timeout,
    }
}

fn body_limits(settings: &Settings) -> GatherLimits {
    GatherLimits {
        body_bytes_max: settings.listener.body_bytes_max,
        room: Arc::new(Semaphore::new(settings.listener.gathered_bytes_max)),
        silence_max: settings.listener.body_timeout,
        room_wait_max: ROOM_WAIT_MAX,
    }
}

fn start_workers(
    settings: &Settings,
    gates: &Arc<Gates>,
    context: &WorkerContext,
) -> anyhow::Result<(Vec<Worker>, Vec<JoinHandle<()>>)> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = match settings.listener.workers {
        0 => cores,
        count => count,
    };
    let mut workers = Vec::with_capacity(count);
    let mut threads = Vec::with_capacity(count);
    for number in 0..count {
        let pool = Pool::new(&settings.upstream).context("prepare connections to Bedrock")?;
        let service = Service::new(Arc::clone(gates), pool);
        let door = Door::new(service, Arc::clone(gates));
        let (worker, thread) = Worker::start(number, door, context.clone())?;
        workers.push(worker);
        threads.push(thread);
    }
    Ok((workers, threads))
}

/// How long a call waits for room for its body.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a call waits for a place in flight.
const PERMIT_WAIT_MAX: Duration = Duration::from_secs(5);
