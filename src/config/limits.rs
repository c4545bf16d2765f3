//! The keys of `[limits]`, bound to their fields, and what they do not agree on.

use std::time::Duration;

use super::form::{Form, Named};
use super::problem::Problem;
use super::proofs::{PLAIN, is_plain};
use super::scope::scope;
use super::settings::Settings;
use crate::limits::{self, AccountSettings, LimitSettings};

pub(super) fn limits<F: Form>(form: &mut F, s: &mut limits::Settings) {
    form.map("burndown", &mut s.burndown);
    form.map("output_max", &mut s.output_max);
    form.named_tables("account", &mut s.accounts, account);
    form.other_tables("limits", &mut s.limits, limit);
}

fn limit<F: Form>(form: &mut F, s: &mut LimitSettings) {
    scope(form, &mut s.scope);
    form.optional("requests_per_minute", &mut s.requests_per_minute);
    form.optional("tokens_per_minute", &mut s.tokens_per_minute);
    form.optional("concurrent_calls", &mut s.concurrent_calls);
    form.within("burst", &mut s.burst, MS..=MINUTE);
    form.value("mode", &mut s.mode);
    form.optional("owner", &mut s.owner);
    form.optional("input_weight", &mut s.input_weight);
    form.optional("output_weight", &mut s.output_weight);
}

fn account<F: Form>(form: &mut F, s: &mut AccountSettings) {
    form.optional("model", &mut s.model);
    form.optional("region", &mut s.region);
    form.optional("requests_per_minute", &mut s.requests_per_minute);
    form.optional("tokens_per_minute", &mut s.tokens_per_minute);
    form.within("burst", &mut s.burst, MS..=MINUTE);
    form.value("mode", &mut s.mode);
    form.optional("owner", &mut s.owner);
    form.map("weights", &mut s.weights);
}

impl Named for LimitSettings {
    const EXPECTED: &'static str = PLAIN;

    fn named(name: &str) -> Option<Self> {
        is_plain(name).then(|| Self::named(name))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for AccountSettings {
    const EXPECTED: &'static str = PLAIN;

    fn named(name: &str) -> Option<Self> {
        is_plain(name).then(|| Self::named(name))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// What a limit needs to limit anything.
pub(super) fn check(settings: &Settings) -> Vec<Problem> {
    let limits = settings.limits.limits.iter().flat_map(check_limit);
    let accounts = settings.limits.accounts.iter().flat_map(check_account);
    let tables = check_tables(&settings.limits);
    limits.chain(accounts).chain(tables).collect()
}

fn check_limit(limit: &LimitSettings) -> Vec<Problem> {
    let table = format!("limits.{}", limit.name);
    let numbers = [
        ("requests_per_minute", limit.requests_per_minute),
        ("tokens_per_minute", limit.tokens_per_minute),
        ("concurrent_calls", limit.concurrent_calls),
    ];
    let mut problems = check_numbers(&table, &numbers);
    let weights = [
        ("input_weight", limit.input_weight),
        ("output_weight", limit.output_weight),
    ];
    problems.extend(check_weights(&table, &weights));
    for facet in &limit.scope.shared {
        if !limit.scope.facets.iter().any(|(named, _)| named == facet) {
            problems.push(Problem::new(
                &format!("{table}.shared"),
                format!("{} is not named in this limit", facet.word()),
                "name it with a pattern, or take it out of the list",
            ));
        }
    }
    problems
}

fn check_account(account: &AccountSettings) -> Vec<Problem> {
    let table = format!("limits.account.{}", account.name);
    let numbers = [
        ("requests_per_minute", account.requests_per_minute),
        ("tokens_per_minute", account.tokens_per_minute),
    ];
    let mut problems = check_numbers(&table, &numbers);
    if account.model.is_none() {
        problems.push(Problem::new(
            &format!("{table}.model"),
            "it is not set, and a quota is one of a model",
            "write the pattern of the models that share the quota, such as \"*anthropic.claude-opus-5*\"",
        ));
    }
    for (tenant, weight) in &account.weights {
        let weights = [(tenant.as_str(), Some(*weight))];
        problems.extend(check_numbers_of(
            &format!("{table}.weights"),
            &weights,
            WEIGHT_MAX,
        ));
    }
    problems
}

fn check_tables(settings: &limits::Settings) -> Vec<Problem> {
    let weights = settings.burndown.iter();
    let weights = weights.map(|(pattern, weight)| (pattern.as_str(), Some(*weight)));
    let weights: Vec<_> = weights.collect();
    check_weights("limits.burndown", &weights)
}

fn check_numbers(table: &str, numbers: &[(&str, Option<u64>)]) -> Vec<Problem> {
    if numbers.iter().all(|(_, number)| number.is_none()) {
        let names: Vec<_> = numbers.iter().map(|(name, _)| *name).collect();
        let mend = format!("set one of {}", names.join(", "));
        return vec![Problem::new(table, "it limits nothing", mend)];
    }
    check_numbers_of(table, numbers, NUMBER_MAX)
}

fn check_numbers_of(table: &str, numbers: &[(&str, Option<u64>)], most: u64) -> Vec<Problem> {
    let wrong = |(name, number): &(&str, Option<u64>)| {
        let number = number.filter(|number| !(1..=most).contains(number))?;
        let what = format!("{number} is out of range");
        let mend = format!("choose a value from 1 to {most}");
        Some(Problem::new(&format!("{table}.{name}"), what, mend))
    };
    numbers.iter().filter_map(wrong).collect()
}

/// A weight may be zero: that class of tokens is free.
fn check_weights(table: &str, weights: &[(&str, Option<u64>)]) -> Vec<Problem> {
    let wrong = |(name, weight): &(&str, Option<u64>)| {
        let weight = weight.filter(|weight| *weight > WEIGHT_MAX)?;
        let what = format!("{weight} is out of range");
        let mend = format!("choose a value from 0 to {WEIGHT_MAX}");
        Some(Problem::new(&format!("{table}.{name}"), what, mend))
    };
    weights.iter().filter_map(wrong).collect()
}

/// Far more than any account has, and far from what counters can hold.
const NUMBER_MAX: u64 = 1_000_000_000_000;
const WEIGHT_MAX: u64 = 1_000;
const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::domain::{Facet, Glob};
    use crate::limits::LimitMode;

    #[test]
    fn limits_and_quotas_are_read_with_their_scopes() {
        let text = r#"
            [limits.each-team]
            tenant = "*"
            model = "anthropic.*"
            shared = ["model"]
            requests_per_minute = 60
            burst = "10s"
            mode = "observe"
            [limits.account.opus]
            model = "*opus*"
            region = "us-east-1"
            tokens_per_minute = 100000
            [limits.account.opus.weights]
            search = 3
            [limits.burndown]
            "anthropic.*" = 5
        "#;
        let limits = parse(text, &|_| None).unwrap().limits;
        let [limit] = limits.limits.as_slice() else {
            panic!("{limits:?}")
        };
        let glob = |text: &str| Glob::new(text).unwrap();
        let facets = [
            (Facet::Tenant, glob("*")),
            (Facet::Model, glob("anthropic.*")),
        ];
        assert_eq!(limit.scope.facets, facets);
        assert_eq!(limit.scope.shared, [Facet::Model]);
        assert_eq!(limit.requests_per_minute, Some(60));
        assert_eq!(
            (limit.burst, limit.mode),
            (Duration::from_secs(10), LimitMode::Observe)
        );
        let [account] = limits.accounts.as_slice() else {
            panic!("{limits:?}")
        };
        assert_eq!(account.tokens_per_minute, Some(100_000));
        assert_eq!(account.weights.values().collect::<Vec<_>>(), [&3]);
        assert_eq!(limits.burndown.values().collect::<Vec<_>>(), [&5]);
    }

    #[test]
    fn what_limits_nothing_is_told() {
        let check = |text: &str, expected: &[&str]| {
            let problems = parse(text, &|_| None).unwrap_err().0;
            let paths: Vec<_> = problems
                .iter()
                .map(|problem| problem.path.as_str())
                .collect();
            assert_eq!(paths, expected, "{text}");
        };
        check("[limits.a]\ntenant = \"*\"", &["limits.a"]);
        check("[limits.account.a]\nmodel = \"*\"", &["limits.account.a"]);
        check(
            "[limits.account.a]\ntokens_per_minute = 0",
            &[
                "limits.account.a.tokens_per_minute",
                "limits.account.a.model",
            ],
        );
        check(
            "[limits.a]\nrequests_per_minute = 1\nshared = [\"user\"]",
            &["limits.a.shared"],
        );
        check(
            "[limits.a]\nrequests_per_minute = 1\nburst = \"2m\"",
            &["limits.a.burst"],
        );
        check(
            "[limits.a]\nrequest_per_minute = 1",
            &["limits.a.request_per_minute", "limits.a"],
        );
    }
}
