//! What tokens of a model count for, and how many it can generate at most: what Bedrock reserves
//! and burns down (bedrock.md 8.1). It concerns limits only, never prices.

use std::collections::BTreeMap;

use super::settings::Settings;
use crate::domain::{Glob, ModelRef};

/// The tables, the configured before the built-in.
#[derive(Debug, Default)]
pub(super) struct Weights {
    burndown: BTreeMap<Glob, u64>,
    output_max: BTreeMap<Glob, u64>,
}

impl Weights {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            burndown: settings.burndown.clone(),
            output_max: settings.output_max.clone(),
        }
    }

    /// What a token of output counts for.
    pub(super) fn output_weight(&self, model: Option<&ModelRef>) -> u64 {
        look_up(&self.burndown, BURNDOWN, model).unwrap_or(1)
    }

    /// How many tokens a model generates at most.
    pub(super) fn output_max(&self, model: Option<&ModelRef>) -> u64 {
        look_up(&self.output_max, OUTPUT_MAX, model).unwrap_or(OUTPUT_MAX_UNKNOWN)
    }
}

/// Of the configured patterns the longest that fits, else the first of the built-in.
fn look_up(
    configured: &BTreeMap<Glob, u64>,
    built_in: &[(&str, u64)],
    model: Option<&ModelRef>,
) -> Option<u64> {
    let model = model?;
    let own = || {
        let label = model.label();
        let names = [model.base.as_deref(), Some(&*label)];
        let fits = |pattern: &Glob| names.iter().flatten().any(|name| pattern.matches(name));
        let own = configured.iter().filter(|(pattern, _)| fits(pattern));
        let longest = own.max_by_key(|(pattern, _)| pattern.as_str().len());
        longest.map(|(_, value)| *value)
    };
    let own = if configured.is_empty() { None } else { own() };
    let known = || {
        let base = model.base.as_deref()?;
        let mut built_in = built_in.iter();
        let row = built_in.find(|(pattern, _)| is_like(base, pattern));
        row.map(|(_, value)| *value)
    };
    own.or_else(known)
}

/// Patterns of the built-in tables: a beginning, or with a star in front a part.
fn is_like(base: &str, pattern: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(part) => base.contains(part),
        None => base.starts_with(pattern),
    }
}

/// Five for the output of Claude 3.7, of Claude 4 and of what came later; whether it is still five
/// for the 5 generation is not verified, and the larger number errs on the safe side.
const BURNDOWN: &[(&str, u64)] = &[
    ("anthropic.claude-3-7-", 5),
    ("anthropic.claude-3-", 1),
    ("anthropic.claude-v", 1),
    ("anthropic.claude-instant-", 1),
    ("anthropic.claude-", 5),
];

/// What Bedrock reserves where a call does not say.
const OUTPUT_MAX: &[(&str, u64)] = &[
    ("*embed", 0),
    ("*rerank", 0),
    ("anthropic.claude-3-7-", 128_000),
    ("anthropic.claude-3-5-", 8_192),
    ("anthropic.claude-3-", 4_096),
    ("anthropic.claude-v", 4_096),
    ("anthropic.claude-instant-", 4_096),
    ("anthropic.claude-opus-4-1-", 32_000),
    ("anthropic.claude-opus-4-2", 32_000),
    ("anthropic.claude-opus-5", 128_000),
    ("anthropic.claude-sonnet-5", 128_000),
    ("anthropic.claude-", 64_000),
    ("amazon.nova", 10_000),
    ("amazon.titan", 8_192),
    ("meta.", 8_192),
    ("cohere.", 4_096),
    ("ai21.", 4_096),
];

/// Of a model that nobody has told us about.
const OUTPUT_MAX_UNKNOWN: u64 = 64_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Capacity, Geography};

    fn model(base: &str) -> ModelRef {
        ModelRef {
            asked: base.into(),
            base: Some(base.into()),
            geography: Geography::Profile("us".into()),
            capacity: Capacity::OnDemand,
        }
    }

    #[test]
    fn output_of_newer_claudes_burns_five() {
        let weights = Weights::default();
        for (base, weight) in [
            ("anthropic.claude-opus-4-20250514-v1:0", 5),
            ("anthropic.claude-sonnet-4-20250514-v1:0", 5),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
            ("anthropic.claude-opus-5-5", 5),
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", 1),
            ("anthropic.claude-v2:1", 1),
            ("amazon.nova-pro-v1:0", 1),
        ] {
            assert_eq!(weights.output_weight(Some(&model(base))), weight, "{base}");
        }
        assert_eq!(weights.output_weight(None), 1);
    }

    #[test]
    fn the_longest_configured_pattern_counts_first() {
        let glob = |text: &str| Glob::new(text).unwrap();
        let weights = Weights {
            burndown: [
                (glob("anthropic.*"), 3),
                (glob("anthropic.claude-opus-*"), 2),
            ]
            .into(),
            output_max: [(glob("us.amazon.nova-*"), 7)].into(),
        };
        let opus = model("anthropic.claude-opus-5-5");
        let nova = model("amazon.nova-pro-v1:0");
        assert_eq!(weights.output_weight(Some(&opus)), 2);
        assert_eq!(
            weights.output_weight(Some(&model("anthropic.claude-v2"))),
            3
        );
        assert_eq!(weights.output_max(Some(&nova)), 7);
        assert_eq!(weights.output_max(Some(&model("cohere.embed-v4:0"))), 0);
        assert_eq!(weights.output_max(Some(&model("new.one"))), 64_000);
    }
}
