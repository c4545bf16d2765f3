//! Why a call does not fit: the numbers that its caller is told.

use std::fmt;
use std::sync::Arc;

use super::budget::RefuseWith;
use crate::domain::{Timestamp, Usd};

/// A budget that has no room for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub budget: Arc<str>,
    /// Whose counter it is; empty: everybody's.
    pub subject: Arc<str>,
    /// The period.
    pub period: Arc<str>,
    /// What may be spent.
    pub limit: Usd,
    /// What was spent.
    pub spent: Usd,
    /// What is held for calls in flight.
    pub held: Usd,
    /// The most that this call can cost; `None` where that is not known.
    pub this: Option<Usd>,
    /// When there is more room.
    pub resets: Timestamp,
    /// Whom to ask.
    pub owner: Option<Arc<str>>,
    /// How the refusal is spoken.
    pub with: RefuseWith,
    /// What the call may be instead: a model or a tier.
    pub downgrade: Option<Downgrade>,
}

/// What a call may be instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downgrade {
    /// Another model.
    pub model: Option<Arc<str>>,
    /// Another tier.
    pub tier: Option<Arc<str>>,
}

/// The sentence for the caller: whose limit, how much, when it resets, whom to ask.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            budget,
            subject,
            period,
            limit,
            spent,
            held,
            resets,
            ..
        } = self;
        let of = if subject.is_empty() { "" } else { " of " };
        write!(
            f,
            "budget {budget}{of}{subject} has no room for this call: limit ${limit} a {period}, \
             spent ${spent}, held for calls in flight ${held}, "
        )?;
        match self.this {
            Some(this) => write!(f, "this call at most ${this}")?,
            None => f.write_str("and nobody knows what this call can cost")?,
        }
        write!(f, "; more room at {resets}")?;
        match &self.owner {
            Some(owner) => write!(f, "; ask {owner}"),
            None => Ok(()),
        }
    }
}
