//! What limits lack for a call, until somebody is told.

use std::sync::Arc;

use super::applying::Counted;
use super::refused::{Refused, What};
use super::settings::LimitMode;
use super::table::Account;

/// Why one limit has no room for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lack {
    pub(super) what: What,
    /// How much the limit gives.
    pub(super) most: u64,
    /// How much the call asks for.
    pub(super) asked: u64,
    /// When it would fit, if nobody else takes anything; `None`: never.
    pub(super) wait_ms: Option<u64>,
}

impl Lack {
    /// The order in which they are told: what never fits, then the longest wait.
    fn severity(&self) -> u64 {
        self.wait_ms.unwrap_or(u64::MAX)
    }

    /// The one that is told of several.
    pub(super) fn worst<const N: usize>(lacks: [Option<Self>; N]) -> Option<Self> {
        lacks.into_iter().flatten().max_by_key(Self::severity)
    }
}

/// A limit that a call has to fit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fitted<'a> {
    /// One on callers.
    Limit(&'a Counted),
    /// A quota of the account.
    Quota(&'a Account),
}

/// The limits of a call that have no room, each with its number: those on callers are counted
/// first, then the account's quotas. Most calls find room in all.
#[derive(Debug, Default)]
pub(super) struct Lacks<'a>(Vec<(usize, Fitted<'a>, Lack)>);

impl Fitted<'_> {
    fn enforces(self) -> bool {
        let mode = match self {
            Self::Limit(one) => one.limit.settings.mode,
            Self::Quota(one) => one.settings.mode,
        };
        mode == LimitMode::Enforce
    }

    fn refused(self, lack: &Lack) -> Refused {
        let (limit, counter, owner) = match self {
            Self::Limit(one) => (&one.limit.name, Arc::clone(&one.subject), &one.limit.owner),
            Self::Quota(one) => (&one.name, "".into(), &one.owner),
        };
        Refused {
            limit: Arc::clone(limit),
            counter,
            what: lack.what,
            is_account: matches!(self, Self::Quota(_)),
            most: lack.most,
            asked: lack.asked,
            wait_ms: lack.wait_ms,
            owner: owner.clone(),
        }
    }
}

impl<'a> Lacks<'a> {
    pub(super) fn add(&mut self, limit: usize, of: Fitted<'a>, lack: Option<Lack>) {
        self.0.extend(lack.map(|lack| (limit, of, lack)));
    }

    /// What the limit of that number lacks.
    pub(super) fn of(&self, limit: usize) -> Option<&Lack> {
        let mut lacks = self.0.iter();
        let found = lacks.find(|(number, ..)| *number == limit);
        found.map(|(.., lack)| lack)
    }

    /// Of those that hold, the one that has no room for longest.
    pub(super) fn worst(&self) -> Option<Refused> {
        let held = self.0.iter().filter(|(_, of, _)| of.enforces());
        let worst = held.max_by_key(|(.., lack)| lack.severity());
        worst.map(|(_, of, lack)| of.refused(lack))
    }

    /// What each of them would say to a caller.
    pub(super) fn refused(&self) -> Vec<Refused> {
        let lacks = self.0.iter();
        lacks.map(|(_, of, lack)| of.refused(lack)).collect()
    }
}
