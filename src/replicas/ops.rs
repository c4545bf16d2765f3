//! What became of calls, on its way to the store: in order, numbered, until the store has it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::link::split;
use super::names::EpochNames;
use crate::domain::{CallId, SharedBook, SharedCounter, SharedLate, SharedLotEnd, SharedWant, Usd};

/// What became of a call.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// It is in flight, and the store may not know.
    Hold(CallId, Arc<[SharedWant]>),
    /// It was never sent.
    GiveBack(CallId),
    /// It vanished: its hold is spent.
    Spend(CallId, Arc<[SharedWant]>),
    /// It cost that much.
    Settle(CallId, Vec<SharedCounter>, Usd),
    /// It was of a process that died, and its entry counts as that much.
    Late(SharedLate),
}

/// With its number.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) op: Op,
}

/// How far it is with sums of the ledger, for a store that does not know what was spent.
#[derive(Debug, Default)]
pub(super) enum Summing {
    /// Nobody waits for any.
    #[default]
    No,
    /// Somebody waits.
    Asked,
    /// The ledger may be read.
    May,
    /// It is read.
    Reading,
    /// Sums on their way, and the last number that they hold: what comes after it waits for them.
    Ready(Vec<SharedBook>, u64),
}

/// What this replica knows that the store may not.
#[derive(Debug, Default)]
pub(super) struct Ops {
    /// Every call in flight that holds something.
    open: HashMap<CallId, Arc<[SharedWant]>>,
    queue: VecDeque<Numbered>,
    /// The number that was given last.
    pub(super) given: u64,
    /// The number that the store confirmed last.
    pub(super) confirmed: u64,
    /// The queue was full: only the ledger can tell what was in it.
    pub(super) overflowed: bool,
    /// How far it is with what the ledger says.
    pub(super) summing: Summing,
    /// Lots of rates whose calls have ended.
    lots: Vec<SharedLotEnd>,
    /// Which epoch it is, counted by this replica.
    pub(super) epochs: u64,
}

impl Ops {
    /// A call holds something that the store knows of.
    pub(super) fn open(&mut self, call: CallId, wants: &[SharedWant]) {
        self.open.insert(call, wants.into());
    }

    /// A call holds something that the store is to be told of.
    pub(super) fn hold(&mut self, call: CallId, wants: &[SharedWant]) {
        let wants: Arc<[SharedWant]> = wants.into();
        self.open.insert(call, Arc::clone(&wants));
        self.push(Op::Hold(call, wants));
    }

    pub(super) fn give_back(&mut self, call: CallId) {
        self.open.remove(&call);
        self.push(Op::GiveBack(call));
    }

    pub(super) fn spend_hold(&mut self, call: CallId) {
        if let Some(wants) = self.open.remove(&call) {
            self.push(Op::Spend(call, wants));
        }
    }

    pub(super) fn settle(&mut self, call: CallId, counters: Vec<SharedCounter>, amount: Usd) {
        let held = self.open.remove(&call).is_some();
        if held || (amount != Usd::ZERO && !counters.is_empty()) {
            self.push(Op::Settle(call, counters, amount));
        }
    }

    /// Calls of a process that died: the number of the last.
    pub(super) fn late(&mut self, calls: Vec<SharedLate>) -> u64 {
        for call in calls {
            self.push(Op::Late(call));
        }
        self.given
    }

    /// Calls that took of rates have ended. Past a bound they are forgotten: time pays them.
    pub(super) fn lots_ended(&mut self, lots: Vec<SharedLotEnd>) {
        if self.lots.len() < QUEUE_MAX {
            self.lots.extend(lots);
        }
    }

    /// Some of these lots.
    pub(super) fn next_lots(&mut self) -> Vec<SharedLotEnd> {
        let count = self.lots.len().min(BATCH_MAX);
        self.lots.drain(..count).collect()
    }

    fn push(&mut self, op: Op) {
        if self.queue.len() >= QUEUE_MAX {
            self.overflowed = true;
            self.forget_settled();
        }
        self.given = self.given.saturating_add(1);
        let number = self.given;
        self.queue.push_back(Numbered { number, op });
    }

    /// The oldest that are not confirmed. What no sum on its way holds comes after the sums: the
    /// store would take it to be in them.
    pub(super) fn batch(&self) -> Vec<Numbered> {
        let last = match &self.summing {
            Summing::Ready(_, last) => *last,
            Summing::No | Summing::Asked | Summing::May | Summing::Reading => u64::MAX,
        };
        let may_go = |one: &&Numbered| one.number <= last;
        let batch = self.queue.iter().take_while(may_go).take(BATCH_MAX);
        batch.cloned().collect()
    }

    /// What the ledger says now: all that was pushed before is in it.
    pub(super) fn sum(&mut self, books: Vec<SharedBook>) {
        self.summing = Summing::Ready(books, self.given);
    }

    /// Some of the sums that are on their way, and the last number that they hold.
    pub(super) fn next_sums(&mut self) -> Option<(Vec<SharedBook>, u64)> {
        let Summing::Ready(books, last) = &mut self.summing else {
            return None;
        };
        let rest = books.split_off(books.len().min(SUMS_MAX));
        Some((std::mem::replace(books, rest), *last))
    }

    /// How many are not confirmed.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn confirm(&mut self, up_to: u64) {
        self.confirmed = self.confirmed.max(up_to);
        while self.queue.front().is_some_and(|one| one.number <= up_to) {
            self.queue.pop_front();
        }
    }

    /// Another epoch: what was settled is in the ledger, from which it will be summed up. Where
    /// that may have happened already (`is_late`), it is kept: counted twice rather than never.
    pub(super) fn begin_epoch(&mut self, is_late: bool) {
        self.epochs = self.epochs.saturating_add(1);
        self.summing = Summing::No;
        if !is_late || self.overflowed {
            self.forget_settled();
        }
        self.overflowed = false;
        self.confirmed = self
            .queue
            .front()
            .map_or(self.given, |one| one.number.saturating_sub(1));
    }

    /// Says once more what is in flight.
    pub(super) fn hold_again(&mut self) {
        let open: Vec<_> = self
            .open
            .iter()
            .map(|(call, wants)| Op::Hold(*call, Arc::clone(wants)))
            .collect();
        for op in open {
            self.push(op);
        }
    }

    /// Keeps only what no ledger knows, under new numbers.
    fn forget_settled(&mut self) {
        let kept = std::mem::take(&mut self.queue);
        for one in kept {
            if matches!(one.op, Op::Spend(..)) {
                self.given = self.given.saturating_add(1);
                let number = self.given;
                self.queue.push_back(Numbered { number, op: one.op });
            }
        }
    }
}

/// The keys and arguments that tell a script of it, behind those of all.
pub(super) fn arguments(op: &Op, keys: &EpochNames) -> (Vec<String>, Vec<String>) {
    let (kind, call) = match op {
        Op::Hold(call, _) => (Some("hold"), call),
        Op::GiveBack(call) => (Some("give back"), call),
        Op::Spend(call, _) => (Some("spend"), call),
        Op::Settle(call, ..) => (Some("settle"), call),
        Op::Late(late) => (None, &late.call),
    };
    let mut names = Vec::new();
    let mut words: Vec<_> = kind.map(str::to_owned).into_iter().collect();
    words.push(call.to_string());
    match op {
        Op::GiveBack(_) => {}
        Op::Hold(_, wants) | Op::Spend(_, wants) => {
            for want in wants.iter() {
                let counter = &want.counter;
                words.push(keys.counter(counter));
                words.push(counter.bucket.to_string());
                words.push(counter.keep_ms.to_string());
                words.push(split(want.amount).0.to_string());
            }
        }
        Op::Settle(_, counters, amount)
        | Op::Late(SharedLate {
            counters, amount, ..
        }) => {
            let (micro, femto) = split(*amount);
            words.extend([micro.to_string(), femto.to_string()]);
            for counter in counters {
                names.extend([keys.marker(&counter.book), keys.counter(counter)]);
                words.push(counter.bucket.to_string());
                words.push(counter.keep_ms.to_string());
            }
        }
    }
    (names, words)
}

/// Some 40 MB. Past it the epoch ends, and all is summed up from the ledger again.
const QUEUE_MAX: usize = 100_000;
/// One pipeline: the store works on it for a few milliseconds.
const BATCH_MAX: usize = 200;
/// The same: a sum has many counters.
const SUMS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn counter() -> SharedCounter {
        SharedCounter {
            book: "book".into(),
            subject: "everybody".into(),
            bucket: 0,
            keep_ms: 1,
        }
    }

    fn settle(ops: &mut Ops) {
        let call = CallId::generate(Timestamp::from_unix_ms(0));
        ops.settle(call, vec![counter()], Usd::from_split(1, 0));
    }

    fn numbers(ops: &Ops) -> Vec<u64> {
        ops.batch().iter().map(|one| one.number).collect()
    }

    #[test]
    fn what_no_sum_holds_comes_after_the_sums() {
        let mut ops = Ops::default();
        settle(&mut ops);
        settle(&mut ops);
        ops.sum(vec![SharedBook {
            book: "book".into(),
            keep_ms: 1,
            spent: vec![(counter(), Usd::from_split(2, 0))],
        }]);
        settle(&mut ops);
        assert_eq!(numbers(&ops), [1, 2]);
        ops.confirm(2);
        assert!(numbers(&ops).is_empty());
        let sums = ops.next_sums().map(|(books, last)| (books.len(), last));
        assert_eq!(sums, Some((1, 2)));
        ops.summing = Summing::No;
        assert_eq!(numbers(&ops), [3]);
    }

    #[test]
    fn past_the_longest_queue_only_ledgers_can_tell_and_holds_stay() {
        let mut ops = Ops::default();
        let call = CallId::generate(Timestamp::from_unix_ms(0));
        ops.open(call, &[]);
        ops.spend_hold(call);
        for _ in 1..QUEUE_MAX {
            settle(&mut ops);
        }
        assert!(!ops.overflowed);
        settle(&mut ops);
        assert!(ops.overflowed);
        // What no ledger knows, and what came last.
        assert_eq!(ops.len(), 2);
        assert!(matches!(ops.batch()[0].op, Op::Spend(..)));
    }

    #[test]
    fn a_new_epoch_forgets_what_the_ledger_has_and_holds_again_what_is_in_flight() {
        let mut ops = Ops::default();
        let call = CallId::generate(Timestamp::from_unix_ms(0));
        let want = SharedWant {
            counter: counter(),
            oldest: 0,
            limit: Usd::from_split(9, 0),
            amount: Usd::from_split(1, 0),
            blocks: true,
        };
        ops.open(call, &[want]);
        settle(&mut ops);
        ops.begin_epoch(false);
        ops.hold_again();
        let batch = ops.batch();
        assert!(
            matches!(batch.first(), Some(Numbered { op: Op::Hold(held, _), .. }) if *held == call)
        );
        assert_eq!(batch.len(), 1);
    }
}
