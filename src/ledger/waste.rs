//! Money for nothing: answers that were asked for again, answers that nobody waited for, cache
//! writes that nobody read. What cannot be known to be waste is not counted.
//!
//! It does not read the ledger: it is given each row once, in the order of settling.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::breakdown::EntryRow;
use crate::domain::{Dimension, Timestamp};

/// SDK calls that are remembered for their other attempts; the oldest is forgotten first.
const INVOCATIONS_MAX: usize = 65_536;
const MINUTE_MS: i64 = 60_000;
/// Calls that read a cache before its end may settle this much later: the longest drain.
const GRACE_MS: i64 = 15 * MINUTE_MS;

/// An amount that turned out to be wasted, or not to be where it is negative.
#[derive(Debug)]
pub(super) struct Wasted {
    pub(super) model: Box<str>,
    pub(super) cause: &'static str,
    /// When its call was admitted.
    pub(super) at: Timestamp,
    pub(super) femto: i128,
}

/// What may turn out to be wasted.
#[derive(Debug, Default)]
pub(super) struct Waste {
    invocations: HashMap<Invocation, Attempts>,
    oldest: VecDeque<Invocation>,
    writes: HashMap<Cache, Writes>,
}

/// Tenant and the SDK's id of the call.
type Invocation = (Box<str>, Box<str>);

/// Tenant, model and place: whose reads can be of the same cache.
type Cache = (Box<str>, Box<str>, Box<str>);

/// Femtodollars of cache writes by (minute of admission, end of life), in milliseconds.
type Writes = BTreeMap<(i64, i64), i128>;

/// The attempts of one SDK call, as far as known.
#[derive(Debug, Default)]
struct Attempts {
    last: i64,
    /// Charged attempts that did not end well and that none is known to follow.
    charged: Vec<Charged>,
}

#[derive(Debug)]
struct Charged {
    attempt: i64,
    model: Box<str>,
    at: Timestamp,
    femto: i128,
    abandoned: bool,
}

impl Charged {
    fn wasted(&self, cause: &'static str, femto: i128) -> Wasted {
        Wasted {
            model: self.model.clone(),
            cause,
            at: self.at,
            femto,
        }
    }
}

impl Waste {
    /// What this row shows to be wasted, of its own cost or of an attempt before.
    pub(super) fn add(&mut self, row: &EntryRow<'_>) -> Vec<Wasted> {
        self.read_or_write(row);
        let cost = row.cost.unwrap_or_default();
        let charged = (!row.ended_well() && cost > 0).then(|| Charged {
            attempt: row.attempt,
            model: row.model.into(),
            at: row.opened_at,
            femto: cost,
            abandoned: row.outcome == "client_left",
        });
        match row.invocation {
            Some(id) if row.attempt > 1 || charged.is_some() => {
                let invocation = (row.tenant.into(), id.into());
                self.attempts(invocation).add(row.attempt, charged)
            }
            Some(_) | None => charged
                .into_iter()
                .filter_map(|one| one.unless_retried())
                .collect(),
        }
    }

    fn attempts(&mut self, invocation: Invocation) -> &mut Attempts {
        if !self.invocations.contains_key(&invocation) {
            self.oldest.push_back(invocation.clone());
        }
        if self.oldest.len() > INVOCATIONS_MAX
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.invocations.remove(&oldest);
        }
        self.invocations.entry(invocation).or_default()
    }

    fn read_or_write(&mut self, row: &EntryRow<'_>) {
        let cache = || (row.tenant.into(), row.model.into(), row.place.into());
        let at = row.opened_at.unix_ms();
        if row.cache_read
            && let Some(writes) = self.writes.get_mut(&cache())
        {
            // Whatever lived at that moment may be what was read.
            writes.retain(|(minute, end), _| *minute > at || *end < at);
        }
        for line in &row.lines {
            if let Some(life) = life_ms(&line.dimension) {
                let minute = at.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS);
                let end = minute.saturating_add(MINUTE_MS).saturating_add(life);
                let writes = self.writes.entry(cache()).or_default();
                let sum = writes.entry((minute, end)).or_default();
                *sum = sum.saturating_add(line.amount);
            }
        }
    }

    /// The cache writes, with their tenant, that nothing can have read any more.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<(Box<str>, Wasted)> {
        let over = now.unix_ms().saturating_sub(GRACE_MS);
        let mut expired = Vec::new();
        for ((tenant, model, _), writes) in &mut self.writes {
            writes.retain(|(minute, end), femto| {
                if *end >= over {
                    return true;
                }
                let wasted = Wasted {
                    model: model.clone(),
                    cause: "cache_write_never_read",
                    at: Timestamp::from_unix_ms(*minute),
                    femto: *femto,
                };
                expired.push((tenant.clone(), wasted));
                false
            });
        }
        self.writes.retain(|_, writes| !writes.is_empty());
        expired
    }
}

impl Attempts {
    fn add(&mut self, attempt: i64, charged: Option<Charged>) -> Vec<Wasted> {
        let mut found = Vec::new();
        self.last = self.last.max(attempt);
        for earlier in self.charged.extract_if(.., |one| one.attempt < attempt) {
            if earlier.abandoned {
                found.push(earlier.wasted("abandoned", earlier.femto.saturating_neg()));
            }
            found.push(earlier.wasted("retried", earlier.femto));
        }
        if let Some(charged) = charged {
            if charged.attempt < self.last {
                found.push(charged.wasted("retried", charged.femto));
            } else {
                found.extend(charged.unless_retried());
                self.charged.push(charged);
            }
        }
        found
    }
}

impl Charged {
    fn unless_retried(&self) -> Option<Wasted> {
        self.abandoned.then(|| self.wasted("abandoned", self.femto))
    }
}

/// How long a cache write lives without being read.
fn life_ms(dimension: &Dimension) -> Option<i64> {
    match dimension {
        Dimension::CacheWrite5mTokens => Some(5 * MINUTE_MS),
        Dimension::CacheWrite30mTokens => Some(30 * MINUTE_MS),
        Dimension::CacheWrite1hTokens => Some(60 * MINUTE_MS),
        Dimension::InputTokens
        | Dimension::OutputTokens
        | Dimension::CacheReadTokens
        | Dimension::Named(_) => None,
    }
}
