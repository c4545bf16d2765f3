//! What a call used, and how surely we know it.

use std::fmt;
use std::sync::Arc;

use super::{Latency, ServiceTier};

/// What is counted. Named as in the price catalogue, the ledger, `quote` and reports
/// (`input_tokens`, `cache_write_1h_tokens`, `search_unit`, ...).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Prompt tokens neither read from nor written to a cache.
    InputTokens,
    /// Generated tokens, thinking included.
    OutputTokens,
    /// Prompt tokens read from a cache.
    CacheReadTokens,
    /// Prompt tokens written to a cache that lives five minutes.
    CacheWrite5mTokens,
    /// Prompt tokens written to a cache that lives thirty minutes.
    CacheWrite30mTokens,
    /// Prompt tokens written to a cache that lives one hour.
    CacheWrite1hTokens,
    /// Any other unit, by its catalogue name.
    Named(Arc<str>),
}

impl Dimension {
    /// The dimension of that catalogue name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "input_tokens" => Self::InputTokens,
            "output_tokens" => Self::OutputTokens,
            "cache_read_tokens" => Self::CacheReadTokens,
            "cache_write_5m_tokens" => Self::CacheWrite5mTokens,
            "cache_write_30m_tokens" => Self::CacheWrite30mTokens,
            "cache_write_1h_tokens" => Self::CacheWrite1hTokens,
            other => Self::Named(other.into()),
        }
    }

    /// The name in catalogue, ledger, `quote` and reports.
    pub fn name(&self) -> &str {
        match self {
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::CacheReadTokens => "cache_read_tokens",
            Self::CacheWrite5mTokens => "cache_write_5m_tokens",
            Self::CacheWrite30mTokens => "cache_write_30m_tokens",
            Self::CacheWrite1hTokens => "cache_write_1h_tokens",
            Self::Named(name) => name,
        }
    }

    /// Whether this is counted in tokens (`tokens_total`) or another unit (`units_total`).
    pub fn is_tokens(&self) -> bool {
        self.name().ends_with("_tokens")
    }

    /// The metric label: the name without `_tokens` (`input`, `cache_write_5m`, `search_unit`).
    pub fn kind(&self) -> &str {
        let name = self.name();
        name.strip_suffix("_tokens").unwrap_or(name)
    }

    /// Whether it counts towards the prompt length that selects a context band.
    pub fn is_prompt(&self) -> bool {
        matches!(
            self,
            Self::InputTokens
                | Self::CacheReadTokens
                | Self::CacheWrite5mTokens
                | Self::CacheWrite30mTokens
                | Self::CacheWrite1hTokens
        )
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Quantities by dimension. A dimension that is absent was never reported; it is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    quantities: Vec<(Dimension, u64)>,
}

impl Usage {
    /// Nothing reported.
    pub const fn none() -> Self {
        Self {
            quantities: Vec::new(),
        }
    }

    /// Whether nothing was reported.
    pub fn is_none(&self) -> bool {
        self.quantities.is_empty()
    }

    /// The quantity reported for a dimension.
    pub fn get(&self, dimension: &Dimension) -> Option<u64> {
        self.quantities
            .iter()
            .find(|(d, _)| d == dimension)
            .map(|(_, quantity)| *quantity)
    }

    /// Sets the quantity of a dimension, replacing what was there.
    pub fn set(&mut self, dimension: Dimension, quantity: u64) {
        match self.quantities.iter_mut().find(|(d, _)| *d == dimension) {
            Some(found) => found.1 = quantity,
            None => self.quantities.push((dimension, quantity)),
        }
    }

    /// Sets the quantity of a dimension where one was reported.
    pub fn set_reported(&mut self, dimension: Dimension, quantity: Option<u64>) {
        if let Some(quantity) = quantity {
            self.set(dimension, quantity);
        }
    }

    /// The quantities, in the order they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&Dimension, u64)> {
        self.quantities
            .iter()
            .map(|(dimension, quantity)| (dimension, *quantity))
    }

    /// All prompt tokens: uncached, read from and written to caches. Selects the context band.
    pub fn prompt_tokens(&self) -> u64 {
        let prompt = self.iter().filter(|(dimension, _)| dimension.is_prompt());
        prompt.fold(0, |sum, (_, quantity)| sum.saturating_add(quantity))
    }
}

impl FromIterator<(Dimension, u64)> for Usage {
    fn from_iter<I: IntoIterator<Item = (Dimension, u64)>>(pairs: I) -> Self {
        let mut usage = Self::none();
        for (dimension, quantity) in pairs {
            usage.set(dimension, quantity);
        }
        usage
    }
}

/// How surely a usage is known. The same words in entry, metric, header and report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageSource {
    /// Bedrock said it.
    Reported,
    /// Derived from bytes, because Bedrock's word did not arrive.
    Estimated,
    /// Unknown.
    Missing,
}

impl UsageSource {
    /// `reported`, `estimated` or `missing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Missing => "missing",
        }
    }
}

/// Why a usage is not Bedrock's own word: the `reason` of an estimate or of a missing usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageReason {
    /// The stream or body ended before the usage arrived (reset, stall, exception frame).
    CutShort,
    /// The client left and the drain limits did not allow reading on.
    NotDrained,
    /// The process died while the call was open.
    ProcessDied,
    /// The answer was complete but held no usage that we know how to read.
    NotInAnswer,
    /// Bytes that are not the announced framing, or a broken checksum.
    Unreadable,
    /// The operation bills by something that its answer does not show.
    NotMetered,
    /// No answer arrived, though the request may have been served.
    NoAnswer,
}

impl UsageReason {
    /// The word in entry and metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CutShort => "cut_short",
            Self::NotDrained => "not_drained",
            Self::ProcessDied => "process_died",
            Self::NotInAnswer => "not_in_answer",
            Self::Unreadable => "unreadable",
            Self::NotMetered => "not_metered",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// What a meter read from one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The quantities that were read; may be partial where the source is not `Reported`.
    pub usage: Usage,
    /// How surely they are known.
    pub source: UsageSource,
    /// Why they are not reported; `None` exactly when they are.
    pub reason: Option<UsageReason>,
    /// Where they were read: `body`, `headers`, `metadata`, `metrics`, `events`, `request`, or empty.
    pub read_from: &'static str,
    /// The service tier that Bedrock says it served.
    pub served_tier: Option<ServiceTier>,
    /// The latency mode that Bedrock says it served.
    pub served_latency: Option<Latency>,
    /// The model that a prompt router says it invoked.
    pub invoked_model: Option<String>,
    /// Two places of one answer reported different usage (the more trusted one was kept).
    pub disagreement: bool,
}

impl Reading {
    /// A reading without any quantity.
    pub fn missing(reason: UsageReason) -> Self {
        Self {
            usage: Usage::none(),
            source: UsageSource::Missing,
            reason: Some(reason),
            read_from: "",
            served_tier: None,
            served_latency: None,
            invoked_model: None,
            disagreement: false,
        }
    }

    /// Bedrock's own word.
    pub fn reported(usage: Usage, read_from: &'static str) -> Self {
        Self {
            usage,
            source: UsageSource::Reported,
            reason: None,
            read_from,
            ..Self::missing(UsageReason::NotInAnswer)
        }
    }
}
