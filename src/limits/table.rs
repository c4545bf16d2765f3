//! The limits in force, what was taken of them, and which of them a call meets.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::applying::{Applying, Counted};
use super::bucket::Size;
use super::counter::{COUNTERS_MAX, Counters};
use super::fair::Fair;
use super::hold::{Quota, TokenWeights};
use super::refused::What;
use super::settings::{AccountSettings, LimitSettings, Settings};
use super::weights::Weights;
use crate::domain::{Clock, ModelRef, Region, Scope, Subject};

/// All limits, and what calls have taken of them.
pub struct Limits {
    tables: ArcSwap<Tables>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Tables {
    limits: Vec<Arc<Limit>>,
    accounts: Vec<Arc<Account>>,
    weights: Weights,
}

/// A limit in force.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: Arc<str>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) settings: LimitSettings,
    pub(super) requests: Option<Size>,
    pub(super) tokens: Option<Size>,
    counters: Arc<Counters>,
}

/// A quota of the account in force.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: Arc<str>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) settings: AccountSettings,
    pub(super) requests: Option<Size>,
    pub(super) tokens: Option<Size>,
    pub(super) quota: Arc<Quota>,
}

/// How a limit stands, for a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Of what.
    pub what: What,
    /// How much of it the fullest counter has taken, in thousandths.
    pub fullest_permille: u64,
    /// How many counters it has, or for a quota of the account, how many tenants share it now.
    pub counters: usize,
}

impl Limits {
    /// These limits, with nothing taken.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            tables: ArcSwap::from_pointee(Tables::new(settings, &Tables::default())),
            clock,
        }
    }

    /// Puts changed limits in force for new calls. What was taken stays where name and scope do.
    pub fn reload(&self, settings: &Settings) {
        let before = self.tables.load_full();
        self.tables.store(Arc::new(Tables::new(settings, &before)));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let tables = self.tables.load();
        tables.limits.is_empty() && tables.accounts.is_empty()
    }

    /// The limits that apply to a call.
    pub fn applying(
        &self,
        subject: &Subject<'_>,
        region: &Region,
        model: Option<&ModelRef>,
    ) -> Applying {
        let tables = self.tables.load();
        let now_ms = self.clock.now().unix_ms();
        let mut name = String::with_capacity(Scope::COUNTER_BYTES);
        let counted = |limit: &Arc<Limit>| {
            let is_meant = limit.settings.scope.write_counter(subject, &mut name);
            let (counter, subject) = is_meant.then(|| limit.counters.of(&name, now_ms))?;
            Some(Counted {
                limit: Arc::clone(limit),
                counter,
                subject,
            })
        };
        let mut limits: Vec<_> = tables.limits.iter().filter_map(counted).collect();
        limits.sort_unstable_by_key(|counted| counted.counter.id);
        let shared = |account: &&Arc<Account>| account.is_for(subject, region);
        let mut accounts: Vec<_> = tables.accounts.iter().filter(shared).cloned().collect();
        accounts.sort_unstable_by_key(|account| account.quota.id);
        Applying {
            limits,
            accounts,
            tenant: subject.tenant.as_str().into(),
            output_weight: tables.weights.output_weight(model),
            clock: Arc::clone(&self.clock),
            apart: None,
        }
    }

    /// How many tokens a model generates at most, for a call that does not say.
    pub fn output_max(&self, model: Option<&ModelRef>) -> u64 {
        self.tables.load().weights.output_max(model)
    }

    /// The limits on callers in force.
    pub(super) fn settings(&self) -> Vec<LimitSettings> {
        let tables = self.tables.load();
        let limits = tables.limits.iter();
        limits.map(|limit| limit.settings.clone()).collect()
    }

    /// How each limit stands.
    pub fn uses(&self) -> Vec<LimitUse> {
        let tables = self.tables.load();
        let now_ms = self.clock.now().unix_ms();
        let limits = tables.limits.iter().flat_map(|limit| limit.uses(now_ms));
        let accounts = tables.accounts.iter();
        let accounts = accounts.flat_map(|account| account.uses(now_ms));
        limits.chain(accounts).collect()
    }
}

impl Tables {
    fn new(settings: &Settings, before: &Self) -> Self {
        let limits = settings.limits.iter();
        let accounts = settings.accounts.iter();
        Self {
            limits: limits.map(|one| before.limit(one)).collect(),
            accounts: accounts.map(|one| before.account(one)).collect(),
            weights: Weights::new(settings),
        }
    }

    fn limit(&self, settings: &LimitSettings) -> Arc<Limit> {
        let is_same = |before: &&Arc<Limit>| {
            before.settings.name == settings.name && before.settings.scope == settings.scope
        };
        let same = self.limits.iter().find(is_same);
        let counters = same.map(|before| Arc::clone(&before.counters));
        let burst_ms = burst_ms(settings.burst);
        let size = |rate| Size::of(rate, burst_ms);
        Arc::new(Limit {
            name: settings.name.as_str().into(),
            owner: settings.owner.as_deref().map(Into::into),
            requests: settings.requests_per_minute.map(size),
            tokens: settings.tokens_per_minute.map(size),
            counters: counters.unwrap_or_else(|| Arc::new(Counters::new(COUNTERS_MAX))),
            settings: settings.clone(),
        })
    }

    fn account(&self, settings: &AccountSettings) -> Arc<Account> {
        let is_same = |before: &&Arc<Account>| {
            let before = &before.settings;
            before.name == settings.name
                && before.model == settings.model
                && before.region == settings.region
        };
        let same = self.accounts.iter().find(is_same);
        let quota = same.map(|before| Arc::clone(&before.quota));
        let burst_ms = burst_ms(settings.burst);
        let size = |rate| Size::of(rate, burst_ms);
        Arc::new(Account {
            name: settings.name.as_str().into(),
            owner: settings.owner.as_deref().map(Into::into),
            requests: settings.requests_per_minute.map(size),
            tokens: settings.tokens_per_minute.map(size),
            quota: quota.unwrap_or_else(|| Arc::new(Quota::new())),
            settings: settings.clone(),
        })
    }
}

fn burst_ms(burst: Duration) -> u64 {
    u64::try_from(burst.as_millis()).unwrap_or(u64::MAX)
}

impl Limit {
    /// What a token counts for in it.
    pub(super) fn weights(&self, of_model: u64) -> TokenWeights {
        TokenWeights {
            input: self.settings.input_weight.unwrap_or(1),
            output: self.settings.output_weight.unwrap_or(of_model),
        }
    }

    fn uses(&self, now_ms: i64) -> Vec<LimitUse> {
        let calls = self.settings.concurrent_calls;
        let calls = calls.map(|most| Size {
            rate: 0,
            burst: most,
        });
        let sizes = [
            (What::Requests, self.requests),
            (What::Tokens, self.tokens),
            (What::Calls, calls),
        ];
        let stands = |(what, size): (What, Option<Size>)| {
            Some(LimitUse {
                limit: Arc::clone(&self.name),
                what,
                fullest_permille: self.counters.fullest(what, now_ms, size?),
                counters: self.counters.len(),
            })
        };
        sizes.into_iter().filter_map(stands).collect()
    }
}

impl Account {
    fn is_for(&self, subject: &Subject<'_>, region: &Region) -> bool {
        let in_region = self
            .settings
            .region
            .as_ref()
            .is_none_or(|one| one == region);
        let pattern = self.settings.model.as_ref();
        let fits = pattern.zip(subject.model);
        in_region && fits.is_some_and(|(pattern, model)| pattern.matches(model))
    }

    /// A tenant's weight.
    pub(super) fn weight(&self, tenant: &str) -> u64 {
        let mut weights = self.settings.weights.iter();
        let own = weights.find(|(name, _)| name.as_str() == tenant);
        own.map_or(1, |(_, weight)| *weight)
    }

    fn uses(&self, now_ms: i64) -> Vec<LimitUse> {
        let mut state = self.quota.lock();
        state.requests.pass_on(now_ms);
        state.tokens.pass_on(now_ms);
        let stands = |what, size: Option<Size>, fair: &Fair| {
            Some(LimitUse {
                limit: format!("account.{}", self.name).into(),
                what,
                fullest_permille: fair.used_permille(size?),
                counters: fair.len(),
            })
        };
        let requests = stands(What::Requests, self.requests, &state.requests);
        let tokens = stands(What::Tokens, self.tokens, &state.tokens);
        requests.into_iter().chain(tokens).collect()
    }
}
