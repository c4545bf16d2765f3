//! Which counters somebody's calls are met by, and what of them is that one's to know.
//!
//! A refusal names the numbers of the counter that has no room, so whoever is met by a counter may
//! see it: also one that many share. What may be another tenant's alone is never shown: counters of
//! a model, an application, a user or a session that no tenant is part of, where nothing proves that
//! they are the asker's.

use std::sync::Arc;

use super::book::Budgets;
use super::budget::Budget;
use super::document::StandingDocument;
use super::period::Period;
use crate::domain::{BudgetStanding, Facet, Subject, Timestamp, Usd};

/// Somebody who asks, without a call.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The facets of its calls, but the model.
    pub subject: Subject<'a>,
    /// Whether a proof says which application it is.
    pub application_is_proven: bool,
    /// Whether a proof says who the user is.
    pub user_is_proven: bool,
}

/// What of a budget concerns an asker.
enum Meets {
    /// This counter.
    Counter(String),
    /// One counter for each model, named so before and after the model.
    Models { before: String, after: String },
    /// Some counters of it, whose numbers are not shown.
    Unseen(String),
}

impl Budgets {
    /// Where the budgets of an asker's calls stand, by name. Counters whose numbers may be others'
    /// stand there by their pattern, without numbers.
    pub fn met_by(&self, asker: &Asker<'_>, now: Timestamp) -> Vec<StandingDocument> {
        let standings = self.standings(now);
        let mut found = Vec::new();
        for budget in self.table() {
            let Some(meets) = asker.meets(&budget) else {
                continue;
            };
            let own = of_budget(&standings, &budget);
            match meets {
                Meets::Counter(subject) => {
                    let known = own.iter().find(|one| *one.subject == *subject);
                    let empty = || empty(&budget, asker, &subject, now);
                    let standing = known.cloned().unwrap_or_else(empty);
                    found.push(StandingDocument::new(&budget, &standing));
                }
                Meets::Models { before, after } => {
                    let is_own = |one: &&BudgetStanding| {
                        let rest = one.subject.strip_prefix(&*before);
                        rest.is_some_and(|rest| rest.ends_with(&*after))
                    };
                    let models = own.iter().filter(is_own);
                    found.extend(models.map(|one| StandingDocument::new(&budget, one)));
                    let pattern = format!("{before}{}{after}", model_pattern(&budget));
                    found.push(unseen(&budget, asker, &pattern, now));
                }
                Meets::Unseen(pattern) => found.push(unseen(&budget, asker, &pattern, now)),
            }
        }
        found
    }
}

impl Asker<'_> {
    /// `None` where the budget is for others.
    fn meets(&self, budget: &Budget) -> Option<Meets> {
        let has_tenant = budget.tells_apart(Facet::Tenant);
        let (mut is_hidden, mut opens_model) = (false, false);
        let (mut before, mut after) = (String::new(), String::new());
        for (facet, pattern) in &budget.scope.facets {
            let text = pattern.as_str();
            let is_one = budget.scope.shared.contains(facet) || !text.contains('*');
            let said = facet.of(&self.subject);
            let is_open = match facet {
                Facet::Model => true,
                Facet::Session => said.is_none(),
                Facet::Tenant | Facet::Application | Facet::Key | Facet::User => false,
            };
            if !is_open && !pattern.matches(said?) {
                return None;
            }
            let value = if is_one || is_open { text } else { said? };
            match facet {
                Facet::Model if !is_one => {
                    opens_model = true;
                    is_hidden |= !has_tenant;
                }
                Facet::Session => is_hidden |= !has_tenant || is_open && !is_one,
                Facet::User => is_hidden |= !has_tenant && !self.user_is_proven,
                Facet::Application => is_hidden |= !has_tenant && !self.application_is_proven,
                Facet::Model | Facet::Tenant | Facet::Key => {}
            }
            let space = if before.is_empty() { "" } else { " " };
            let word = facet.word();
            if *facet == Facet::Model && opens_model {
                before = format!("{before}{space}{word}=");
            } else if opens_model {
                after = format!("{after} {word}={value}");
            } else {
                before = format!("{before}{space}{word}={value}");
            }
        }
        Some(match (is_hidden, opens_model) {
            (true, true) => Meets::Unseen(format!("{before}{}{after}", model_pattern(budget))),
            (true, false) => Meets::Unseen(before),
            (false, true) => Meets::Models { before, after },
            (false, false) => Meets::Counter(before),
        })
    }
}

/// Standings come sorted by budget.
fn of_budget<'a>(standings: &'a [BudgetStanding], budget: &Budget) -> &'a [BudgetStanding] {
    let first = standings.partition_point(|one| one.budget < budget.name);
    let rest = standings.get(first..).unwrap_or_default();
    let count = rest.partition_point(|one| one.budget <= budget.name);
    rest.get(..count).unwrap_or_default()
}

fn model_pattern(budget: &Budget) -> &str {
    let mut facets = budget.scope.facets.iter();
    let model = facets.find(|(facet, _)| *facet == Facet::Model);
    model.map_or("", |(_, pattern)| pattern.as_str())
}

/// A counter that no call has met yet.
fn empty(budget: &Budget, asker: &Asker<'_>, subject: &str, now: Timestamp) -> BudgetStanding {
    let (begins, ends) = budget.calendar.stretch(now);
    let is_of_one = budget.tells_apart(Facet::Tenant);
    BudgetStanding {
        budget: Arc::clone(&budget.name),
        subject: subject.into(),
        tenant: is_of_one.then(|| asker.subject.tenant.clone()),
        period: budget.calendar.period.to_string().into(),
        begins,
        ends: match budget.calendar.period {
            Period::Rolling(_) => now,
            Period::Day | Period::Week | Period::Month | Period::Quarter | Period::Year => ends,
        },
        limit: budget.limit_at(now),
        spent: Usd::ZERO,
        held: Usd::ZERO,
        blocks: budget.blocks(),
        thresholds: Arc::clone(&budget.thresholds),
        forecast: budget.forecast,
        outlets: Arc::clone(&budget.outlets),
        owner: budget.owner.clone(),
    }
}

fn unseen(budget: &Budget, asker: &Asker<'_>, pattern: &str, now: Timestamp) -> StandingDocument {
    StandingDocument {
        spent_usd: None,
        held_usd: None,
        remaining_usd: None,
        ..StandingDocument::new(budget, &empty(budget, asker, pattern, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budgets::Spent;
    use crate::domain::TenantId;

    const TABLE: &str = r#"
[budgets.applications]
application = "*"
limit_usd = "40"
[budgets.all]
limit_usd = "100"
[budgets.keys]
tenant = "*"
key = "*"
limit_usd = "5"
[budgets.models]
model = "*"
limit_usd = "50"
[budgets.people]
user = "*"
limit_usd = "6"
[budgets.runs]
tenant = "search"
session = "*"
limit_usd = "2"
[budgets.sales]
tenant = "sales"
limit_usd = "7"
[budgets.team-models]
tenant = "*"
model = "anthropic.*"
limit_usd = "8"
[budgets.teams]
tenant = "*"
limit_usd = "9"
action = "block"
owner = "finops@example.org"
"#;

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    fn subject<'a>(tenant: &'a TenantId, model: Option<&'a str>, user: &'a str) -> Subject<'a> {
        Subject {
            tenant,
            application: "web",
            model,
            key: None,
            user: Some(user),
            session: None,
        }
    }

    /// Budget, subject and spent of what an asker sees.
    fn seen(asker: &Asker<'_>) -> Vec<(String, String, Option<String>)> {
        let budgets = Budgets::new(
            crate::config::parse(TABLE, &|_| None).unwrap().budgets,
            &[],
            now(),
        );
        let [search, sales] = ["search", "sales"].map(|name| TenantId::new(name).unwrap());
        let calls = [
            (subject(&search, Some("anthropic.opus"), "ann"), "1"),
            (subject(&sales, Some("anthropic.opus"), "bob"), "0.25"),
            (subject(&sales, Some("anthropic.haiku"), "bob"), "0.5"),
        ];
        for (subject, amount) in calls {
            let spent = Spent {
                subject,
                at: now(),
                amount: amount.parse().unwrap(),
            };
            budgets.settle(None, &spent);
        }
        let found = budgets.met_by(asker, now());
        let rows = found.into_iter();
        rows.map(|one| (one.budget, one.subject, one.spent_usd))
            .collect()
    }

    fn row(budget: &str, subject: &str, spent: Option<&str>) -> (String, String, Option<String>) {
        (budget.into(), subject.into(), spent.map(str::to_owned))
    }

    #[test]
    fn a_tenant_sees_its_own_counters_and_those_that_all_share() {
        let search = TenantId::new("search").unwrap();
        let asker = Asker {
            subject: subject(&search, None, "bob"),
            application_is_proven: false,
            user_is_proven: false,
        };
        assert_eq!(
            seen(&asker),
            [
                row("all", "", Some("1.75")),
                row("applications", "application=web", None),
                row("models", "model=*", None),
                row("people", "user=bob", None),
                row("runs", "tenant=search session=*", None),
                row(
                    "team-models",
                    "tenant=search model=anthropic.opus",
                    Some("1")
                ),
                row("team-models", "tenant=search model=anthropic.*", None),
                row("teams", "tenant=search", Some("1")),
            ]
        );
    }

    #[test]
    fn a_proven_user_and_a_named_session_see_their_counters() {
        let search = TenantId::new("search").unwrap();
        let asker = Asker {
            subject: Subject {
                session: Some("run-1"),
                key: Some("BMAK"),
                ..subject(&search, None, "ann")
            },
            application_is_proven: true,
            user_is_proven: true,
        };
        let seen = seen(&asker);
        for expected in [
            row("applications", "application=web", Some("1.75")),
            row("keys", "tenant=search key=BMAK", Some("0")),
            row("people", "user=ann", Some("1")),
            row("runs", "tenant=search session=run-1", Some("0")),
        ] {
            assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
        }
    }
}
