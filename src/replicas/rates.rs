//! Rates that replicas share: one script for each decision, over calls at once too, and the ends of
//! calls told beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Pipeline, Value};

use super::error::StoreError;
use super::link::{Link, evalsha, list, number, text, within};
use super::places::Asked;
use super::store::{Outage, Store, WAIT_MAX, wait};
use crate::domain::{
    SharedLot, SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates, SharedSaid, SharedWants,
};

impl Store {
    /// Takes what a call wants of every bucket and every counter of calls at once, or nothing where
    /// one that enforces has no room: one round trip. The answers come in the order of the wants.
    ///
    /// # Errors
    /// When it does not answer in time. What it may have taken of rates is paid by time, and places
    /// come back.
    pub async fn take(&self, wants: &SharedWants) -> Result<SharedSaid, Outage> {
        let inner = &*self.inner;
        let begun = Instant::now();
        let mut changed = inner.changed.subscribe();
        while begun.elapsed() < WAIT_MAX {
            changed.mark_unchanged();
            let Some(link) = inner.link() else {
                if inner.is_reentering() && wait(&mut changed, begun).await {
                    continue;
                }
                break;
            };
            // A client that leaves meanwhile must not leave places behind.
            let asked = Asked::new(self, &wants.places);
            match link.take(wants, asked.id, inner.settings.timeout).await {
                Ok(Said::Taken(said)) => {
                    return Ok(SharedSaid {
                        place: asked.taken(),
                        ..said
                    });
                }
                Ok(Said::Full(said)) => {
                    asked.refused();
                    return Ok(said);
                }
                Ok(Said::Closed(left)) => {
                    asked.refused();
                    tokio::time::sleep(left).await;
                }
                Ok(Said::Changed) => {
                    asked.refused();
                    inner.lost(&link, &StoreError::Changed);
                    let _in_time = wait(&mut changed, begun).await;
                }
                Err(error) => {
                    inner.lost(&link, &error);
                    break;
                }
            }
        }
        Err(inner.outage())
    }
}

/// What the store says to a call.
enum Said {
    /// It has places.
    Taken(SharedSaid),
    /// It has none, whatever it has of rates.
    Full(SharedSaid),
    /// The store was empty, and waits for its replicas to come back.
    Closed(Duration),
    /// This link is of an epoch or of a connection that is over.
    Changed,
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
        wants: &SharedWants,
        call: Option<u64>,
        patience: Duration,
    ) -> Result<Said, StoreError> {
        let rates = &wants.rates;
        let mut keys = self.wanted_keys(&wants.places);
        keys.extend(rates.iter().map(|want| self.bucket(&want.bucket)));
        let mut command = evalsha(&self.scripts().rates, &keys);
        self.want_places(&mut command, call, &wants.places);
        for want in rates {
            command
                .arg(capped(want.rate).max(1))
                .arg(capped(want.burst));
            command.arg(capped(want.amount)).arg(want.limit);
            command.arg(u8::from(want.enforces));
        }
        said(wants, within(patience, self.ask_long(&command)).await?)
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

fn said(wants: &SharedWants, answer: Value) -> Result<Said, StoreError> {
    let mut items = list(answer)?.into_iter();
    let word = text(items.next().unwrap_or(Value::Nil))?;
    let numbers = items.map(|item| number(&item));
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    match (word.as_str(), numbers.as_slice()) {
        ("said", numbers) => answers(wants, numbers),
        ("closed", [left]) => {
            let left = u64::try_from(*left).unwrap_or(0);
            Ok(Said::Closed(Duration::from_millis(left)))
        }
        ("changed", _) => Ok(Said::Changed),
        _ => Err(StoreError::Unexpected(word)),
    }
}

fn answers(wants: &SharedWants, numbers: &[i64]) -> Result<Said, StoreError> {
    let SharedWants { rates, places } = wants;
    let of_rates = rates.len().saturating_mul(4);
    let parts = numbers.split_at_checked(of_rates);
    let too_few = || StoreError::Unexpected("too few answers".to_owned());
    let (of_rates, of_places) = parts.ok_or_else(too_few)?;
    let answers = rates.iter().zip(of_rates.chunks_exact(4));
    let of_places = of_places.chunks_exact(2);
    if of_places.len() != places.len() {
        return Err(too_few());
    }
    let is_taken = of_places.clone().any(|said| said.last() == Some(&1));
    let said = SharedSaid {
        rates: answers.map(|(want, said)| answer(want, said)).collect(),
        places: of_places.map(|said| said.first() == Some(&1)).collect(),
        place: None,
    };
    Ok(if is_taken {
        Said::Taken(said)
    } else {
        Said::Full(said)
    })
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
