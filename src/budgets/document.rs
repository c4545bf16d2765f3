//! Budgets as JSON: what is configured, and where each counter stands. Amounts are decimal text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::{Budget, Raise};
use crate::domain::{BudgetStanding, Keyword as _};

/// One counter of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingDocument {
    /// The budget's name.
    pub budget: String,
    /// Whose counter it is; empty: everybody's.
    pub subject: String,
    /// The tenant, where the counter is one of a single tenant.
    pub tenant: Option<String>,
    /// The kind of period.
    pub period: String,
    /// When the period began, RFC 3339.
    pub begins: String,
    /// When it ends; of a rolling window, when there is more room.
    pub ends: String,
    /// What may be spent, raises included.
    pub limit_usd: String,
    /// What was spent; `None` where that is not the reader's to know.
    pub spent_usd: Option<String>,
    /// What is held for calls in flight.
    pub held_usd: Option<String>,
    /// What is left for new calls.
    pub remaining_usd: Option<String>,
    /// What happens at the limit.
    pub action: String,
    /// Whether that happens, or is only counted.
    pub mode: String,
    /// At which shares of the limit people are told, in percent.
    pub thresholds: Vec<u32>,
    /// Whom to ask about it.
    pub owner: Option<String>,
}

impl StandingDocument {
    /// Where a counter of that budget stands.
    pub fn new(budget: &Budget, standing: &BudgetStanding) -> Self {
        Self {
            budget: standing.budget.to_string(),
            subject: standing.subject.to_string(),
            tenant: standing.tenant.as_ref().map(ToString::to_string),
            period: standing.period.to_string(),
            begins: standing.begins.to_string(),
            ends: standing.ends.to_string(),
            limit_usd: standing.limit.to_string(),
            spent_usd: Some(standing.spent.to_string()),
            held_usd: Some(standing.held.to_string()),
            remaining_usd: Some(standing.remaining().to_string()),
            action: budget.action.name().to_owned(),
            mode: budget.mode.name().to_owned(),
            thresholds: budget.thresholds.to_vec(),
            owner: text(budget.owner.as_ref()),
        }
    }

    /// All of them, each with its budget of the table.
    pub fn of_all(table: &[Arc<Budget>], standings: &[BudgetStanding]) -> Vec<Self> {
        let one = |standing: &BudgetStanding| {
            let budget = table.iter().find(|one| one.name == standing.budget)?;
            Some(Self::new(budget, standing))
        };
        standings.iter().filter_map(one).collect()
    }
}

/// One budget, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetDocument {
    /// Its name.
    pub name: String,
    /// Whom it is for: a pattern for each facet that is named.
    pub scope: BTreeMap<String, String>,
    /// The facets whose star makes one counter.
    pub shared: Vec<String>,
    /// What may be spent in one period, without raises.
    pub limit_usd: String,
    /// The period.
    pub period: String,
    /// Whose days.
    pub time_zone: String,
    /// The month in which the fiscal year begins.
    pub fiscal_month: u8,
    /// What happens at the limit.
    pub action: String,
    /// Whether that happens, or is only counted.
    pub mode: String,
    /// How much of what a call can cost is held.
    pub reserve: String,
    /// How the input of a call is bounded.
    pub input_bound: String,
    /// How a call that does not fit is refused.
    pub refuse_with: String,
    /// The model that calls get instead.
    pub downgrade_model: Option<String>,
    /// The tier that calls get instead.
    pub downgrade_tier: Option<String>,
    /// At which shares of the limit people are told, in percent.
    pub thresholds: Vec<u32>,
    /// Whether people are told when the period would end above the limit.
    pub forecast: bool,
    /// The outlets that are told.
    pub outlets: Vec<String>,
    /// Whom to ask about it.
    pub owner: Option<String>,
    /// Raises for a time, by name.
    pub raises: BTreeMap<String, RaiseDocument>,
}

/// More money for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaiseDocument {
    /// How much.
    pub add_usd: String,
    /// From when.
    pub from: Option<String>,
    /// Until when.
    pub until: String,
    /// Who allowed it.
    pub approver: String,
    /// Why.
    pub reason: String,
}

impl From<&Budget> for BudgetDocument {
    fn from(budget: &Budget) -> Self {
        let Budget {
            name,
            scope,
            calendar,
            limit,
            raises,
            action,
            mode,
            reserve,
            input,
            refuse_with,
            downgrade_model,
            downgrade_tier,
            thresholds,
            forecast,
            outlets,
            owner,
        } = budget;
        let facets = scope.facets.iter();
        let facets = facets.map(|(facet, pattern)| (facet.word().to_owned(), pattern.to_string()));
        let shared = scope.shared.iter().map(|facet| facet.word().to_owned());
        let raises = raises.iter();
        let raises = raises.map(|raise| (raise.name.to_string(), RaiseDocument::from(raise)));
        Self {
            name: name.to_string(),
            scope: facets.collect(),
            shared: shared.collect(),
            limit_usd: limit.to_string(),
            period: calendar.period.to_string(),
            time_zone: calendar.zone.to_string(),
            fiscal_month: calendar.fiscal_month,
            action: action.name().to_owned(),
            mode: mode.name().to_owned(),
            reserve: reserve.name().to_owned(),
            input_bound: input.name().to_owned(),
            refuse_with: refuse_with.name().to_owned(),
            downgrade_model: text(downgrade_model.as_ref()),
            downgrade_tier: text(downgrade_tier.as_ref()),
            thresholds: thresholds.to_vec(),
            forecast: *forecast,
            outlets: outlets.iter().map(ToString::to_string).collect(),
            owner: text(owner.as_ref()),
            raises: raises.collect(),
        }
    }
}

impl From<&Raise> for RaiseDocument {
    fn from(raise: &Raise) -> Self {
        Self {
            add_usd: raise.add.to_string(),
            from: raise.from.map(|from| from.to_string()),
            until: raise.until.to_string(),
            approver: raise.approver.to_string(),
            reason: raise.reason.to_string(),
        }
    }
}

fn text(value: Option<&Arc<str>>) -> Option<String> {
    value.map(ToString::to_string)
}
