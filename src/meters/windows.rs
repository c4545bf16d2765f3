//! How much a model reads and writes at most in one call.
//!
//! Only what bounds a request that names no limit, or whose text does not stand in it (documents,
//! video, files in S3). The numbers are those of the model cards, rounded up; the operator may
//! know better (`[models]`).

use crate::domain::{Glob, ModelRef};

/// The most tokens of one call of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Of the prompt.
    pub context_tokens_max: u64,
    /// Of the answer, where the request does not say.
    pub output_tokens_max: u64,
    /// Of one image in the prompt.
    pub image_tokens_max: u64,
}

/// What the operator says of the models whose id fits a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRule {
    /// The ids, without geography.
    pub models: Glob,
    /// See [`Window`].
    pub context_tokens_max: Option<u64>,
    /// See [`Window`].
    pub output_tokens_max: Option<u64>,
    /// See [`Window`].
    pub image_tokens_max: Option<u64>,
}

/// The windows of all models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(pub Vec<WindowRule>);

impl Windows {
    /// The window of a model: the operator's word, the first rule that fits, over the table.
    pub fn of(&self, model: Option<&ModelRef>) -> Window {
        let base = model.and_then(|model| model.base.as_deref());
        let base = base.unwrap_or_default();
        let mut known = KNOWN.iter();
        let known = known.find(|(prefix, _, _)| base.starts_with(prefix));
        let (context, output) = known.map_or(UNKNOWN, |(_, context, output)| (*context, *output));
        let mut rules = self.0.iter();
        let said = rules.find(|rule| rule.models.matches(base));
        let or = |value: Option<u64>, known| value.unwrap_or(known);
        Window {
            context_tokens_max: or(said.and_then(|rule| rule.context_tokens_max), context),
            output_tokens_max: or(said.and_then(|rule| rule.output_tokens_max), output),
            image_tokens_max: or(said.and_then(|rule| rule.image_tokens_max), IMAGE),
        }
    }
}

/// Prefixes of base ids, the first that fits: prompt, answer. Long-context modes count, for a
/// header can switch them on.
const KNOWN: [(&str, u64, u64); 19] = [
    ("anthropic.claude-3-5", 200_000, 8_192),
    ("anthropic.claude-3-7", 200_000, 128_000),
    ("anthropic.claude-3", 200_000, 4_096),
    ("anthropic.claude-haiku-4", 200_000, 64_000),
    ("anthropic.claude-opus-4-1", 200_000, 32_000),
    ("anthropic.claude-opus-4-2025", 200_000, 32_000),
    ("anthropic.claude-opus-4-5", 200_000, 64_000),
    ("anthropic.claude-sonnet-4", 1_000_000, 64_000),
    ("anthropic.", 1_000_000, 128_000),
    ("amazon.nova-micro", 128_000, 10_240),
    ("amazon.nova-lite", 300_000, 10_240),
    ("amazon.nova-pro", 300_000, 10_240),
    ("amazon.nova-premier", 1_000_000, 32_000),
    ("amazon.nova-2", 1_000_000, 65_536),
    ("amazon.titan-text", 32_768, 8_192),
    ("cohere.command", 128_000, 4_096),
    ("meta.llama3", 128_000, 8_192),
    ("mistral.mistral-7b", 32_768, 8_192),
    ("mistral.mixtral", 32_768, 4_096),
];
/// Of a model that the table does not know.
const UNKNOWN: (u64, u64) = (1_000_000, 128_000);
/// The largest image of the newest models is near 5,000 tokens.
const IMAGE: u64 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Capacity, Geography};

    #[test]
    fn the_operator_s_word_goes_over_the_table() {
        let windows = Windows(vec![WindowRule {
            models: Glob::new("amazon.nova-lite*").unwrap(),
            context_tokens_max: Some(1_000),
            output_tokens_max: None,
            image_tokens_max: None,
        }]);
        let check = |base: &str, context, output| {
            let model = ModelRef {
                asked: base.into(),
                base: Some(base.into()),
                geography: Geography::InRegion,
                capacity: Capacity::OnDemand,
            };
            let window = windows.of(Some(&model));
            let found = (window.context_tokens_max, window.output_tokens_max);
            assert_eq!(found, (context, output), "{base}");
        };
        check("amazon.nova-lite-v1:0", 1_000, 10_240);
        check("amazon.nova-pro-v1:0", 300_000, 10_240);
        check("anthropic.claude-opus-5-5", 1_000_000, 128_000);
        check("anthropic.claude-3-haiku-20240307-v1:0", 200_000, 4_096);
        check("some.model", 1_000_000, 128_000);
    }
}
