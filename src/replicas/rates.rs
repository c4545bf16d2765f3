//! Rates that replicas share, and quotas that tenants share: one script for each decision, over calls
//! at once too, and the ends of calls told beside it.

use std::time::{Duration, Instant};

use redis::{Pipeline, Value};

use super::error::StoreError;
use super::link::{Link, evalsha, list, number, text, within};
use super::places::Asked;
use super::rate_words;
use super::store::{Outage, Store, WAIT_MAX, wait};
use crate::domain::{SharedLotEnd, SharedRates, SharedSaid, SharedWants};

impl Store {
    /// Takes what a call wants of every bucket, quota and counter of calls at once, or nothing where
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
#[derive(Debug)]
pub(super) enum Said {
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
        keys.extend(rate_words::keys(self.names(), rates));
        let mut command = evalsha(&self.scripts().rates, &keys);
        self.want_places(&mut command, call, &wants.places);
        rate_words::say(&mut command, rates);
        said(wants, within(patience, self.ask_long(&command)).await?)
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
            pipeline.add_command(rate_words::end(script, self.names(), one));
        }
        self.ask_all(&pipeline).await
    }
}

pub(super) fn said(wants: &SharedWants, answer: Value) -> Result<Said, StoreError> {
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
    let of_rates = rates.len().saturating_mul(rate_words::NUMBERS);
    let parts = numbers.split_at_checked(of_rates);
    let too_few = || StoreError::Unexpected("too few answers".to_owned());
    let (of_rates, of_places) = parts.ok_or_else(too_few)?;
    let of_places = of_places.chunks_exact(2);
    if of_places.len() != places.len() {
        return Err(too_few());
    }
    let is_taken = of_places.clone().any(|said| said.last() == Some(&1));
    let said = SharedSaid {
        rates: rate_words::answers(rates, of_rates),
        places: of_places.map(|said| said.first() == Some(&1)).collect(),
        place: None,
    };
    Ok(if is_taken {
        Said::Taken(said)
    } else {
        Said::Full(said)
    })
}
