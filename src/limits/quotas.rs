//! Quotas of the account that apply to a call: whether a tenant's share has room, what it takes of it,
//! and what the store of all replicas is asked for.

use std::fmt::Write as _;
use std::sync::{Arc, MutexGuard};

use super::applying::{Applying, Demand, fits};
use super::hold::{QuotaState, Share, SharedLots, TokenLot, TokenWeights};
use super::lack::{Lack, Lacks};
use super::rates::RateOf;
use super::refused::What;
use super::settings::LimitMode;
use super::table::Account;
use crate::domain::{SharedRate, SharedShare};

impl Applying {
    /// What the store of all replicas is asked for of the quotas: `first` is what the first of them is
    /// called among the limits of the call.
    pub(super) fn quota_wants(
        &self,
        demand: Demand,
        first: usize,
    ) -> impl Iterator<Item = SharedRate> {
        let asked = demand.tokens(self.account_weights());
        let accounts = self.accounts.iter().zip(first..);
        accounts.flat_map(move |(account, limit)| {
            let requests = account.requests.map(|size| (size, 1, "requests"));
            let tokens = account.tokens.filter(|_size| asked > 0);
            let tokens = tokens.map(|size| (size, asked, "tokens"));
            let both = requests.into_iter().chain(tokens);
            both.map(move |(size, amount, what)| SharedRate {
                bucket: quota(account, what),
                rate: size.rate,
                burst: size.burst,
                amount,
                limit,
                enforces: account.settings.mode == LimitMode::Enforce,
                share: Some(SharedShare {
                    tenant: Arc::clone(&self.tenant),
                    weight: account.weight(&self.tenant),
                }),
            })
        })
    }

    /// Lets time pass in one quota, and says why the tenant's share has no room.
    pub(super) fn check_account(
        &self,
        account: &Account,
        state: &mut MutexGuard<'_, QuotaState>,
        (demand, now_ms): (Demand, i64),
        by: RateOf<'_>,
    ) -> Option<Lack> {
        let requests = account.requests.and_then(|size| {
            let part = by.part(size);
            state.requests.pass(now_ms, part.rate);
            let own = || Some(state.requests.wait_ms(&self.tenant, 1, part));
            by.lack(What::Requests, size, 1, own)
        });
        let tokens = account.tokens.and_then(|size| {
            let part = by.part(size);
            state.tokens.pass(now_ms, part.rate);
            let asked = demand.tokens(self.account_weights());
            let wait = || state.tokens.wait_ms(&self.tenant, asked, part);
            let own = || fits(asked, size.rate).then(wait);
            by.lack(What::Tokens, size, asked, own)
        });
        Lack::worst([requests, tokens])
    }

    /// What a token counts for in all quotas.
    pub(super) const fn account_weights(&self) -> TokenWeights {
        TokenWeights {
            input: 1,
            output: self.output_weight,
        }
    }

    /// Has room left to a tenant that has none in use and found none.
    pub(super) fn claim(
        &self,
        lacks: &Lacks<'_>,
        quotas: &mut [MutexGuard<'_, QuotaState>],
        now_ms: i64,
    ) {
        for (limit, state) in (self.limits.len()..).zip(quotas) {
            let Some(lack) = lacks.of(limit) else {
                continue;
            };
            let Some(wait_ms) = lack.wait_ms else {
                continue;
            };
            let fair = match lack.what {
                What::Requests => &mut state.requests,
                What::Tokens | What::Calls => &mut state.tokens,
            };
            fair.claim(&self.tenant, lack.asked, wait_ms, now_ms);
        }
    }

    /// Takes of one quota, in this process; `shared` is what was taken of it in the store.
    pub(super) fn take_share(
        &self,
        account: &Account,
        state: &mut MutexGuard<'_, QuotaState>,
        demand: Demand,
        shared: SharedLots,
    ) -> Share {
        let weight = account.weight(&self.tenant);
        let weights = self.account_weights();
        let reserved = demand.tokens(weights);
        let tokens = account.tokens.map(|_size| TokenLot {
            lot: state.tokens.take(&self.tenant, reserved, weight),
            reserved,
            weights,
        });
        let requests = account.requests;
        Share {
            quota: Arc::clone(&account.quota),
            request: requests.map(|_size| state.requests.take(&self.tenant, 1, weight)),
            tokens,
            shared,
        }
    }
}

/// All that decides what a quota counts is part of its name, but how large it is: one that is changed
/// goes on.
fn quota(account: &Account, what: &str) -> Arc<str> {
    let mut name = format!("{}|", account.name);
    let settings = &account.settings;
    if let Some(model) = &settings.model {
        // Writing to a String cannot fail.
        let _written = write!(name, "model={model} ");
    }
    if let Some(region) = &settings.region {
        let _written = write!(name, "region={region} ");
    }
    let _written = write!(name, "|{what}");
    name.into()
}
