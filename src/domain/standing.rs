//! Where one counter of a budget stands: what reports, gauges and alerts see of it.

use std::sync::Arc;

use super::{TenantId, Timestamp, Usd};

/// One budget, for one subject, in its current period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetStanding {
    /// The budget's name in the configuration.
    pub budget: Arc<str>,
    /// Whom this counter is for, such as `tenant=search model=us.anthropic.claude-opus-5`; empty
    /// for a budget of everything.
    pub subject: Arc<str>,
    /// Whose counter it is, where the budget is one of a single tenant.
    pub tenant: Option<TenantId>,
    /// The kind of period, as configured: `day`, `month`, `rolling 24h`, ...
    pub period: Arc<str>,
    /// When the period began.
    pub begins: Timestamp,
    /// When it ends: the budget is whole again. For a rolling window, the present instant.
    pub ends: Timestamp,
    /// What may be spent, raises included.
    pub limit: Usd,
    /// What was spent: settled calls, those of unknown usage at what was held for them.
    pub spent: Usd,
    /// What is held for calls in flight.
    pub held: Usd,
    /// Whether a call that does not fit is refused.
    pub blocks: bool,
    /// At which shares of the limit people are told, in percent, ascending.
    pub thresholds: Arc<[u32]>,
    /// Whether people are told when the period would end above the limit.
    pub forecast: bool,
    /// The names of the outlets that are told; empty: none, the Prometheus rules do it.
    pub outlets: Arc<[Arc<str>]>,
    /// Whom to ask about it.
    pub owner: Option<Arc<str>>,
}

impl BudgetStanding {
    /// What is left for new calls: never below zero.
    pub fn remaining(&self) -> Usd {
        let taken = self.spent.saturating_add(self.held);
        let left = self.limit.femto().saturating_sub(taken.femto());
        Usd::from_femto(left.max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_not_left_and_nothing_is_left_beyond_the_limit() {
        let standing = |spent: &str, held: &str| BudgetStanding {
            budget: "b".into(),
            subject: "".into(),
            tenant: None,
            period: "day".into(),
            begins: Timestamp::default(),
            ends: Timestamp::default(),
            limit: "10".parse().unwrap(),
            spent: spent.parse().unwrap(),
            held: held.parse().unwrap(),
            blocks: true,
            thresholds: [50].into(),
            forecast: false,
            outlets: [].into(),
            owner: None,
        };
        assert_eq!(standing("4.5", "2").remaining().to_string(), "3.5");
        assert_eq!(standing("9", "2").remaining(), Usd::ZERO);
    }
}
