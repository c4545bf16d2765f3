//! The keys of a budget, bound to its fields.

use std::sync::Arc;

use super::form::{Form, Named};
use super::scope::scope;
use crate::budgets::{
    Action, Budget, BudgetMode, Calendar, InputBound, Period, Raise, RefuseWith, Reserve, Zone,
};
use crate::domain::{Glob, Scope, Timestamp, Usd};
use crate::meters::WindowRule;

pub(super) fn budget<F: Form>(form: &mut F, budget: &mut Budget) {
    scope(form, &mut budget.scope);
    let mut limit = Some(budget.limit).filter(|limit| *limit != UNSAID);
    form.optional("limit_usd", &mut limit);
    budget.limit = limit.unwrap_or(UNSAID);
    form.value("period", &mut budget.calendar.period);
    form.value("time_zone", &mut budget.calendar.zone);
    form.within("fiscal_month", &mut budget.calendar.fiscal_month, 1..=12);
    form.value("action", &mut budget.action);
    form.value("mode", &mut budget.mode);
    form.value("reserve", &mut budget.reserve);
    form.value("input_bound", &mut budget.input);
    form.value("refuse_with", &mut budget.refuse_with);
    form.optional("downgrade_model", &mut budget.downgrade_model);
    form.optional("downgrade_tier", &mut budget.downgrade_tier);
    slice(form, "thresholds", &mut budget.thresholds);
    form.value("forecast", &mut budget.forecast);
    slice(form, "outlets", &mut budget.outlets);
    form.optional("owner", &mut budget.owner);
    form.named_tables("raises", &mut budget.raises, raise);
    agree(form, budget);
}

/// How much the models of a pattern read and write at most.
pub(super) fn window<F: Form>(form: &mut F, rule: &mut WindowRule) {
    form.optional("context_tokens_max", &mut rule.context_tokens_max);
    form.optional("output_tokens_max", &mut rule.output_tokens_max);
    form.optional("image_tokens_max", &mut rule.image_tokens_max);
}

fn slice<F: Form, T: super::field::Field + Clone>(form: &mut F, key: &str, field: &mut Arc<[T]>) {
    let mut list = field.to_vec();
    form.list(key, &mut list);
    *field = list.into();
}

fn raise<F: Form>(form: &mut F, raise: &mut Raise) {
    form.value("add_usd", &mut raise.add);
    form.optional("from", &mut raise.from);
    let mut until = Some(raise.until).filter(|until| *until != NEVER);
    form.optional("until", &mut until);
    raise.until = until.unwrap_or(NEVER);
    for (key, text) in [
        ("approver", &mut raise.approver),
        ("reason", &mut raise.reason),
    ] {
        let mut said = Some(Arc::clone(text)).filter(|text| !text.is_empty());
        form.optional(key, &mut said);
        *text = said.unwrap_or_default();
        if text.is_empty() {
            form.problem(key, "it is not said", "say it: a raise is looked at later");
        }
    }
    if raise.until == NEVER {
        form.problem("until", "the raise has no end", "say until when it holds");
    }
    if raise.from.is_some_and(|from| from >= raise.until) {
        form.problem("until", "it is not after from", "say a later instant");
    }
    if raise.add == Usd::ZERO {
        form.problem("add_usd", "it raises by nothing", "say by how many dollars");
    }
}

/// What the keys of a budget do not agree on.
fn agree<F: Form>(form: &mut F, budget: &Budget) {
    if budget.limit == UNSAID {
        let mend = "say how many US dollars may be spent in a period, such as \"250\"";
        form.problem("limit_usd", "the budget has no limit", mend);
    }
    let is_sorted = budget.thresholds.is_sorted_by(|a, b| a < b);
    if !is_sorted
        || budget
            .thresholds
            .iter()
            .any(|one| !(1..=1_000).contains(one))
    {
        let mend = "write percents of the limit from 1 to 1000, ascending, such as [50, 80, 100]";
        form.problem("thresholds", "they are no ladder", mend);
    }
    let cheaper = budget.downgrade_model.is_some() || budget.downgrade_tier.is_some();
    match (budget.action == Action::Downgrade, cheaper) {
        (true, false) => {
            let mend = "name what calls get instead: downgrade_model, downgrade_tier, or both";
            form.problem("action", "nothing is named to downgrade to", mend);
        }
        (false, true) => {
            let mend = "set action = \"downgrade\", or remove what calls would get";
            form.problem("action", "it never downgrades", mend);
        }
        (true, true) | (false, false) => {}
    }
    for facet in &budget.scope.shared {
        let named = budget.scope.facets.iter().any(|(named, _)| named == facet);
        if !named {
            let what = format!("{} is not named", facet.word());
            form.problem("shared", &what, "name it with a pattern, or remove it here");
        }
    }
}

impl Named for Budget {
    const EXPECTED: &'static str = super::proofs::PLAIN;

    fn named(name: &str) -> Option<Self> {
        super::proofs::is_plain(name).then(|| Self {
            name: name.into(),
            scope: Scope::default(),
            calendar: Calendar {
                period: Period::Month,
                zone: Zone::default(),
                fiscal_month: 1,
            },
            limit: UNSAID,
            raises: Vec::new(),
            action: Action::Alert,
            mode: BudgetMode::Enforce,
            reserve: Reserve::Max,
            input: InputBound::Proven,
            refuse_with: RefuseWith::Quota,
            downgrade_model: None,
            downgrade_tier: None,
            thresholds: [50, 80, 100].into(),
            forecast: false,
            outlets: [].into(),
            owner: None,
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for WindowRule {
    const EXPECTED: &'static str = "a pattern of model ids without geography, such as anthropic.*";

    fn named(name: &str) -> Option<Self> {
        Some(Self {
            models: Glob::new(name).ok()?,
            context_tokens_max: None,
            output_tokens_max: None,
            image_tokens_max: None,
        })
    }

    fn name(&self) -> &str {
        self.models.as_str()
    }
}

impl Named for Raise {
    const EXPECTED: &'static str = super::proofs::PLAIN;

    fn named(name: &str) -> Option<Self> {
        super::proofs::is_plain(name).then(|| Self {
            name: name.into(),
            add: Usd::ZERO,
            from: None,
            until: NEVER,
            approver: Arc::default(),
            reason: Arc::default(),
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// What no configuration says: an amount below zero is refused.
const UNSAID: Usd = Usd::from_femto(-1);
/// No end.
const NEVER: Timestamp = Timestamp::from_unix_ms(i64::MAX);
