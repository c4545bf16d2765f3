//! Token counts as one place of an answer states them, before they become usage.
//!
//! Bedrock's own shapes count the prompt without its cached part, OpenAI's count it whole
//! ([`Prompt`]); the difference is settled here and nowhere else, so that cached tokens are never
//! counted twice and no count goes below zero.

use std::sync::Arc;

use crate::domain::{Dimension, Usage};

/// The prompt as a place counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Without the tokens read from and written to caches.
    Uncached(u64),
    /// All of it.
    Whole(u64),
}

/// Cache writes by the lifetime of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WriteSplit {
    pub(super) five_minutes: u64,
    pub(super) thirty_minutes: u64,
    pub(super) one_hour: u64,
}

impl WriteSplit {
    fn total(self) -> u64 {
        let longer = self.thirty_minutes.saturating_add(self.one_hour);
        self.five_minutes.saturating_add(longer)
    }
}

/// What one place of an answer says. `None` is unknown, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenCounts {
    pub(super) prompt: Option<Prompt>,
    pub(super) output: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) write_split: Option<WriteSplit>,
    pub(super) web_searches: Option<u64>,
    /// The place contradicts itself.
    pub(super) contradictory: bool,
}

impl TokenCounts {
    /// Whether the place says nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Drops a split that does not add up to the stated total, and notes it.
    pub(super) fn with_split(mut self, split: Option<WriteSplit>) -> Self {
        let Some(split) = split else { return self };
        let total = *self.cache_write.get_or_insert_with(|| split.total());
        if split.total() == total {
            self.write_split = Some(split);
        } else {
            self.contradictory = true;
        }
        self
    }

    /// These counts with the gaps filled from a less trusted place.
    pub(super) fn or(self, other: Self) -> Self {
        let write_split = self.split_or(other);
        let split_lost = other.write_split.is_some() && write_split.is_none();
        Self {
            prompt: self.prompt.or(other.prompt),
            output: self.output.or(other.output),
            cache_read: self.cache_read.or(other.cache_read),
            cache_write: self.cache_write.or(other.cache_write),
            write_split,
            web_searches: self.web_searches.or(other.web_searches),
            contradictory: self.contradictory || other.contradictory || split_lost,
        }
    }

    /// The other's split, as long as it splits the total that these counts state.
    fn split_or(self, other: Self) -> Option<WriteSplit> {
        let total = self.cache_write.or(other.cache_write);
        let fits = |split: &WriteSplit| Some(split.total()) == total;
        self.write_split.or_else(|| other.write_split.filter(fits))
    }

    /// The prompt without its cached part. Where the cached part is larger than a prompt that
    /// should include it, the prompt evidently does not.
    fn uncached(&self) -> Option<u64> {
        match self.prompt? {
            Prompt::Uncached(tokens) => Some(tokens),
            Prompt::Whole(tokens) => Some(tokens.checked_sub(self.cached()).unwrap_or(tokens)),
        }
    }

    fn cached(&self) -> u64 {
        let read = self.cache_read.unwrap_or(0);
        read.saturating_add(self.cache_write.unwrap_or(0))
    }

    fn is_impossible(&self) -> bool {
        matches!(self.prompt, Some(Prompt::Whole(tokens)) if tokens < self.cached())
    }

    /// Whether two places state different numbers for the same thing.
    fn differs(&self, other: &Self) -> bool {
        let differ = |a: Option<u64>, b: Option<u64>| a.is_some() && b.is_some() && a != b;
        differ(self.uncached(), other.uncached())
            || differ(self.output, other.output)
            || differ(self.cache_read, other.cache_read)
            || differ(self.cache_write, other.cache_write)
    }

    /// The counts of places in order of trust as one, and whether they disagree.
    pub(super) fn agreed(places: &[Self]) -> (Self, bool) {
        let merged = places.iter().copied().reduce(Self::or).unwrap_or_default();
        let differs = |place: &Self| merged.differs(&place.or(merged));
        let contradicted = places.iter().any(differs);
        let disagreement = contradicted || merged.contradictory || merged.is_impossible();
        (merged, disagreement)
    }

    /// The usage that is to be charged.
    pub(super) fn usage(&self, write_lifetime: &Dimension) -> Usage {
        let mut usage = Usage::none();
        usage.set_reported(Dimension::InputTokens, self.uncached());
        usage.set_reported(Dimension::OutputTokens, self.output);
        usage.set_reported(Dimension::CacheReadTokens, self.cache_read);
        match self.write_split {
            Some(split) => set_split(&mut usage, split),
            None => usage.set_reported(write_lifetime.clone(), self.cache_write),
        }
        if let Some(searches) = self.web_searches.filter(|searches| *searches > 0) {
            usage.set(Dimension::Named(Arc::from("web_search_request")), searches);
        }
        usage
    }
}

fn set_split(usage: &mut Usage, split: WriteSplit) {
    usage.set(Dimension::CacheWrite5mTokens, split.five_minutes);
    usage.set(Dimension::CacheWrite1hTokens, split.one_hour);
    if split.thirty_minutes > 0 {
        usage.set(Dimension::CacheWrite30mTokens, split.thirty_minutes);
    }
}

/// The lifetime of cache writes that an answer does not split: thirty minutes where the family's
/// caches live that long, else the five minutes that every other family has as its default.
pub(super) fn default_write_lifetime(base_model: Option<&str>) -> Dimension {
    let thirty_minutes = ["openai.", "moonshot", "zai."];
    match base_model {
        Some(base) if thirty_minutes.iter().any(|family| base.starts_with(family)) => {
            Dimension::CacheWrite30mTokens
        }
        Some(_) | None => Dimension::CacheWrite5mTokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(prompt: Prompt, read: Option<u64>, write: Option<u64>) -> TokenCounts {
        TokenCounts {
            prompt: Some(prompt),
            cache_read: read,
            cache_write: write,
            ..TokenCounts::default()
        }
    }

    fn check(counts: TokenCounts, uncached: u64, disagrees: bool) {
        let (agreed, disagreement) = TokenCounts::agreed(&[counts]);
        assert_eq!(
            (agreed.uncached(), disagreement),
            (Some(uncached), disagrees)
        );
    }

    #[test]
    fn cached_tokens_inside_the_prompt_are_not_counted_twice() {
        check(counts(Prompt::Whole(100), Some(40), Some(10)), 50, false);
        check(
            counts(Prompt::Uncached(100), Some(40), Some(10)),
            100,
            false,
        );
    }

    #[test]
    fn cached_tokens_that_were_never_included_do_not_make_the_prompt_negative() {
        check(counts(Prompt::Whole(10), Some(40), None), 10, true);
        check(
            counts(Prompt::Whole(u64::MAX), Some(u64::MAX), Some(9)),
            0,
            false,
        );
    }

    #[test]
    fn a_whole_prompt_loses_the_cached_part_that_only_the_headers_state() {
        let body = counts(Prompt::Whole(100), None, None);
        let headers = counts(Prompt::Uncached(60), Some(40), None);
        let (agreed, disagreement) = TokenCounts::agreed(&[body, headers]);
        assert_eq!((agreed.uncached(), disagreement), (Some(60), false));
    }

    #[test]
    fn unsplit_writes_get_the_lifetime_of_their_family() {
        let check = |base, lifetime| assert_eq!(default_write_lifetime(base), lifetime);
        check(
            Some("anthropic.claude-opus-5-5"),
            Dimension::CacheWrite5mTokens,
        );
        check(Some("openai.gpt-5.6-sol"), Dimension::CacheWrite30mTokens);
        check(Some("moonshotai.kimi-k3"), Dimension::CacheWrite30mTokens);
        check(Some("zai.glm-5.3"), Dimension::CacheWrite30mTokens);
        check(None, Dimension::CacheWrite5mTokens);
    }
}
