//! Rates that replicas share, and quotas that tenants share: one script for each decision, and the
//! ends of calls told beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use super::error::StoreError;
use super::link::{Link, evalsha, list, number, within};
use super::names::Names;
use super::store::{Outage, Store, wait};
use crate::domain::{
    SharedLot, SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates, SharedShare,
};

impl Store {
    /// Takes what a call wants of every bucket and quota, or nothing where one that enforces has no
    /// room: one round trip. The answers come in the order of the wants.
    ///
    /// # Errors
    /// When it does not answer in time. What it may have taken is paid by time.
    pub async fn take(&self, wants: &[SharedRate]) -> Result<Vec<SharedRateAnswer>, Outage> {
        let inner = &*self.inner;
        let begun = Instant::now();
        let mut changed = inner.changed.subscribe();
        let link = loop {
            changed.mark_unchanged();
            match inner.link() {
                Some(link) => break Some(link),
                None if inner.is_reentering() && wait(&mut changed, begun).await => {}
                None => break None,
            }
        };
        let Some(link) = link else {
            return Err(inner.outage());
        };
        let taken = link.take(wants, inner.settings.timeout).await;
        taken.map_err(|error| {
            inner.lost(&link, &error);
            inner.outage()
        })
    }
}

impl SharedRates for Store {
    /// While the store is away nobody is told: time pays what was taken.
    fn ended(&self, lots: Vec<SharedLotEnd>) {
        if !lots.is_empty() && self.is_up() {
            self.inner.ops().lots_ended(lots);
            self.inner.work.notify_one();
        }
    }
}

impl Link {
    async fn take(
        &self,
        wants: &[SharedRate],
        patience: Duration,
    ) -> Result<Vec<SharedRateAnswer>, StoreError> {
        let command = take(&self.scripts().rates, self.names(), wants);
        answers(wants, within(patience, self.ask_long(&command)).await?)
    }

    /// Tells what became of lots.
    pub(super) async fn ended(&self, ended: &[SharedLotEnd]) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(ended.len());
        let scripts = self.scripts();
        for one in ended {
            let script = match one.lot.share {
                None => &scripts.ended,
                Some(_) => &scripts.share_ended,
            };
            pipeline.add_command(end(script, self.names(), one));
        }
        self.ask_all(&pipeline).await
    }
}

/// Asks for what a call wants.
pub(super) fn take(script: &str, names: &Names, wants: &[SharedRate]) -> Cmd {
    let keys = wants
        .iter()
        .flat_map(|want| keys(names, &want.bucket, want.share.as_ref()));
    let keys: Vec<_> = keys.collect();
    let mut command = evalsha(script, &keys);
    for want in wants {
        let most = most(want.share.as_ref());
        command.arg(want.rate.clamp(1, most));
        command.arg(want.burst.min(most)).arg(want.amount.min(most));
        command.arg(want.limit).arg(u8::from(want.enforces));
        let share = want.share.as_ref();
        command.arg(share.map_or("", |share| &share.tenant));
        command.arg(share.map_or(0, |share| share.weight));
    }
    command
}

/// Tells what became of a lot.
pub(super) fn end(script: &str, names: &Names, ended: &SharedLotEnd) -> Cmd {
    let SharedLotEnd { lot, unused, more } = ended;
    let most = most(lot.share.as_ref());
    let mut command = evalsha(script, &keys(names, &lot.bucket, lot.share.as_ref()));
    command
        .arg(lot.rate.clamp(1, most))
        .arg(lot.amount.min(most));
    command.arg(lot.end).arg(lot.gone);
    command.arg(unused.min(&most)).arg(more.min(&most));
    if let Some(share) = &lot.share {
        command.arg(&*share.tenant).arg(share.weight);
    }
    command
}

fn keys(names: &Names, bucket: &str, share: Option<&SharedShare>) -> Vec<String> {
    match share {
        None => vec![names.bucket(bucket)],
        Some(_) => names.quota(bucket).into(),
    }
}

/// What the store said to [`take`].
pub(super) fn answers(
    wants: &[SharedRate],
    said: Value,
) -> Result<Vec<SharedRateAnswer>, StoreError> {
    let said = list(said)?;
    let numbers = said.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let answers = wants.iter().zip(numbers.chunks_exact(4));
    let answers: Vec<_> = answers.map(|(want, said)| answer(want, said)).collect();
    if answers.len() != wants.len() {
        return Err(StoreError::Unexpected("too few answers".to_owned()));
    }
    Ok(answers)
}

fn answer(want: &SharedRate, said: &[i64]) -> SharedRateAnswer {
    let at = |index: usize| said.get(index).copied().unwrap_or(0);
    let whole = |index| u64::try_from(at(index));
    SharedRateAnswer {
        wait_ms: whole(0).ok(),
        lot: (at(1) == 1).then(|| SharedLot {
            bucket: Arc::clone(&want.bucket),
            rate: want.rate,
            amount: want.amount,
            end: whole(2).unwrap_or(0),
            gone: whole(3).unwrap_or(0),
            share: want.share.clone(),
        }),
    }
}

/// The largest amount of which the numbers of scripts are exact: they are so below 2^53, in units of
/// a 60,000th. Those of a quota are added up, and go into a clock of 2^50.
const fn most(share: Option<&SharedShare>) -> u64 {
    if share.is_some() {
        1_000_000_000
    } else {
        10_000_000_000
    }
}

/// Takes what a call wants of every bucket and quota.
pub(super) const RATES: &str = concat!(
    include_str!("scripts/buckets.lua"),
    include_str!("scripts/fair.lua"),
    include_str!("scripts/rates.lua")
);
/// Ends a lot of a bucket.
pub(super) const ENDED: &str = concat!(
    include_str!("scripts/buckets.lua"),
    include_str!("scripts/ended.lua")
);
/// Ends a lot of a quota.
pub(super) const SHARE_ENDED: &str = concat!(
    include_str!("scripts/buckets.lua"),
    include_str!("scripts/fair.lua"),
    include_str!("scripts/share_ended.lua")
);
