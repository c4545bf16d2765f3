//! One call and the limits that apply to it: it passes all of them in one step, or none.

use std::sync::{Arc, MutexGuard};

use super::counter::{Counter, State};
use super::hold::{Hold, Part, SharedLots, TokenLot, TokenWeights};
use super::rates::{RateOf, Rates};
use super::refused::{Refused, What};
use super::settings::LimitMode;
use super::table::{Account, Limit};
use crate::domain::{Clock, SharedPlaces};

/// What a call may use, as far as it is known before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of input, estimated.
    pub input: u64,
    /// The most tokens of output that the request allows; `None` where it does not say.
    pub output: Option<u64>,
    /// Whether tokens are used at all.
    pub has_tokens: bool,
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
    pub(super) output_max: u64,
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
        let of_limits = self.limits.iter().zip(&mut states).enumerate();
        let of_limits: Vec<_> = of_limits
            .map(|(index, (one, state))| self.check(one, state, (demand, now_ms), rates.of(index)))
            .collect();
        let of_accounts = self.accounts.iter().zip(&mut quotas);
        let of_accounts: Vec<_> = of_accounts
            .zip(self.limits.len()..)
            .map(|((one, state), index)| {
                self.check_account(one, state, (demand, now_ms), rates.of(index))
            })
            .collect();
        if let Some(refused) = self.worst(&of_limits, &of_accounts) {
            if told.is_none() {
                self.claim(&of_accounts, &mut quotas, now_ms);
            }
            drop((states, quotas));
            if let Some(told) = told {
                told.ended(rates.unused());
            }
            return Err(refused);
        }

        let limits = self.limits.iter().zip(&mut states).zip(&of_limits);
        let limits = limits.enumerate();
        let limits = limits.filter(|(_, (_, refused))| refused.is_none());
        let accounts = self.accounts.iter().zip(&mut quotas).zip(&of_accounts);
        let accounts = accounts.zip(self.limits.len()..);
        let accounts = accounts.filter(|((_, refused), _)| refused.is_none());
        let parts = limits.map(|(index, ((one, state), _))| {
            let part = self.take(one, state, demand);
            Part {
                shared: rates.lots(index),
                ..part
            }
        });
        let parts = parts.collect();
        let shares = accounts.map(|(((one, state), _), index)| {
            self.take_share(one, state, demand, rates.lots(index))
        });
        let shares = shares.collect();
        drop((states, quotas));
        let place = taken.or_else(|| self.take_apart(&rates, &of_limits));
        Ok(Admitted {
            hold: Hold {
                parts,
                shares,
                place,
                clock: self.clock,
                told,
                was_sent: false,
            },
            observed: of_limits.into_iter().chain(of_accounts).flatten().collect(),
        })
    }

    /// Of those that hold, the one that has no room for longest.
    fn worst(
        &self,
        of_limits: &[Option<Refused>],
        of_accounts: &[Option<Refused>],
    ) -> Option<Refused> {
        let limits = self.limits.iter().map(|one| one.limit.settings.mode);
        let accounts = self.accounts.iter().map(|one| one.settings.mode);
        let all = limits.zip(of_limits).chain(accounts.zip(of_accounts));
        let held = all.filter(|(mode, _)| *mode == LimitMode::Enforce);
        let refused = held.filter_map(|(_, refused)| refused.as_ref());
        refused.max_by_key(|one| one.severity()).cloned()
    }

    pub(super) fn tokens(&self, weights: TokenWeights, demand: Demand) -> u64 {
        if !demand.has_tokens {
            return 0;
        }
        weights.weigh(demand.input, demand.output.unwrap_or(self.output_max))
    }

    /// Lets time pass in one limit, and says why it has no room.
    fn check(
        &self,
        one: &Counted,
        state: &mut MutexGuard<'_, State>,
        (demand, now_ms): (Demand, i64),
        by: RateOf<'_>,
    ) -> Option<Refused> {
        let limit = &one.limit;
        let refused = |what, most, asked, wait_ms| Refused {
            limit: Arc::clone(&limit.name),
            counter: Arc::clone(&one.subject),
            what,
            is_account: false,
            most,
            asked,
            wait_ms,
            owner: limit.owner.clone(),
        };
        let requests = limit.requests.and_then(|size| {
            let part = by.part(size);
            state.requests.pass(now_ms, part.rate);
            let wait = match by {
                RateOf::Part(_) => Some(state.requests.wait_ms(1, part)),
                RateOf::Any => Some(0),
                RateOf::Told(told) => told.requests.as_ref().map_or(Some(0), |one| one.wait_ms),
            };
            (wait != Some(0)).then(|| refused(What::Requests, size.rate, 1, wait))
        });
        let tokens = limit.tokens.and_then(|size| {
            let part = by.part(size);
            state.tokens.pass(now_ms, part.rate);
            let asked = self.tokens(limit.weights(self.output_weight), demand);
            let own = || fits(asked, size.rate).then(|| state.tokens.wait_ms(asked, part));
            let wait = match by {
                RateOf::Part(_) => own(),
                RateOf::Any => Some(0),
                RateOf::Told(told) => told.tokens.as_ref().map_or(Some(0), |one| one.wait_ms),
            };
            let has_none = asked > 0 && wait != Some(0);
            has_none.then(|| refused(What::Tokens, size.rate, asked, wait))
        });
        let calls = limit.settings.concurrent_calls.and_then(|most| {
            let is_full = by.is_full(state.open, most);
            is_full.then(|| refused(What::Calls, most, 1, Some(ANOTHER_ENDS_MS)))
        });
        let all = [requests, tokens, calls].into_iter().flatten();
        all.max_by_key(Refused::severity)
    }

    fn take(&self, one: &Counted, state: &mut MutexGuard<'_, State>, demand: Demand) -> Part {
        let limit = &one.limit;
        let is_open = limit.settings.concurrent_calls.is_some();
        state.open = state.open.saturating_add(u64::from(is_open));
        let weights = limit.weights(self.output_weight);
        let reserved = self.tokens(weights, demand);
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
