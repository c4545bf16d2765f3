//! Rates that replicas share: what a call wants of them, and what they say.
//!
//! The store decides on requests and tokens per minute, those of the account's quotas too, and on
//! calls at once. What is taken is taken of the counters of this process too: they are what is
//! known while the store is away.

use std::fmt::Write as _;
use std::sync::Arc;

use super::applying::{Applying, Counted, Demand};
use super::bucket::Size;
use super::hold::SharedLots;
use super::lack::Lack;
use super::refused::What;
use super::settings::LimitMode;
use crate::domain::{
    SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates, SharedSaid, SharedWants,
};

/// By which rates a call is let in.
#[derive(Debug)]
pub enum Rates {
    /// Those of this process.
    Own,
    /// What the store of all replicas said to [`Applying::wants`], and who is told of the end.
    Told(SharedSaid, Arc<dyn SharedRates>),
    /// While replicas cannot see each other: the part of one of so many.
    Part(u32),
    /// Whatever it wants.
    Any,
}

/// The same, by limit.
pub(super) enum Sorted {
    Part(u32),
    Any,
    Told(Vec<Told>),
}

/// What the store said of one limit, or of one quota of the account: these come after the limits.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) requests: Option<SharedRateAnswer>,
    pub(super) tokens: Option<SharedRateAnswer>,
    /// Whether there is a place for another call.
    pub(super) has_place: Option<bool>,
}

/// The same of one limit.
#[derive(Clone, Copy)]
pub(super) enum RateOf<'a> {
    Part(u32),
    Any,
    Told(&'a Told),
}

impl RateOf<'_> {
    /// The size of a bucket of this process.
    pub(super) fn part(self, size: Size) -> Size {
        match self {
            Self::Part(replicas) if replicas > 1 => size.part(replicas),
            Self::Part(_) | Self::Any | Self::Told(_) => size,
        }
    }

    /// Why an amount has no room in a rate; `own` says how long until it fits in the bucket of this
    /// process, where that decides.
    pub(super) fn lack(
        self,
        what: What,
        size: Size,
        asked: u64,
        own: impl FnOnce() -> Option<u64>,
    ) -> Option<Lack> {
        let wait_ms = match self {
            Self::Part(_) => own(),
            Self::Any => Some(0),
            Self::Told(told) => told.wait_ms(what),
        };
        (asked > 0 && wait_ms != Some(0)).then_some(Lack {
            what,
            most: size.rate,
            asked,
            wait_ms,
        })
    }
}

impl Sorted {
    pub(super) fn of(&self, index: usize) -> RateOf<'_> {
        match self {
            Self::Part(replicas) => RateOf::Part(*replicas),
            Self::Any => RateOf::Any,
            Self::Told(told) => told.get(index).map_or(RateOf::Any, RateOf::Told),
        }
    }

    /// What was taken of a limit.
    pub(super) fn lots(&self, index: usize) -> SharedLots {
        match self.of(index) {
            RateOf::Part(_) | RateOf::Any => SharedLots::default(),
            RateOf::Told(told) => told.lots(),
        }
    }

    /// All that was taken, of a call that was refused after all.
    pub(super) fn unused(&self) -> Vec<SharedLotEnd> {
        match self {
            Self::Part(_) | Self::Any => Vec::new(),
            Self::Told(told) => told.iter().flat_map(|one| one.lots().unused()).collect(),
        }
    }
}

impl Told {
    /// How long until it fits, by the store; `None`: never. What it was not asked has room.
    fn wait_ms(&self, what: What) -> Option<u64> {
        let answer = match what {
            What::Requests => self.requests.as_ref(),
            What::Tokens => self.tokens.as_ref(),
            What::Calls => None,
        };
        answer.map_or(Some(0), |one| one.wait_ms)
    }

    fn lots(&self) -> SharedLots {
        let lot =
            |answer: &Option<SharedRateAnswer>| answer.as_ref().and_then(|one| one.lot.clone());
        SharedLots {
            request: lot(&self.requests),
            tokens: lot(&self.tokens),
        }
    }
}

impl Applying {
    /// What the store of all replicas is asked for; nothing where no limit on callers applies.
    pub fn wants(&self, demand: Demand) -> SharedWants {
        SharedWants {
            rates: self.wanted_rates(demand),
            places: self.wanted_places(),
        }
    }

    fn wanted_rates(&self, demand: Demand) -> Vec<SharedRate> {
        let limits = self.limits.iter().enumerate();
        let wants = limits.flat_map(|(index, one)| {
            let requests = one.limit.requests.map(|size| (size, 1, "requests"));
            let asked = self.asked(one, demand);
            let tokens = one.limit.tokens.filter(|_| asked > 0);
            let tokens = tokens.map(|size| (size, asked, "tokens"));
            let both = requests.into_iter().chain(tokens);
            both.map(move |(size, amount, what)| SharedRate {
                bucket: shared_name(one, what),
                rate: size.rate,
                burst: size.burst,
                amount,
                limit: index,
                enforces: one.limit.settings.mode == LimitMode::Enforce,
                share: None,
            })
        });
        let of_accounts = self.quota_wants(demand, self.limits.len());
        wants.chain(of_accounts).collect()
    }

    /// Answers by limit, and who is told of the end.
    pub(super) fn sorted(
        &self,
        demand: Demand,
        rates: Rates,
    ) -> (Sorted, Option<Arc<dyn SharedRates>>) {
        let (said, told) = match rates {
            Rates::Own => return (Sorted::Part(1), None),
            Rates::Part(replicas) => return (Sorted::Part(replicas), None),
            Rates::Any => return (Sorted::Any, None),
            Rates::Told(said, told) => (said, told),
        };
        let mut answers = said.rates.into_iter();
        let mut places = said.places.into_iter();
        let mut rates = |requests: Option<Size>, tokens: Option<Size>, asked: u64| Told {
            requests: requests.and_then(|_size| answers.next()),
            tokens: tokens
                .filter(|_size| asked > 0)
                .and_then(|_size| answers.next()),
            has_place: None,
        };
        let of_limits = self.limits.iter().map(|one| Told {
            has_place: one.places().and_then(|_most| places.next()),
            ..rates(
                one.limit.requests,
                one.limit.tokens,
                self.asked(one, demand),
            )
        });
        let mut told_each: Vec<_> = of_limits.collect();
        let asked = demand.tokens(self.account_weights());
        let of_accounts = self.accounts.iter();
        told_each.extend(of_accounts.map(|one| rates(one.requests, one.tokens, asked)));
        (Sorted::Told(told_each), Some(told))
    }

    fn asked(&self, one: &Counted, demand: Demand) -> u64 {
        demand.tokens(one.limit.weights(self.output_weight))
    }
}

/// All that decides what a counter counts is part of its name, but how large it is: a limit that is
/// changed goes on.
pub(super) fn shared_name(one: &Counted, what: &str) -> Arc<str> {
    let mut name = format!("{}|", one.limit.name);
    name.push_str(&one.limit.settings.scope.spelled());
    // Writing to a String cannot fail.
    let _written = write!(name, "|{}|{what}", one.subject);
    name.into()
}
