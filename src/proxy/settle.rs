//! Settles calls: reading and rates become a charge, the charge an entry, the entry a row.
//!
//! One thread does it for all workers, in batches. Capacity in its queue is taken before a call
//! is sent upstream, so the end of a call can neither wait nor fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel};
use tokio::time::timeout;

use super::wanted::Wanted;
use crate::aws::parse_model_ref;
use crate::budgets::{Budget, Budgets, Held, Spent};
use crate::domain::{
    Charge, Clock, Dimension, Entry, Latency, ModelRef, Outcome, Reading, ServiceTier, Subject,
    Timestamp, UnpricedReason, UsageReason, UsageSource,
};
use crate::ledger::{
    Journal, LedgerAmount, LedgerError, LedgerReader, OpenCall, OpenCalls, OpenTicket,
    PeriodTotals, SYNC_INTERVAL, Settings as LedgerSettings,
};
use crate::meters::{End, Estimator, Meter, Received, Tails};
use crate::pricing::{Catalogue, Endpoint, Terms};
use crate::replicas::Store;
use crate::telemetry::{Metrics, Origin, Phase, SettledCall, Sinks, Timing};

/// All that is known of a call at its end.
pub struct Settlement {
    /// What was known when it was admitted.
    pub call: OpenCall,
    /// Its record in the open-calls log; `None` when nothing was sent.
    pub ticket: Option<OpenTicket>,
    /// The prices that were in force for it.
    pub catalogue: Arc<Catalogue>,
    /// How it ended.
    pub outcome: Outcome,
    /// What Bedrock's answer said about itself.
    pub answer: Answer,
    /// What was read from it.
    pub reading: Reading,
    /// How long things took.
    pub times: CallTimes,
    /// Where it came from, while somebody asks for it.
    pub origin: Option<Box<Origin>>,
    /// What budgets hold for it.
    pub held: Option<Held>,
}

/// What goes with an entry past the commit.
struct Beside {
    ticket: Option<OpenTicket>,
    times: CallTimes,
    origin: Option<Box<Origin>>,
    held: Option<Held>,
}

/// How long the parts of a call took.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallTimes {
    /// From admission to the end.
    pub duration: Duration,
    /// From admission to the first byte of the answer's body.
    pub first_byte: Option<Duration>,
    /// From admission to the first generated content.
    pub first_token: Option<Duration>,
    /// From the gathered body to the signed request: what the proxy added before sending.
    pub admission: Duration,
    /// The answer was read on after the client left.
    pub drained: bool,
}

/// What Bedrock's answer said about itself.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; `None` when no head came.
    pub status: Option<u16>,
    /// The error class.
    pub error_class: Option<Arc<str>>,
    /// `x-amzn-requestid`.
    pub request_id: Option<Arc<str>>,
    /// Bytes of its body that were read.
    pub bytes: u64,
}

/// The right to settle one call.
pub type Permit = OwnedPermit<Settlement>;

/// A queue for that many calls in flight: the only back-pressure of the proxy.
pub fn queue(calls_in_flight_max: usize) -> (Sender<Settlement>, Receiver<Settlement>) {
    channel(calls_in_flight_max.max(1))
}

/// The settling thread's things.
pub struct Settler {
    /// Where entries go.
    pub journal: Journal,
    /// Synced on the ledger's beat.
    pub open_calls: Arc<OpenCalls>,
    /// Fed with each committed entry; scrapes read it.
    pub totals: Arc<Mutex<PeriodTotals>>,
    /// Fed with each committed entry.
    pub metrics: Arc<Metrics>,
    /// Given each committed entry, for a collector and the access log.
    pub sinks: Sinks,
    /// How many settlements wait, for scrapes.
    pub waiting: Arc<AtomicU64>,
    /// Where the ledger is read for a change of budgets.
    pub ledger_settings: LedgerSettings,
    /// What may be spent; told of each committed entry.
    pub budgets: Budgets,
    /// A table of budgets that waits to be put in force.
    pub budgets_wanted: Arc<Wanted>,
    /// The budgets of all replicas, where they share them.
    pub replicas: Option<Store>,
    /// Learns what nearly all calls stay below.
    pub tails: Arc<Tails>,
    /// Learns from reported usage, serves the rest.
    pub estimator: Estimator,
    /// The time of settling.
    pub clock: Arc<dyn Clock>,
    /// How long calls are gathered into one commit.
    pub commit_interval: Duration,
    /// When the open-calls log was last synced.
    pub last_sync: Instant,
}

impl Settler {
    /// Settles until every sender is gone and the queue is empty. The runtime, of this thread
    /// alone, tells the time: what was written is synced on the beat also while no call ends.
    pub fn run(mut self, mut settlements: Receiver<Settlement>, runtime: &Runtime) {
        let mut batch = Vec::new();
        loop {
            self.change_budgets();
            self.sum_up_for_replicas();
            let left = self.until_next_beat();
            match runtime.block_on(async { timeout(left, settlements.recv()).await }) {
                Ok(Some(first)) => batch.push(first),
                Ok(None) => break,
                Err(_elapsed) => {
                    self.beat();
                    continue;
                }
            }
            // Sleeping while more gather costs one wake-up for many calls.
            std::thread::sleep(self.commit_interval);
            let open = take_ready(&mut settlements, &mut batch);
            self.settle(&mut batch, settlements.len());
            self.beat();
            if !open {
                break;
            }
        }
        self.sync();
        self.journal.close();
    }

    /// While entries wait in the spill the store is asked often.
    fn until_next_beat(&self) -> Duration {
        let mut left = SYNC_INTERVAL.saturating_sub(self.last_sync.elapsed());
        if self.replicas.is_some() {
            left = left.min(LOOK_INTERVAL);
        }
        if self.journal.is_behind() {
            left.min(REPLAY_BEAT)
        } else {
            left
        }
    }

    fn beat(&mut self) {
        if self.journal.is_behind() {
            self.journal.advance(REPLAY_BEAT);
        }
        if self.last_sync.elapsed() >= SYNC_INTERVAL {
            self.sync();
        }
    }

    /// Puts another table of budgets in force. Here nothing can be committed between the look into
    /// the ledger and the change, so that no call is counted twice or not at all.
    fn change_budgets(&mut self) {
        // What waits in the spill is not in the ledger: the change waits with it.
        if self.journal.is_behind() {
            return;
        }
        let Some(table) = self.budgets_wanted.take() else {
            return;
        };
        let now = self.clock.now();
        match spent_in(&self.ledger_settings, &table, now) {
            Ok(amounts) => {
                let spent: Vec<_> = amounts.iter().map(of_ledger).collect();
                self.budgets.replace(table, &spent, now);
                tracing::info!(event = "budgets_in_force", "budgets changed");
            }
            Err(error) => {
                self.metrics.ledger_failed("read");
                tracing::error!(event = "budgets_not_changed", %error, "trying again");
                self.budgets_wanted.put_back(table);
            }
        }
    }

    /// Tells the store of all replicas what the ledger says, when it asks. Here all that is in the
    /// ledger has been told to it, so that no call is counted twice or not at all.
    fn sum_up_for_replicas(&self) {
        let Some(store) = &self.replicas else { return };
        // What waits in the spill is not in the ledger: the sums wait with it.
        store.is_behind(self.journal.is_spilling());
        if self.journal.is_behind() {
            return;
        }
        let Some(epoch) = store.wants_sums() else {
            return;
        };
        let table: Vec<_> = self
            .budgets
            .table()
            .iter()
            .map(|one| (**one).clone())
            .collect();
        let now = self.clock.now();
        match spent_in(&self.ledger_settings, &table, now) {
            Ok(amounts) => {
                let spent: Vec<_> = amounts.iter().map(of_ledger).collect();
                store.sum(epoch, self.budgets.shared_books(&spent, now));
            }
            Err(error) => {
                self.metrics.ledger_failed("read");
                tracing::error!(event = "budgets_not_summed_up", %error, "trying again");
                store.not_summed();
            }
        }
    }

    fn settle(&mut self, batch: &mut Vec<Settlement>, waiting: usize) {
        let mut entries = Vec::with_capacity(batch.len());
        let mut rest = Vec::with_capacity(batch.len());
        for settlement in batch.drain(..) {
            let (entry, beside) = self.entry(settlement);
            entries.push(entry);
            rest.push(beside);
        }
        self.waiting.store(
            entries.len().saturating_add(waiting) as u64,
            Ordering::Relaxed,
        );
        let entries = self.commit(entries);
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        for (entry, beside) in entries.into_iter().zip(rest) {
            let Beside {
                ticket,
                times,
                origin,
                held,
            } = beside;
            settle_budgets(&self.budgets, self.replicas.as_ref(), held, &entry);
            if let Some(ticket) = ticket {
                ticket.close();
            }
            let overhead = [(Phase::Admission, times.admission)];
            let timing = Timing {
                duration: times.duration,
                first_byte: times.first_byte,
                first_token: times.first_token,
                overhead: &overhead,
                drained: times.drained,
                account: "",
            };
            self.metrics.settled(&entry, &timing);
            totals.add(&entry);
            let settled = SettledCall {
                entry,
                origin,
                duration: times.duration,
                first_byte: times.first_byte,
                first_token: times.first_token,
            };
            self.sinks.pass(settled, &self.metrics);
        }
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// Writes them down: in the store, or in the spill while the store takes none. When neither
    /// does they stay here, their open records on disk, new calls are refused, and it is tried
    /// again.
    fn commit(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let entries = Arc::new(entries);
        let mut pause = RETRY_PAUSE_MIN;
        while self.journal.append(&entries).is_err() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            // What leaves the spill makes room in it.
            self.journal.advance(REPLAY_BEAT);
        }
        Arc::unwrap_or_clone(entries)
    }

    fn sync(&mut self) {
        self.last_sync = Instant::now();
        if let Err(error) = self.open_calls.sync() {
            tracing::error!(event = "open_calls_sync_failed", %error, "open-calls log");
        }
        self.journal.sync();
        self.journal.trim(self.clock.now());
    }

    fn entry(&mut self, settlement: Settlement) -> (Entry, Beside) {
        let Settlement {
            mut call,
            ticket,
            catalogue,
            outcome,
            answer,
            mut reading,
            times,
            origin,
            held,
        } = settlement;
        self.learn_or_estimate(&call, &answer, &mut reading);
        let taken_over = held.as_ref().and_then(Held::taken_over);
        call.reserved = call.reserved.max(taken_over);
        let end = EntryEnd {
            outcome,
            answer,
            reading,
            times,
        };
        let entry = entry(call, end, &catalogue, self.clock.now());
        let beside = Beside {
            ticket,
            times,
            origin,
            held,
        };
        (entry, beside)
    }

    fn learn_or_estimate(&mut self, call: &OpenCall, answer: &Answer, reading: &mut Reading) {
        let Some(model) = &call.model else { return };
        let label = estimator_label(call, model);
        let (sent, received) = (call.request_bytes, answer.bytes);
        match (reading.source, reading.reason) {
            (UsageSource::Reported, _) if !reading.usage.is_none() => {
                self.estimator.learn(&label, sent, received, &reading.usage);
                let output = reading.usage.get(&Dimension::OutputTokens).unwrap_or(0);
                let prompt = (reading.usage.prompt_tokens(), sent);
                self.tails.learn(&model.label(), output, Some(prompt));
            }
            (UsageSource::Missing, Some(reason)) if can_estimate(reason, answer, model) => {
                let received = Received {
                    bytes: received,
                    framed: call.operation.is_stream(),
                    whole: reason == UsageReason::NotInAnswer,
                };
                reading.usage = self
                    .estimator
                    .estimate(&label, sent, received, &reading.usage);
                reading.source = UsageSource::Estimated;
            }
            (UsageSource::Reported | UsageSource::Estimated | UsageSource::Missing, _) => {}
        }
    }
}

/// Framing makes a streamed token take many more bytes than one of a plain body.
fn estimator_label(call: &OpenCall, model: &ModelRef) -> String {
    let stream = if call.operation.is_stream() {
        " stream"
    } else {
        ""
    };
    format!("{}{stream}", model.label())
}

/// Whether bytes can stand for the usage: they were there, but its report was not. An answer
/// without any usage counts only where its model is known, for it might be an image; and an error
/// might have been billed or not.
fn can_estimate(reason: UsageReason, answer: &Answer, model: &ModelRef) -> bool {
    match reason {
        UsageReason::CutShort
        | UsageReason::NotDrained
        | UsageReason::ProcessDied
        | UsageReason::NoAnswer => true,
        UsageReason::NotInAnswer => {
            let success = answer.status.is_some_and(|status| status < 300);
            success && model.base.is_some()
        }
        UsageReason::Unreadable | UsageReason::NotMetered => false,
    }
}

/// The entry of a call that a dead process left open: an estimate, marked so.
pub fn entry_of_lost_call(
    call: OpenCall,
    estimator: &Estimator,
    catalogue: &Arc<Catalogue>,
    clock: &dyn Clock,
) -> Entry {
    let mut reading = Meter::choose(call.operation, call.model.as_ref()).finish(End::NoAnswer);
    if let (Some(UsageReason::NoAnswer), Some(model)) = (reading.reason, &call.model) {
        let (label, usage) = (estimator_label(&call, model), &reading.usage);
        let nothing = Received {
            bytes: 0,
            framed: call.operation.is_stream(),
            whole: false,
        };
        reading.usage = estimator.estimate(&label, call.request_bytes, nothing, usage);
        reading.source = UsageSource::Estimated;
    }
    reading.reason = reading.reason.map(|_| UsageReason::ProcessDied);
    let end = EntryEnd {
        outcome: Outcome::Interrupted,
        answer: Answer::default(),
        reading,
        times: CallTimes::default(),
    };
    entry(call, end, catalogue, clock.now())
}

/// What the end of a call adds to its beginning.
struct EntryEnd {
    outcome: Outcome,
    answer: Answer,
    reading: Reading,
    times: CallTimes,
}

fn entry(call: OpenCall, end: EntryEnd, catalogue: &Catalogue, settled_at: Timestamp) -> Entry {
    let EntryEnd {
        outcome,
        answer,
        reading,
        times,
    } = end;
    let charge = charge(catalogue, &call, &reading);
    Entry {
        call_id: call.call_id,
        opened_at: call.opened_at,
        settled_at,
        tenant: call.tenant,
        application: call.application,
        user: call.user,
        session: call.session,
        operation: call.operation,
        model: call.model,
        region: call.region,
        tier_asked: call.tier_asked,
        outcome,
        status: answer.status,
        error_class: answer.error_class,
        aws_request_id: answer.request_id,
        sdk_invocation_id: call.sdk_invocation_id,
        sdk_attempt: call.sdk_attempt,
        request_bytes: call.request_bytes,
        response_bytes: answer.bytes,
        first_byte_ms: times.first_byte.map(whole_ms),
        duration_ms: whole_ms(times.duration),
        reading,
        charge,
        catalogue: Arc::clone(catalogue.version()),
        key: call.key,
        reserved: call.reserved,
        downgraded_from: call.downgraded_from,
    }
}

/// The charge for a reading, at the rates of the instant the call was admitted.
fn charge(catalogue: &Catalogue, call: &OpenCall, reading: &Reading) -> Charge {
    if reading.source == UsageSource::Missing {
        return Charge::unpriced(UnpricedReason::UsageMissing);
    }
    if reading.usage.is_none() {
        return Charge::of(Vec::new());
    }
    let invoked = reading.invoked_model.as_deref().map(parse_model_ref);
    let Some(model) = invoked.as_ref().or(call.model.as_ref()) else {
        return Charge::unpriced(UnpricedReason::UnresolvedModel);
    };
    let standard = ServiceTier::Standard;
    let tier = reading
        .served_tier
        .as_ref()
        .or(call.tier_asked.as_ref())
        .unwrap_or(&standard);
    let terms = Terms {
        model,
        region: &call.region,
        tier,
        latency: reading.served_latency.unwrap_or(Latency::Standard),
        endpoint: Endpoint::Runtime,
        at: call.opened_at,
    };
    catalogue.charge(&terms, &reading.usage)
}

/// What the ledger says was spent in the periods of these budgets.
///
/// # Errors
/// When it cannot be read.
pub fn spent_in(
    ledger: &LedgerSettings,
    table: &[Budget],
    now: Timestamp,
) -> Result<Vec<LedgerAmount>, LedgerError> {
    let Some(begins) = Budgets::begins(table, now) else {
        return Ok(Vec::new());
    };
    LedgerReader::of(ledger)?.amounts_since(begins)
}

/// An amount of the ledger, as budgets count it.
pub fn of_ledger(amount: &LedgerAmount) -> Spent<'_> {
    Spent {
        subject: Subject {
            tenant: &amount.tenant,
            application: &amount.application,
            model: amount.model.as_deref(),
            key: amount.key.as_deref(),
            user: amount.user.as_deref(),
            session: amount.session.as_deref(),
        },
        at: amount.at,
        amount: amount.amount,
    }
}

/// An entry, whose model has that label, as budgets count it.
pub(super) fn of_entry<'a>(entry: &'a Entry, model: Option<&'a str>) -> Spent<'a> {
    Spent {
        subject: Subject {
            tenant: &entry.tenant,
            application: entry.application.as_str(),
            model,
            key: entry.key.as_deref(),
            user: entry.user.as_deref(),
            session: entry.session.as_deref(),
        },
        at: entry.opened_at,
        amount: entry.counted(),
    }
}

/// Counts a committed entry, and gives back what was held for it.
fn settle_budgets(budgets: &Budgets, replicas: Option<&Store>, held: Option<Held>, entry: &Entry) {
    if budgets.is_empty() && held.is_none() {
        return;
    }
    let model = entry.model.as_ref().map(ModelRef::label);
    let spent = of_entry(entry, model.as_deref());
    let _told_after = budgets.settle(held, &spent);
    if let Some(store) = replicas {
        let counters = budgets.shared_counters(&spent.subject, spent.at);
        store.settle(entry.call_id, counters, spent.amount);
    }
}

/// Moves what is ready into the batch; false when every sender is gone.
fn take_ready(settlements: &mut Receiver<Settlement>, batch: &mut Vec<Settlement>) -> bool {
    loop {
        match settlements.try_recv() {
            Ok(settlement) => batch.push(settlement),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
        if batch.len() >= BATCH_MAX {
            return true;
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Rows of one transaction: a few milliseconds of work.
const BATCH_MAX: usize = 2_000;
/// How often it is looked whether replicas need sums: a call may wait for them.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long one step of bringing entries out of the spill may take.
const REPLAY_BEAT: Duration = Duration::from_millis(50);
