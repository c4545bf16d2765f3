//! One budget, as configured.

use std::sync::Arc;

use super::period::Calendar;
use crate::domain::{Facet, Glob, Scope, TenantId, Timestamp, Usd, keywords};

/// What may be spent by whom in which period, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its name, in metrics, refusals and alerts.
    pub name: Arc<str>,
    /// Whom it is for.
    pub scope: Scope,
    /// In which period the limit is whole again.
    pub calendar: Calendar,
    /// What may be spent in one period, without raises.
    pub limit: Usd,
    /// Raises for a time.
    pub raises: Vec<Raise>,
    /// What happens at the limit.
    pub action: Action,
    /// Whether that happens, or is only counted.
    pub mode: BudgetMode,
    /// How much of what a call can cost is held.
    pub reserve: Reserve,
    /// How the input of a call is bounded.
    pub input: InputBound,
    /// How a call that does not fit is refused.
    pub refuse_with: RefuseWith,
    /// The model that calls get instead at the limit, where [`Action::Downgrade`] names one.
    pub downgrade_model: Option<Arc<str>>,
    /// The tier that calls get instead at the limit.
    pub downgrade_tier: Option<Arc<str>>,
    /// At which shares of the limit people are told, in percent, ascending.
    pub thresholds: Arc<[u32]>,
    /// Whether people are told when the period would end above the limit.
    pub forecast: bool,
    /// The outlets that are told; empty: none.
    pub outlets: Arc<[Arc<str>]>,
    /// Whom to ask about it.
    pub owner: Option<Arc<str>>,
}

/// More money for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise {
    /// Its name.
    pub name: Arc<str>,
    /// How much.
    pub add: Usd,
    /// From when; absent: at once.
    pub from: Option<Timestamp>,
    /// Until when.
    pub until: Timestamp,
    /// Who allowed it.
    pub approver: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

keywords!(
    /// What happens at the limit.
    Action {
        /// People are told; calls pass.
        Alert = "alert",
        /// Calls that do not fit are refused.
        Block = "block",
        /// Calls get the cheaper model or tier, and are refused where that does not fit either.
        Downgrade = "downgrade",
    }
);

keywords!(
    /// Whether a limit holds.
    BudgetMode {
        /// It does.
        Enforce = "enforce",
        /// It is counted what it would have refused.
        Observe = "observe",
    }
);

keywords!(
    /// How much of what a call can cost is held.
    Reserve {
        /// All of it: the limit cannot be passed.
        Max = "max",
        /// The output that all but one in a hundred calls of the model stay below.
        P99 = "p99",
    }
);

keywords!(
    /// How the input of a call is bounded before it is sent.
    InputBound {
        /// By what no tokenizer can pass.
        Proven = "proven",
        /// By what was seen of the model, with a margin.
        Calibrated = "calibrated",
    }
);

keywords!(
    /// How a call that does not fit is refused.
    RefuseWith {
        /// HTTP 400 `ServiceQuotaExceededException`.
        Quota = "quota",
        /// HTTP 403 `AccessDeniedException`.
        AccessDenied = "access-denied",
    }
);

impl Budget {
    /// What may be spent in the period that holds this instant, raises in force included.
    pub fn limit_at(&self, at: Timestamp) -> Usd {
        let in_force =
            |raise: &&Raise| raise.from.is_none_or(|from| from <= at) && at < raise.until;
        let raises = self.raises.iter().filter(in_force).map(|raise| raise.add);
        raises.fold(self.limit, Usd::saturating_add)
    }

    /// Whether it counts the money of a tenant and of no other with it.
    pub fn is_of(&self, tenant: &TenantId) -> bool {
        let of_tenant = |(facet, pattern): &(Facet, Glob)| {
            *facet == Facet::Tenant && pattern.matches(tenant.as_str())
        };
        !self.scope.shared.contains(&Facet::Tenant) && self.scope.facets.iter().any(of_tenant)
    }

    /// Whether its counters have names of users or sessions.
    pub fn names_people(&self) -> bool {
        let people = [Facet::User, Facet::Session];
        let mut named = self.scope.facets.iter().map(|(facet, _)| facet);
        named.any(|facet| people.contains(facet))
    }

    /// Whether a call that does not fit is refused.
    pub fn blocks(&self) -> bool {
        self.action != Action::Alert && self.mode == BudgetMode::Enforce
    }

    /// Whether counters of the other go on for this one: the same money of the same people.
    pub fn counts_as(&self, other: &Self) -> bool {
        self.name == other.name && self.scope == other.scope && self.calendar == other.calendar
    }
}
