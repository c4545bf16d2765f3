//! The whole configuration, checked: one part per room.

use crate::{
    admin, alerts, budgets, identity, ledger, limits, meters, pricing, proxy, registry, relay,
    replicas, telemetry, upstream,
};

/// The whole configuration, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[listener]`
    pub listener: proxy::ListenerSettings,
    /// `[admin]`
    pub admin: admin::Settings,
    /// `[identity]` and `when.identity_unknown`
    pub identity: identity::Settings,
    /// `[keys]`
    pub keys: registry::Settings,
    /// `[when]`, apart from `identity_unknown`
    pub when: proxy::WhenSettings,
    /// `[upstream]`
    pub upstream: upstream::Settings,
    /// `[limits]`
    pub limits: limits::Settings,
    /// `[drain]`
    pub drain: relay::DrainSettings,
    /// `[ledger]`
    pub ledger: ledger::Settings,
    /// `[prices]`
    pub prices: pricing::Settings,
    /// `[metrics]` and `[log]`
    pub telemetry: telemetry::Settings,
    /// `[budgets]`
    pub budgets: Vec<budgets::Budget>,
    /// `[budget_store]` and `when.budget_store_down`
    pub budget_store: replicas::Settings,
    /// `[models]`
    pub windows: meters::Windows,
    /// `[alerts]`
    pub alerts: alerts::Settings,
    /// `[shutdown]`
    pub shutdown: proxy::ShutdownSettings,
}
