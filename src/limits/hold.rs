//! What a call holds of the limits, from its admission to its end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bucket::Lot;
use super::counter::{Counter, next_id};
use super::fair::{Fair, FairLot};
use crate::domain::{
    Clock, Dimension, Reading, SharedLot, SharedLotEnd, SharedPlace, SharedRates, Usage,
    UsageSource,
};

/// What one call holds. However the call ends, the places of open calls come back with this
/// value; tokens come back as far as the call is known not to have used them: all of them where it
/// was never sent, none where its usage is unknown.
#[must_use = "what is held is given back on drop"]
pub struct Hold {
    pub(super) parts: Vec<Part>,
    pub(super) shares: Vec<Share>,
    pub(super) clock: Arc<dyn Clock>,
    /// Who else is told, where replicas share rates.
    pub(super) told: Option<Arc<dyn SharedRates>>,
    /// Its places among the calls of all replicas.
    pub(super) place: Option<SharedPlace>,
    /// Whether something may have been sent.
    pub(super) was_sent: bool,
}

/// What is held of one limit.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) counter: Arc<Counter>,
    pub(super) request: Option<Lot>,
    pub(super) tokens: Option<TokenLot<Lot>>,
    pub(super) is_open: bool,
    /// What is held of the buckets that replicas share.
    pub(super) shared: SharedLots,
}

/// What is held of a limit that replicas share.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLots {
    pub(super) request: Option<SharedLot>,
    pub(super) tokens: Option<SharedLot>,
}

impl SharedLots {
    /// All of it comes back.
    pub(super) fn unused(self) -> impl Iterator<Item = SharedLotEnd> {
        let lots = [self.request, self.tokens].into_iter().flatten();
        lots.map(|lot| SharedLotEnd {
            unused: lot.amount,
            more: 0,
            lot,
        })
    }

    /// What became of them: of a call that was sent or not, and of its tokens.
    fn ended(
        self,
        was_sent: bool,
        (unused, more): (u64, u64),
    ) -> impl Iterator<Item = SharedLotEnd> {
        let request = self.request.filter(|_| !was_sent).map(|lot| SharedLotEnd {
            lot,
            unused: 1,
            more: 0,
        });
        let tokens = self.tokens.map(|lot| SharedLotEnd { lot, unused, more });
        request.into_iter().chain(tokens)
    }
}

/// What is held of one quota of the account.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) quota: Arc<Quota>,
    pub(super) request: Option<FairLot>,
    pub(super) tokens: Option<TokenLot<FairLot>>,
    /// What is held of the quota that replicas share.
    pub(super) shared: SharedLots,
}

/// Tokens that were taken, and what they count for.
#[derive(Debug)]
pub(super) struct TokenLot<L> {
    pub(super) lot: L,
    pub(super) reserved: u64,
    pub(super) weights: TokenWeights,
}

/// What a token counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenWeights {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// The shared counter of one quota.
#[derive(Debug)]
pub(super) struct Quota {
    /// The order in which quotas are locked.
    pub(super) id: u64,
    state: Mutex<QuotaState>,
}

#[derive(Debug, Default)]
pub(super) struct QuotaState {
    pub(super) requests: Fair,
    pub(super) tokens: Fair,
}

impl Quota {
    pub(super) fn new() -> Self {
        Self {
            id: next_id(),
            state: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QuotaState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenWeights {
    pub(super) const fn weigh(self, input: u64, output: u64) -> u64 {
        let input = input.saturating_mul(self.input);
        input.saturating_add(output.saturating_mul(self.output))
    }

    /// As Bedrock counts at the end: input, cache writes and weighted output; reads are free.
    fn used(self, usage: &Usage) -> u64 {
        let of = |dimension: &Dimension| usage.get(dimension).unwrap_or(0);
        let input = of(&Dimension::InputTokens)
            .saturating_add(of(&Dimension::CacheWrite5mTokens))
            .saturating_add(of(&Dimension::CacheWrite30mTokens))
            .saturating_add(of(&Dimension::CacheWrite1hTokens));
        self.weigh(input, of(&Dimension::OutputTokens))
    }
}

impl Hold {
    /// From here on the call may have been served.
    pub const fn sent(&mut self) {
        self.was_sent = true;
    }

    /// The call has ended with this usage: what it did not use comes back, what it used beyond
    /// its reservation is taken. Usage that is not reported counts as no less than the
    /// reservation.
    pub fn settle(mut self, reading: &Reading) {
        self.close(Some(reading));
    }

    fn close(&mut self, reading: Option<&Reading>) {
        if self.parts.is_empty() && self.shares.is_empty() {
            // It was closed before.
            return;
        }
        let now_ms = self.clock.now().unix_ms();
        let mut ended = Vec::new();
        for part in self.parts.drain(..) {
            part.close(self.was_sent, reading, now_ms, &mut ended);
        }
        for share in self.shares.drain(..) {
            share.close(self.was_sent, reading, now_ms, &mut ended);
        }
        if let Some(told) = self.told.take() {
            told.ended(ended);
        }
        drop(self.place.take());
    }
}

/// Nothing of a call that ends without a word is known.
impl Drop for Hold {
    fn drop(&mut self) {
        self.close(None);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("parts", &self.parts)
            .field("shares", &self.shares)
            .field("was_sent", &self.was_sent)
            .finish_non_exhaustive()
    }
}

impl<L> TokenLot<L> {
    /// What the call did not use of it, and what it used beyond it.
    fn rest(&self, was_sent: bool, reading: Option<&Reading>) -> (u64, u64) {
        let used = self.used(was_sent, reading);
        let unused = self.reserved.saturating_sub(used);
        (unused, used.saturating_sub(self.reserved))
    }

    /// What the call used, in this limit's weights.
    fn used(&self, was_sent: bool, reading: Option<&Reading>) -> u64 {
        match reading {
            _ if !was_sent => 0,
            None => self.reserved,
            Some(reading) if reading.source == UsageSource::Reported => {
                self.weights.used(&reading.usage)
            }
            Some(reading) => self.weights.used(&reading.usage).max(self.reserved),
        }
    }
}

impl Part {
    fn close(
        self,
        was_sent: bool,
        reading: Option<&Reading>,
        now_ms: i64,
        ended: &mut Vec<SharedLotEnd>,
    ) {
        let mut state = self.counter.lock();
        state.requests.pass_on(now_ms);
        state.tokens.pass_on(now_ms);
        if self.is_open {
            state.open = state.open.saturating_sub(1);
        }
        if let Some(request) = self.request.filter(|_| !was_sent) {
            state.requests.give_back(request, 1);
        }
        let mut rest = (0, 0);
        if let Some(tokens) = self.tokens {
            rest = tokens.rest(was_sent, reading);
            state.tokens.give_back(tokens.lot, rest.0);
            state.tokens.take(rest.1);
        }
        ended.extend(self.shared.ended(was_sent, rest));
    }
}

impl Share {
    fn close(
        self,
        was_sent: bool,
        reading: Option<&Reading>,
        now_ms: i64,
        ended: &mut Vec<SharedLotEnd>,
    ) {
        let mut state = self.quota.lock();
        state.requests.pass_on(now_ms);
        state.tokens.pass_on(now_ms);
        if let Some(request) = self.request.filter(|_| !was_sent) {
            state.requests.give_back(&request, 1);
        }
        let mut rest = (0, 0);
        if let Some(tokens) = self.tokens {
            rest = tokens.rest(was_sent, reading);
            state.tokens.give_back(&tokens.lot, rest.0);
            state.tokens.take_more(&tokens.lot, rest.1);
        }
        ended.extend(self.shared.ended(was_sent, rest));
    }
}
