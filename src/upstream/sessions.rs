//! Roles that are assumed: asked for once however many calls wait, refreshed ahead, served from
//! memory.
//!
//! One task asks STS, so there is never more than one request for a role at a time; calls read a
//! snapshot and, in the common case, neither wait nor lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::credentials::{Authority, CredentialStore};
use super::error::{RoleFailure, RoleUnavailable};
use super::pool::Pool;
use super::roles::{AssumedRole, Wanted};
use super::sts::{Failure, Sts};
use crate::aws::Credentials;
use crate::domain::{Clock, Timestamp};
use crate::telemetry::Metrics;

/// The roles that are assumed, as calls read them.
#[derive(Clone)]
pub struct RoleSessions {
    current: Arc<ArcSwap<Sessions>>,
    asks: mpsc::Sender<Ask>,
}

type Sessions = HashMap<AssumedRole, Arc<Session>>;
type Reply = oneshot::Sender<Result<Credentials, RoleUnavailable>>;

/// A role that is assumed.
struct Session {
    credentials: Credentials,
    expires_at: Timestamp,
    refresh_at_ms: AtomicI64,
    /// Whether a call has asked for its refresh.
    asked: AtomicBool,
    last_used_ms: AtomicI64,
}

/// What a call asks the assumer for: an answer, or a refresh that nobody waits for.
struct Ask {
    wanted: Wanted,
    reply: Option<Reply>,
}

/// Assumes roles and puts them where [`RoleSessions`] reads them.
pub struct RoleAssumer {
    asks: mpsc::Receiver<Ask>,
    current: Arc<ArcSwap<Sessions>>,
    sts: Arc<Sts>,
    credentials: CredentialStore,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Who waits for a role that is queued or asked for.
    waiting: HashMap<AssumedRole, Vec<Reply>>,
    queued: VecDeque<Wanted>,
    asking: JoinSet<(AssumedRole, Result<Credentials, Failure>)>,
    failures: HashMap<AssumedRole, Failed>,
}

struct Failed {
    error: RoleUnavailable,
    pause: Duration,
    retry_at: Timestamp,
}

impl RoleSessions {
    /// The sessions, and the task that begins them, which does nothing until it runs.
    pub fn open(
        pool: Pool,
        credentials: CredentialStore,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Self, RoleAssumer) {
        let (ask, asks) = mpsc::channel(ASKS_MAX);
        let current = Arc::new(ArcSwap::default());
        let sessions = Self {
            current: Arc::clone(&current),
            asks: ask,
        };
        let assumer = RoleAssumer {
            asks,
            current,
            sts: Arc::new(Sts::new(pool, Arc::clone(&clock))),
            credentials,
            clock,
            metrics,
            waiting: HashMap::new(),
            queued: VecDeque::new(),
            asking: JoinSet::new(),
            failures: HashMap::new(),
        };
        (sessions, assumer)
    }

    /// The credentials of a role, where they are at hand. It has them refreshed when it is time.
    pub fn current(&self, wanted: &Wanted, now: Timestamp) -> Option<Authority> {
        let sessions = self.current.load();
        let session = sessions.get(&wanted.role)?;
        if !session.holds(now) {
            return None;
        }
        session.last_used_ms.store(now.unix_ms(), Ordering::Relaxed);
        if session.wants_refresh(now) && !session.asked.swap(true, Ordering::Relaxed) {
            let wanted = wanted.clone();
            let sent = self.asks.try_send(Ask {
                wanted,
                reply: None,
            });
            if sent.is_err() {
                session.asked.store(false, Ordering::Relaxed);
            }
        }
        Some(Authority::SigV4(session.credentials.clone()))
    }

    /// The credentials of a role, waiting until it is assumed.
    ///
    /// # Errors
    /// When it cannot be assumed; nothing was sent to Bedrock, and nothing else may sign instead.
    pub async fn wait(&self, wanted: Wanted, now: Timestamp) -> Result<Authority, RoleUnavailable> {
        if let Some(authority) = self.current(&wanted, now) {
            return Ok(authority);
        }
        let role = wanted.role.clone();
        let busy = |why: &str| unavailable(&role, (RoleFailure::Busy, why.to_owned()));
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            wanted,
            reply: Some(reply),
        };
        if self.asks.try_send(ask).is_err() {
            return Err(busy("too many roles are asked for at once"));
        }
        match tokio::time::timeout(WAIT_MAX, answer).await {
            Ok(Ok(credentials)) => credentials.map(Authority::SigV4),
            Ok(Err(_dropped)) => Err(busy("the proxy is stopping")),
            Err(_elapsed) => Err(busy("STS has not answered yet")),
        }
    }
}

impl Session {
    fn new(credentials: Credentials, now: Timestamp) -> Self {
        let expires_at = credentials.expires_at.unwrap_or(now);
        let lasts = Duration::from_millis(expires_at.ms_since(now));
        let ahead = (lasts / 4).min(REFRESH_AHEAD_MAX);
        Self {
            credentials,
            expires_at,
            refresh_at_ms: AtomicI64::new(earlier(expires_at, ahead).unix_ms()),
            asked: AtomicBool::new(false),
            last_used_ms: AtomicI64::new(now.unix_ms()),
        }
    }

    /// Whether a call that is signed now arrives in time.
    fn holds(&self, now: Timestamp) -> bool {
        now < earlier(self.expires_at, EXPIRY_MARGIN)
    }

    fn wants_refresh(&self, now: Timestamp) -> bool {
        now.unix_ms() >= self.refresh_at_ms.load(Ordering::Relaxed)
    }

    /// Has the refresh that failed asked for again then.
    fn refresh_later(&self, at: Timestamp) {
        self.refresh_at_ms.store(at.unix_ms(), Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }
}

impl RoleAssumer {
    /// Assumes what calls ask for, until dropped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => return,
                },
                Some(done) = self.asking.join_next() => {
                    // A task that panicked has lost its role: whoever waits for it times out.
                    if let Ok((role, result)) = done {
                        self.finish(&role, result);
                    }
                }
            }
            self.start();
        }
    }

    /// Queues a role that is not asked for yet; one that failed just now is answered at once.
    fn take(&mut self, ask: Ask) {
        let role = ask.wanted.role.clone();
        let now = self.clock.now();
        if let Some(waiting) = self.waiting.get_mut(&role) {
            waiting.extend(ask.reply);
            return;
        }
        if let Some(failed) = self.failures.get(&role)
            && now < failed.retry_at
        {
            let error = failed.error.clone();
            reply_to(ask.reply, &Err(error));
            return;
        }
        // It may have been assumed while this was in the queue.
        let session = self.current.load().get(&role).cloned();
        if let Some(session) = session.filter(|session| session.holds(now))
            && !session.wants_refresh(now)
        {
            reply_to(ask.reply, &Ok(session.credentials.clone()));
            return;
        }
        if self.queued.len() >= QUEUED_MAX {
            let why = "too many roles are asked for at once".to_owned();
            let error = unavailable(&role, (RoleFailure::Busy, why));
            reply_to(ask.reply, &Err(error));
            return;
        }
        self.waiting.insert(role, ask.reply.into_iter().collect());
        self.queued.push_back(ask.wanted);
    }

    fn start(&mut self) {
        while self.asking.len() < ASKING_MAX
            && let Some(wanted) = self.queued.pop_front()
        {
            let (sts, credentials) = (Arc::clone(&self.sts), self.credentials.clone());
            let now = self.clock.now();
            self.asking.spawn(async move {
                let result = assume(&sts, &credentials, &wanted, now).await;
                (wanted.role, result)
            });
        }
    }

    fn finish(&mut self, role: &AssumedRole, result: Result<Credentials, Failure>) {
        let outcome = result.as_ref().err();
        let outcome = outcome.map_or("assumed", |(failure, _)| failure.name());
        self.metrics.role_assumed(outcome);
        let result = match result {
            Ok(credentials) => {
                self.failures.remove(role);
                self.publish(role, credentials.clone());
                Ok(credentials)
            }
            Err(failure) => Err(self.fail(role, failure)),
        };
        for reply in self.waiting.remove(role).unwrap_or_default() {
            reply_to(Some(reply), &result);
        }
    }

    fn publish(&self, role: &AssumedRole, credentials: Credentials) {
        let now = self.clock.now();
        let mut sessions = Sessions::clone(&self.current.load());
        sessions.insert(role.clone(), Arc::new(Session::new(credentials, now)));
        sessions.retain(|_role, session| now < session.expires_at);
        while sessions.len() > SESSIONS_MAX {
            let used = |session: &Session| session.last_used_ms.load(Ordering::Relaxed);
            let oldest = sessions.iter().min_by_key(|(_, session)| used(session));
            let Some(oldest) = oldest.map(|(role, _)| role.clone()) else {
                break;
            };
            sessions.remove(&oldest);
        }
        self.metrics.role_sessions(sessions.len());
        self.current.store(Arc::new(sessions));
    }

    fn fail(&mut self, role: &AssumedRole, failure: Failure) -> RoleUnavailable {
        let now = self.clock.now();
        let error = unavailable(role, failure);
        tracing::warn!(
            event = "role_unavailable",
            tenant = role.tenant.as_str(),
            role = &*role.arn,
            reason = error.failure.name(),
            why = error.why,
            "a role cannot be assumed"
        );
        let before = self.failures.get(role).map(|failed| failed.pause);
        let pause = before.map_or(FAILURE_PAUSE_MIN, |pause| pause * 2);
        let pause = pause.min(FAILURE_PAUSE_MAX);
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let retry_at = Timestamp::from_unix_ms(now.unix_ms().saturating_add(pause_ms));
        if let Some(session) = self.current.load().get(role) {
            session.refresh_later(retry_at);
        }
        if self.failures.len() >= SESSIONS_MAX {
            self.failures.retain(|_role, failed| now < failed.retry_at);
        }
        if self.failures.len() < SESSIONS_MAX {
            let failed = Failed {
                error: error.clone(),
                pause,
                retry_at,
            };
            self.failures.insert(role.clone(), failed);
        }
        error
    }
}

async fn assume(
    sts: &Sts,
    credentials: &CredentialStore,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Credentials, Failure> {
    match credentials.wait(now).await {
        Some(Authority::SigV4(own)) => sts.assume(&own, wanted).await,
        Some(Authority::Bearer(_)) => {
            let why = "the proxy holds a Bedrock API key, which assumes no role";
            Err((RoleFailure::ApiKey, why.to_owned()))
        }
        None => {
            let why = "the proxy has no valid AWS credentials";
            Err((RoleFailure::NoCredentials, why.to_owned()))
        }
    }
}

/// A caller that is gone needs no answer.
fn reply_to(reply: Option<Reply>, result: &Result<Credentials, RoleUnavailable>) {
    if let Some(reply) = reply {
        drop(reply.send(result.clone()));
    }
}

fn unavailable(role: &AssumedRole, (failure, why): Failure) -> RoleUnavailable {
    RoleUnavailable {
        role: role.arn.to_string(),
        failure,
        why,
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(at.unix_ms().saturating_sub(by))
}

/// Sessions in memory; the one that was used least recently makes room.
const SESSIONS_MAX: usize = 4_096;
/// Asks of calls that the assumer has not seen yet.
const ASKS_MAX: usize = 1_024;
/// Roles that wait for a place at STS.
const QUEUED_MAX: usize = 4_096;
/// Requests to STS at once.
const ASKING_MAX: usize = 16;
/// How long a call waits for its role.
const WAIT_MAX: Duration = Duration::from_secs(12);
/// A quarter of its time before a session ends it is refreshed, but at most so long before: STS
/// may be away for as long.
const REFRESH_AHEAD_MAX: Duration = Duration::from_mins(15);
/// A session this close to its end signs nothing more.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);
/// After a failure STS is left alone for a while, longer each time.
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);
