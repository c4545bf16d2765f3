//! One call and the limits that apply to it: it passes all of them in one step, or none.

use std::sync::{Arc, MutexGuard};

use super::counter::{Counter, State};
use super::hold::{Hold, Part, SharedLots, TokenLot, TokenWeights};
use super::lack::{Fitted, Lack, Lacks};
use super::rates::{RateOf, Rates};
use super::refused::{Refused, What};
use super::table::{Account, Limit};
use crate::domain::{Clock, SharedPlaces};

/// What a call may use, as far as it is known before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of input, estimated.
    pub input: u64,
    /// The most tokens of output that the request allows; where it does not say, that the model
    /// generates.
    pub output: u64,
    /// Whether tokens are used at all.
    pub has_tokens: bool,
}

impl Demand {
    /// What it is in the tokens of a limit.
    pub(super) const fn tokens(self, weights: TokenWeights) -> u64 {
        if !self.has_tokens {
            return 0;
        }
        weights.weigh(self.input, self.output)
    }
}

/// A call that passed.
#[derive(Debug)]
pub struct Admitted {
    /// What it holds until its end.
    pub hold: Hold,
    /// The limits in mode `observe` that would have refused it.
    pub observed: Vec<Refused>,
}

/// A limit and the counter of it that a call goes to.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) limit: Arc<Limit>,
    pub(super) counter: Arc<Counter>,
    pub(super) subject: Arc<str>,
}

/// The limits that apply to one call.
pub struct Applying {
    /// In the order of their counters' ids.
    pub(super) limits: Vec<Counted>,
    /// In the order of their ids.
    pub(super) accounts: Vec<Arc<Account>>,
    pub(super) tenant: Arc<str>,
    pub(super) output_weight: u64,
    pub(super) clock: Arc<dyn Clock>,
    /// Who is told of places that are taken without the store of all replicas.
    pub(super) apart: Option<Arc<dyn SharedPlaces>>,
}

impl Applying {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.accounts.is_empty()
    }

    /// Whether any counts tokens, so that the request has to be read for them.
    pub fn counts_tokens(&self) -> bool {
        let mut limits = self.limits.iter();
        limits.any(|one| one.limit.tokens.is_some())
            || self.accounts.iter().any(|one| one.tokens.is_some())
    }

    /// Takes from all of them, or from none.
    ///
    /// # Errors
    /// When one that holds has no room: the one that has none for longest.
    pub fn admit(self, demand: Demand) -> Result<Admitted, Refused> {
        self.admit_by(demand, Rates::Own)
    }

    /// The same, by rates that are not those of this process alone.
    ///
    /// # Errors
    /// When one that holds has no room: the one that has none for longest.
    pub fn admit_by(self, demand: Demand, mut rates: Rates) -> Result<Admitted, Refused> {
        let now_ms = self.clock.now().unix_ms();
        // Given back on drop, where the call is refused after all.
        let taken = rates.taken_places();
        let (rates, told) = self.sorted(demand, rates);
        // All at once, and always in the order of their ids: no two calls wait for each other.
        let mut states: Vec<_> = self.limits.iter().map(|one| one.counter.lock()).collect();
        let mut quotas: Vec<_> = self.accounts.iter().map(|one| one.quota.lock()).collect();
        let first_quota = self.limits.len();
        let mut lacks = Lacks::default();
        for (index, (one, state)) in self.limits.iter().zip(&mut states).enumerate() {
            let lack = self.check(one, state, (demand, now_ms), rates.of(index));
            lacks.add(index, Fitted::Limit(one), lack);
        }
        for (index, (one, state)) in (first_quota..).zip(self.accounts.iter().zip(&mut quotas)) {
            let lack = self.check_account(one, state, (demand, now_ms), rates.of(index));
            lacks.add(index, Fitted::Quota(one), lack);
        }
        if let Some(refused) = lacks.worst() {
            if told.is_none() {
                self.claim(&lacks, &mut quotas, now_ms);
            }
            drop((states, quotas));
            if let Some(told) = told {
                told.ended(rates.unused());
            }
            return Err(refused);
        }

        let has_room = |index: usize| lacks.of(index).is_none();
        let limits = self.limits.iter().zip(&mut states).enumerate();
        let limits = limits.filter(|(index, _)| has_room(*index));
        let parts = limits.map(|(index, (one, state))| {
            let part = self.take(one, state, demand);
            Part {
                shared: rates.lots(index),
                ..part
            }
        });
        let parts = parts.collect();
        let accounts = (first_quota..).zip(self.accounts.iter().zip(&mut quotas));
        let accounts = accounts.filter(|(index, _)| has_room(*index));
        let shares = accounts
            .map(|(index, (one, state))| self.take_share(one, state, demand, rates.lots(index)));
        let shares = shares.collect();
        drop((states, quotas));
        let place = taken.or_else(|| self.take_apart(&rates, &lacks));
        let observed = lacks.refused();
        Ok(Admitted {
            hold: Hold {
                parts,
                shares,
                place,
                clock: self.clock,
                told,
                was_sent: false,
            },
            observed,
        })
    }

    /// Lets time pass in one limit, and says why it has no room.
    fn check(
        &self,
        one: &Counted,
        state: &mut MutexGuard<'_, State>,
        (demand, now_ms): (Demand, i64),
        by: RateOf<'_>,
    ) -> Option<Lack> {
        let limit = &one.limit;
        let requests = limit.requests.and_then(|size| {
            let part = by.part(size);
            state.requests.pass(now_ms, part.rate);
            let own = || Some(state.requests.wait_ms(1, part));
            by.lack(What::Requests, size, 1, own)
        });
        let tokens = limit.tokens.and_then(|size| {
            let part = by.part(size);
            state.tokens.pass(now_ms, part.rate);
            let asked = demand.tokens(limit.weights(self.output_weight));
            let own = || fits(asked, size.rate).then(|| state.tokens.wait_ms(asked, part));
            by.lack(What::Tokens, size, asked, own)
        });
        let calls = limit.settings.concurrent_calls.and_then(|most| {
            let is_full = by.is_full(state.open, most);
            is_full.then_some(Lack {
                what: What::Calls,
                most,
                asked: 1,
                wait_ms: Some(ANOTHER_ENDS_MS),
            })
        });
        Lack::worst([requests, tokens, calls])
    }

    fn take(&self, one: &Counted, state: &mut MutexGuard<'_, State>, demand: Demand) -> Part {
        let limit = &one.limit;
        let is_open = limit.settings.concurrent_calls.is_some();
        state.open = state.open.saturating_add(u64::from(is_open));
        let weights = limit.weights(self.output_weight);
        let reserved = demand.tokens(weights);
        let tokens = limit.tokens.map(|_size| TokenLot {
            lot: state.tokens.take(reserved),
            reserved,
            weights,
        });
        Part {
            counter: Arc::clone(&one.counter),
            request: limit.requests.map(|_size| state.requests.take(1)),
            tokens,
            is_open,
            shared: SharedLots::default(),
        }
    }
}

/// Whether an amount is not above the limit itself.
pub(super) const fn fits(asked: u64, rate: u64) -> bool {
    asked <= rate
}

/// When another call ends nobody knows.
const ANOTHER_ENDS_MS: u64 = 1_000;
