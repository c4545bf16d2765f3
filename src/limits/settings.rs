//! `[limits]`: what may come how fast.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Glob, Region, Scope, TenantId, keywords};

/// All limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Limits on callers.
    pub limits: Vec<LimitSettings>,
    /// The account's own quotas.
    pub accounts: Vec<AccountSettings>,
    /// What a token of output counts for, by model; before the built-in table.
    pub burndown: BTreeMap<Glob, u64>,
    /// The most output tokens of models, for calls that do not say; before the built-in table.
    pub output_max: BTreeMap<Glob, u64>,
}

/// One limit. A number that is absent limits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Its name, in metrics and refusals.
    pub name: String,
    /// Whom it is for.
    pub scope: Scope,
    /// Calls per minute.
    pub requests_per_minute: Option<u64>,
    /// Weighted tokens per minute.
    pub tokens_per_minute: Option<u64>,
    /// Calls at once.
    pub concurrent_calls: Option<u64>,
    /// How long a time's worth of the limit may be used at once.
    pub burst: Duration,
    /// Whether it holds.
    pub mode: LimitMode,
    /// Whom to ask about it.
    pub owner: Option<String>,
    /// What a token of input counts for; absent: one.
    pub input_weight: Option<u64>,
    /// What a token of output counts for; absent: by the model.
    pub output_weight: Option<u64>,
}

/// A quota of the account, shared fairly between the tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    /// Its name, in metrics and refusals.
    pub name: String,
    /// The labels of the models that share the quota.
    pub model: Option<Glob>,
    /// The region it is in; absent: all regions together.
    pub region: Option<Region>,
    /// Calls per minute.
    pub requests_per_minute: Option<u64>,
    /// Weighted tokens per minute.
    pub tokens_per_minute: Option<u64>,
    /// How long a time's worth of the quota may be used at once.
    pub burst: Duration,
    /// Whether it holds.
    pub mode: LimitMode,
    /// Whom to ask about it.
    pub owner: Option<String>,
    /// The weights of tenants; those that are not named have one.
    pub weights: BTreeMap<TenantId, u64>,
}

impl LimitSettings {
    /// A limit of that name that limits nothing.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scope: Scope::default(),
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent_calls: None,
            burst: MINUTE,
            mode: LimitMode::Enforce,
            owner: None,
            input_weight: None,
            output_weight: None,
        }
    }
}

impl AccountSettings {
    /// A quota of that name without a number.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            model: None,
            region: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            burst: MINUTE,
            mode: LimitMode::Enforce,
            owner: None,
            weights: BTreeMap::new(),
        }
    }
}

keywords!(
    /// Whether a limit holds.
    LimitMode {
        /// It does.
        Enforce = "enforce",
        /// What it would have refused is counted, and passes.
        Observe = "observe",
    }
);

/// What Bedrock itself gives at once, as far as is known: so that any call up to the limit fits.
const MINUTE: Duration = Duration::from_mins(1);
