//! Rates that replicas share: one script for each decision, and the ends of calls told beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Pipeline;

use super::error::StoreError;
use super::link::{Link, evalsha, list, number, within};
use super::store::{Outage, Store, wait};
use crate::domain::{SharedLot, SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates};

impl Store {
    /// Takes what a call wants of every bucket, or nothing where one that enforces has no room:
    /// one round trip. The answers come in the order of the wants.
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
        let keys: Vec<_> = wants.iter().map(|want| self.bucket(&want.bucket)).collect();
        let mut command = evalsha(&self.scripts().rates, &keys);
        for want in wants {
            command
                .arg(capped(want.rate).max(1))
                .arg(capped(want.burst));
            command.arg(capped(want.amount)).arg(want.limit);
            command.arg(u8::from(want.enforces));
        }
        let answers = list(within(patience, self.ask_long(&command)).await?)?;
        let numbers = answers.iter().map(number).collect::<Result<Vec<_>, _>>()?;
        let answers = wants.iter().zip(numbers.chunks_exact(4));
        let answers: Vec<_> = answers.map(|(want, said)| answer(want, said)).collect();
        if answers.len() != wants.len() {
            return Err(StoreError::Unexpected("too few answers".to_owned()));
        }
        Ok(answers)
    }

    /// Tells what became of lots.
    pub(super) async fn ended(&self, ended: &[SharedLotEnd]) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(ended.len());
        for one in ended {
            let SharedLotEnd { lot, unused, more } = one;
            let mut command = evalsha(&self.scripts().ended, &[self.bucket(&lot.bucket)]);
            command.arg(capped(lot.rate).max(1)).arg(capped(lot.amount));
            command.arg(lot.end).arg(lot.gone);
            command.arg(capped(*unused)).arg(capped(*more));
            pipeline.add_command(command);
        }
        self.ask_all(&pipeline).await
    }
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
        }),
    }
}

/// The numbers of scripts are exact below 2^53, which a 60,000th of this is far below.
fn capped(amount: u64) -> u64 {
    amount.min(AMOUNT_MAX)
}

const AMOUNT_MAX: u64 = 10_000_000_000;
