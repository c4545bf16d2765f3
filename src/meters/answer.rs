//! What a meter found in an answer's body, whatever its form.

use super::counts::TokenCounts;
use crate::domain::{Latency, ServiceTier};

/// When counts are the last word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Finality {
    /// They do not tell what was generated.
    #[default]
    Never,
    /// If the answer ran to its regular end: they may still run.
    AtEnd,
    /// Whatever follows cannot change them.
    Now,
}

impl Finality {
    /// `Now` where the counts say so themselves.
    pub(super) const fn now_if(now: bool, otherwise: Self) -> Self {
        if now { Self::Now } else { otherwise }
    }
}

/// What the body said.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Counts of the places within the body, the most trusted first.
    pub(super) places: Vec<TokenCounts>,
    /// Where they were read: `body`, `metadata`, `events` or `metrics`.
    pub(super) read_from: &'static str,
    /// Whether the counts are the last word.
    pub(super) finality: Finality,
    /// The answer is an embedding: it has no output tokens.
    pub(super) embeds: bool,
    /// Something that should hold usage cannot be read.
    pub(super) unreadable: bool,
    /// The body ended where its form allows it to.
    pub(super) ended_well: bool,
    pub(super) tier: Option<ServiceTier>,
    pub(super) latency: Option<Latency>,
    pub(super) invoked_model: Option<String>,
}
