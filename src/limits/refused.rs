//! Why a call does not fit, and when it would.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A call that found no room in a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Whose counter it was, such as `tenant=search`; empty for one of everybody.
    pub counter: Arc<str>,
    /// What ran out.
    pub what: What,
    /// Whether it is the account's quota.
    pub is_account: bool,
    /// How much the limit gives.
    pub most: u64,
    /// How much the call asks for.
    pub asked: u64,
    /// When it would fit, if nobody else takes anything; `None`: never.
    pub wait_ms: Option<u64>,
    /// Whom to ask.
    pub owner: Option<Arc<str>>,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Calls per minute.
    Requests,
    /// Weighted tokens per minute.
    Tokens,
    /// Calls at once.
    Calls,
}

impl What {
    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Calls => "calls",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::Calls => "calls at once",
        }
    }
}

impl Refused {
    /// The limit's name in metrics: that of a quota of the account begins with `account.`.
    pub fn metric_name(&self) -> Cow<'_, str> {
        if self.is_account {
            Cow::Owned(format!("account.{}", self.limit))
        } else {
            Cow::Borrowed(&self.limit)
        }
    }
}

/// Whose limit, how much, when, whom to ask; no names but those of the caller.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, most, .. } = self;
        let unit = self.what.unit();
        match (self.is_account, self.counter.is_empty()) {
            (true, _) => write!(
                f,
                "the account's quota {limit} of {most} {unit} is shared out"
            )?,
            (false, true) => write!(f, "limit {limit} of {most} {unit} is used up")?,
            (false, false) => {
                write!(
                    f,
                    "limit {limit} of {most} {unit} for {} is used up",
                    self.counter
                )?;
            }
        }
        match (self.what, self.wait_ms) {
            (What::Calls, _) => write!(f, "; this call fits when another ends")?,
            (_, Some(ms)) => {
                let seconds = ms.div_euclid(1_000);
                let rest = ms.rem_euclid(1_000);
                write!(f, "; this call fits in {seconds}.{rest:03} s")?;
            }
            (What::Requests | What::Tokens, None) => write!(
                f,
                " by this call alone, which counts {} and so never fits",
                self.asked
            )?,
        }
        match &self.owner {
            Some(owner) => write!(f, "; ask {owner}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_limit_amount_time_and_owner() {
        let refused = Refused {
            limit: "per-team".into(),
            counter: "tenant=search".into(),
            what: What::Tokens,
            is_account: false,
            most: 1_000,
            asked: 4_000,
            wait_ms: Some(1_234),
            owner: Some("#platform".into()),
        };
        assert_eq!(
            refused.to_string(),
            "limit per-team of 1000 tokens per minute for tenant=search is used up; this call fits \
             in 1.234 s; ask #platform"
        );
        let never = Refused {
            wait_ms: None,
            owner: None,
            ..refused
        };
        assert_eq!(
            never.to_string(),
            "limit per-team of 1000 tokens per minute for tenant=search is used up by this call \
             alone, which counts 4000 and so never fits"
        );
    }
}
