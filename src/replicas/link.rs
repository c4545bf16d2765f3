//! A connection to the store, inside an epoch: each script as a function.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};
use tokio::time::timeout;

use super::connect::{Opened, open};
use super::error::StoreError;
use super::names::{EpochNames, Names};
use super::ops::{Numbered, Op, arguments};
use super::rate_words::{ENDED, RATES, SHARE_ENDED};
use super::settings::Settings;
use crate::domain::{SharedBook, SharedCounter, SharedPosition, SharedWant, Usd};

/// What the store says to a call.
#[derive(Debug)]
pub(super) enum Reply {
    Taken(Vec<SharedPosition>),
    Full {
        index: usize,
        position: SharedPosition,
    },
    /// The store was empty, and waits for its replicas to come back.
    Closed(Duration),
    /// The ledger has to be asked what was spent.
    Unknown,
    /// This link is of an epoch or of a connection that is over.
    Changed,
}

/// The scripts, by the digests under which the store keeps them.
#[derive(Debug)]
pub(super) struct Scripts {
    reserve: String,
    apply: String,
    late: String,
    beat: String,
    sum: String,
    sums: String,
    look: String,
    pub(super) rates: String,
    pub(super) ended: String,
    pub(super) share_ended: String,
    pub(super) told: String,
}

/// A connection that has joined.
#[derive(Debug)]
struct Joined {
    connection: MultiplexedConnection,
    scripts: Scripts,
    join: String,
    enter: String,
    _driver: Driver,
}

/// Ends with its connection.
#[derive(Debug)]
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection before it has entered an epoch.
pub(super) struct Door {
    joined: Joined,
    names: Names,
    lease: Duration,
    /// The epoch.
    pub(super) epoch: Arc<str>,
    /// Whether replicas may still come back before anybody reserves.
    pub(super) is_closed: bool,
    /// Where this replica began it: how long that is.
    pub(super) opens_in: Option<Duration>,
}

/// A connection within an epoch.
#[derive(Debug)]
pub(super) struct Link {
    joined: Joined,
    names: Names,
    keys: EpochNames,
    lease: Duration,
    epoch: Arc<str>,
    generation: i64,
}

impl Door {
    /// Connects, and finds the epoch or begins one. One that is `over` is ended.
    pub(super) async fn open(
        settings: &Settings,
        names: &Names,
        over: Option<&str>,
    ) -> Result<Self, StoreError> {
        let Opened { connection, driver } = within(CONNECT_MAX, open(settings)).await?;
        let driver = Driver(driver);
        let mut connection = connection;
        let (join, enter) = (
            load(&mut connection, JOIN).await?,
            load(&mut connection, ENTER).await?,
        );
        let scripts = Scripts {
            reserve: load(&mut connection, RESERVE).await?,
            apply: load(&mut connection, APPLY).await?,
            late: load(&mut connection, LATE).await?,
            beat: load(&mut connection, &format!("{PLACES}{BEAT}")).await?,
            sum: load(&mut connection, SUM).await?,
            sums: load(&mut connection, SUMS).await?,
            look: load(&mut connection, LOOK).await?,
            rates: load(&mut connection, RATES).await?,
            ended: load(&mut connection, ENDED).await?,
            share_ended: load(&mut connection, SHARE_ENDED).await?,
            told: load(&mut connection, &format!("{PLACES}{TOLD}")).await?,
        };
        let joined = Joined {
            connection,
            scripts,
            join,
            enter,
            _driver: driver,
        };
        let fresh = uuid::Uuid::now_v7().simple().to_string();
        let mut command = evalsha(&joined.join, &[names.epoch()]);
        command.arg(&fresh).arg(ms(CLOSED)).arg(over.unwrap_or(""));
        let answer = joined.ask(&command).await?;
        let [id, closed] = items::<2>(answer)?;
        let (id, closed) = (text(id)?, number(&closed)?);
        let opens_in = Duration::from_millis(u64::try_from(closed).unwrap_or(0));
        Ok(Self {
            opens_in: (id == fresh).then_some(opens_in),
            epoch: id.into(),
            is_closed: closed > 0,
            joined,
            names: names.clone(),
            lease: settings.lease,
        })
    }

    /// Enters it. `last` is the number that this replica gave last, where the store knows none.
    /// Also says which number was applied last, and whether the store knew none.
    pub(super) async fn enter(
        self,
        last: u64,
        is_behind: bool,
    ) -> Result<(Link, u64, bool), StoreError> {
        let keys = self.names.within(&self.epoch);
        let names = [keys.replica(), keys.leases(), keys.behind()];
        let mut command = evalsha(&self.joined.enter, &names);
        let lease = ms(self.lease);
        command.arg(&self.names.replica).arg(lease).arg(last);
        command.arg(u8::from(is_behind));
        let answer = self.joined.ask(&command).await?;
        let [generation, applied, is_new] = items::<3>(answer)?;
        let link = Link {
            joined: self.joined,
            names: self.names,
            keys,
            lease: self.lease,
            epoch: self.epoch,
            generation: number(&generation)?,
        };
        let applied = u64::try_from(number(&applied)?).unwrap_or(0);
        Ok((link, applied, number(&is_new)? == 1))
    }
}

impl Link {
    /// Asks for what a call wants: all of it, or nothing.
    pub(super) async fn reserve(
        &self,
        call: &str,
        wants: &[SharedWant],
        patience: Duration,
    ) -> Result<Reply, StoreError> {
        let mut keys = vec![self.names.epoch(), self.keys.replica(), self.keys.holds()];
        for want in wants {
            keys.push(self.keys.marker(&want.counter.book));
            keys.push(self.keys.counter(&want.counter));
        }
        let mut command = evalsha(&self.joined.scripts.reserve, &keys);
        command.arg(&*self.epoch).arg(self.generation);
        command.arg(&self.names.ledger).arg(call);
        for want in wants {
            let counter = &want.counter;
            command.arg(counter.bucket).arg(want.oldest);
            command.arg(counter.keep_ms).arg(micro(want.limit));
            command.arg(micro(want.amount)).arg(u8::from(want.blocks));
        }
        reply(within(patience, self.joined.ask_long(&command)).await?)
    }

    /// Applies what became of calls, in order. Answers with the number of those that are done.
    pub(super) async fn apply(&self, batch: &[Numbered]) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for numbered in batch {
            pipeline.add_command(self.apply_one(numbered));
        }
        let mut connection = self.joined.connection.clone();
        let all = pipeline.query_async::<Vec<Value>>(&mut connection);
        done(within(ANSWER_MAX, all).await?)
    }

    fn apply_one(&self, Numbered { number, op }: &Numbered) -> Cmd {
        let (more_keys, more) = arguments(op, &self.keys);
        let mut keys = vec![self.names.epoch(), self.keys.replica()];
        let summing = self.keys.summing(&self.names.ledger);
        let mut command = if let Op::Late(_) = op {
            keys.extend([self.keys.leases(), self.keys.gone(), self.keys.late()]);
            keys.push(summing);
            keys.extend(more_keys);
            evalsha(&self.joined.scripts.late, &keys)
        } else {
            keys.extend([self.keys.holds(), self.keys.expired(), summing]);
            keys.push(self.keys.late());
            keys.extend(more_keys);
            evalsha(&self.joined.scripts.apply, &keys)
        };
        command.arg(&*self.epoch).arg(*number);
        command.arg(&self.names.ledger);
        if let Op::Late(_) = op {
            command.arg(self.keys.holds_of_any());
            command.arg(self.keys.expired_of_any());
        } else {
            command.arg(&self.names.replica);
        }
        command.arg(more);
        command
    }

    /// Says that this replica lives. Answers with the number that was applied last, and a replica
    /// whose lease ran out: whose holds were counted as spent, and whose places came back.
    pub(super) async fn beat(&self, is_behind: bool) -> Result<(u64, Option<String>), StoreError> {
        let keys = [
            self.names.epoch(),
            self.keys.replica(),
            self.keys.leases(),
            self.keys.behind(),
            self.keys.gone(),
        ];
        let mut command = evalsha(&self.joined.scripts.beat, &keys);
        command.arg(&*self.epoch).arg(&self.names.replica);
        command.arg(ms(self.lease));
        command
            .arg(self.keys.holds_of_any())
            .arg(self.keys.expired_of_any())
            .arg(u8::from(is_behind))
            .arg(self.keys.places_of_any());
        let [applied, dead] = items::<2>(self.joined.ask(&command).await?)?;
        let applied = number(&applied)?;
        let applied = u64::try_from(applied).map_err(|_below_zero| StoreError::Changed)?;
        let dead = text(dead)?;
        Ok((applied, Some(dead).filter(|dead| !dead.is_empty())))
    }

    /// Takes in what the ledger says of budgets, unless that was done; `last` is the last number
    /// of this replica that it holds. False where another replica may have begun to sum up a
    /// ledger that they share.
    pub(super) async fn sum(
        &self,
        books: &[SharedBook],
        last: u64,
        is_shared: bool,
    ) -> Result<bool, StoreError> {
        let mut pipeline = Pipeline::with_capacity(books.len());
        for book in books {
            let mut keys = vec![self.keys.marker(&book.book)];
            keys.push(self.keys.summing(&self.names.ledger));
            keys.extend(book.spent.iter().map(|(one, _)| self.keys.counter(one)));
            let mut command = evalsha(&self.joined.scripts.sum, &keys);
            command.arg(&self.names.ledger).arg(&self.names.replica);
            command.arg(last).arg(book.keep_ms).arg(u8::from(is_shared));
            for (counter, amount) in &book.spent {
                let (micro, femto) = split(*amount);
                command.arg(counter.bucket).arg(micro).arg(femto);
            }
            pipeline.add_command(command);
        }
        let mut connection = self.joined.connection.clone();
        let all = pipeline.query_async::<Vec<i64>>(&mut connection);
        let answers = within(ANSWER_MAX, all).await?;
        Ok(answers.iter().all(|answer| *answer >= 0))
    }

    /// Has the right to sum up a ledger that replicas share, or keeps it; false where another
    /// replica has it, or has settled calls that are not in the ledger yet.
    pub(super) async fn begin_sums(&self) -> Result<bool, StoreError> {
        self.sums("begin", &self.names.replica).await
    }

    /// Gives it back.
    pub(super) async fn end_sums(&self) -> Result<bool, StoreError> {
        self.sums("end", &self.names.replica).await
    }

    /// Keeps all replicas from summing up a ledger that they share, this one too; false where one
    /// is at it.
    pub(super) async fn begin_late(&self) -> Result<bool, StoreError> {
        self.sums("begin", &self.late_name()).await
    }

    /// Lets them again; false where that right was lost meanwhile.
    pub(super) async fn end_late(&self) -> Result<bool, StoreError> {
        self.sums("end", &self.late_name()).await
    }

    fn late_name(&self) -> String {
        format!("late:{}", self.names.replica)
    }

    async fn sums(&self, what: &str, who: &str) -> Result<bool, StoreError> {
        let keys = [self.keys.summing(&self.names.ledger), self.keys.behind()];
        let mut command = evalsha(&self.joined.scripts.sums, &keys);
        command.arg(what).arg(who).arg(ms(SUMMING));
        Ok(number(&self.joined.ask(&command).await?)? == 1)
    }

    /// Where counters stand; with each, its oldest bucket that still counts. None where the ledger
    /// was not asked yet what was spent.
    pub(super) async fn look(
        &self,
        counters: &[(SharedCounter, i64)],
    ) -> Result<Vec<Option<SharedPosition>>, StoreError> {
        let mut keys = Vec::with_capacity(counters.len() * 2);
        for (counter, _) in counters {
            keys.push(self.keys.marker(&counter.book));
            keys.push(self.keys.counter(counter));
        }
        let mut command = evalsha(&self.joined.scripts.look, &keys);
        command.arg(&self.names.ledger);
        for (_, oldest) in counters {
            command.arg(*oldest);
        }
        let found = positions(&list(self.joined.ask(&command).await?)?)?;
        let is_known = |one: &SharedPosition| one.held >= Usd::ZERO;
        let known = found.into_iter().map(|one| Some(one).filter(is_known));
        Ok(known.collect())
    }

    pub(super) const fn scripts(&self) -> &Scripts {
        &self.joined.scripts
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    pub(super) async fn ask_long(&self, command: &Cmd) -> Result<Value, redis::RedisError> {
        self.joined.ask_long(command).await
    }

    /// Asks for what no call waits for, and for whose answers nobody does.
    pub(super) async fn ask_all(&self, pipeline: &Pipeline) -> Result<(), StoreError> {
        let mut connection = self.joined.connection.clone();
        let all = pipeline.query_async::<Vec<Value>>(&mut connection);
        within(ANSWER_MAX, all).await.map(drop)
    }

    /// Tells what no call waits for, and looks whether it was taken in.
    pub(super) async fn confirm_all(&self, pipeline: &Pipeline) -> Result<(), StoreError> {
        let mut connection = self.joined.connection.clone();
        let all = pipeline.query_async::<Vec<Value>>(&mut connection);
        done(within(ANSWER_MAX, all).await?)
    }

    /// The keys of whoever takes places: epoch, replica, leases, its calls.
    pub(super) fn place_keys(&self) -> [String; 4] {
        let keys = &self.keys;
        let epoch = self.names.epoch();
        [epoch, keys.replica(), keys.leases(), keys.places()]
    }

    /// A counter of calls at once.
    pub(super) fn place_key(&self, counter: &str) -> String {
        self.keys.place(counter)
    }

    /// Says who speaks of places: epoch, generation, replica.
    pub(super) fn say_who(&self, command: &mut Cmd) {
        command.arg(&*self.epoch).arg(self.generation);
        command.arg(&self.names.replica);
    }

    pub(super) const fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }
}

impl Joined {
    async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        within(ANSWER_MAX, self.ask_long(command)).await
    }

    async fn ask_long(&self, command: &Cmd) -> Result<Value, redis::RedisError> {
        let mut connection = self.connection.clone();
        connection
            .send_packed_command(command)
            .await?
            .extract_error()
    }
}

pub(super) async fn within<T, E: Into<StoreError>>(
    longest: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match timeout(longest, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_elapsed) => Err(StoreError::TimedOut),
    }
}

async fn load(connection: &mut MultiplexedConnection, script: &str) -> Result<String, StoreError> {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(format!("{COMMON}\n{script}"));
    let loaded = command.query_async::<String>(connection);
    within(ANSWER_MAX, loaded).await
}

pub(super) fn evalsha(digest: &str, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(digest).arg(keys.len()).arg(keys);
    command
}

fn reply(answer: Value) -> Result<Reply, StoreError> {
    let mut items = list(answer)?.into_iter();
    let word = text(items.next().unwrap_or(Value::Nil))?;
    let mut rest: Vec<Value> = items.collect();
    match (word.as_str(), rest.len()) {
        ("taken", _) => positions(&rest).map(Reply::Taken),
        ("full", 4) => {
            let index = usize::try_from(number(&rest.remove(0))?).unwrap_or(usize::MAX);
            let position = positions(&rest)?.pop().unwrap_or_default();
            Ok(Reply::Full { index, position })
        }
        ("closed", 1) => {
            let left = rest.first().map_or(Ok(0), number)?;
            let left = u64::try_from(left).unwrap_or(0);
            Ok(Reply::Closed(Duration::from_millis(left)))
        }
        ("unknown", _) => Ok(Reply::Unknown),
        ("changed", _) => Ok(Reply::Changed),
        _ => Err(StoreError::Unexpected(word)),
    }
}

/// Whether the store took in what it was told.
fn done(answers: Vec<Value>) -> Result<(), StoreError> {
    for answer in answers {
        match text(answer)?.as_str() {
            "done" | "again" => {}
            "changed" => return Err(StoreError::Changed),
            "gap" => return Err(StoreError::RolledBack),
            other => return Err(StoreError::Unexpected(other.to_owned())),
        }
    }
    Ok(())
}

/// Triples of spent (whole microdollars, femtodollars) and held.
fn positions(values: &[Value]) -> Result<Vec<SharedPosition>, StoreError> {
    let numbers = values.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let triples = numbers.chunks_exact(3).map(|triple| {
        let at = |index: usize| triple.get(index).copied().unwrap_or(0);
        SharedPosition {
            spent: Usd::from_split(at(0), at(1)),
            held: Usd::from_split(at(2), 0),
        }
    });
    Ok(triples.collect())
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    if let Value::Array(items) = value {
        return Ok(items);
    }
    Err(StoreError::Unexpected("no list".to_owned()))
}

fn items<const N: usize>(value: Value) -> Result<[Value; N], StoreError> {
    let unexpected = |items: Vec<Value>| StoreError::Unexpected(format!("{items:?}"));
    list(value)?.try_into().map_err(unexpected)
}

pub(super) fn text(value: Value) -> Result<String, StoreError> {
    redis::from_redis_value(value).map_err(|error| StoreError::Unexpected(error.to_string()))
}

pub(super) fn number(value: &Value) -> Result<i64, StoreError> {
    if let Value::Int(number) = value {
        return Ok(*number);
    }
    Err(StoreError::Unexpected(format!("{value:?}")))
}

/// Whole microdollars, rounded down: of limits. Holds are whole already.
fn micro(amount: Usd) -> i64 {
    split(amount).0
}

/// Whole microdollars and femtodollars, as far as the numbers of scripts are exact.
pub(super) fn split(amount: Usd) -> (i64, i64) {
    let (micro, femto) = amount.split_micro().unwrap_or((MICRO_MAX, 0));
    (micro.clamp(-MICRO_MAX, MICRO_MAX), femto)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) const COMMON: &str = include_str!("scripts/common.lua");
const JOIN: &str = include_str!("scripts/join.lua");
const ENTER: &str = include_str!("scripts/enter.lua");
const RESERVE: &str = include_str!("scripts/reserve.lua");
const APPLY: &str = include_str!("scripts/apply.lua");
const LATE: &str = include_str!("scripts/late.lua");
const BEAT: &str = include_str!("scripts/beat.lua");
const SUMS: &str = include_str!("scripts/sums.lua");
const SUM: &str = include_str!("scripts/sum.lua");
const PLACES: &str = include_str!("scripts/places.lua");
const TOLD: &str = include_str!("scripts/told.lua");
const LOOK: &str = include_str!("scripts/look.lua");

/// Four billion dollars: two of them and a sum stay below 2^53 microdollars.
const MICRO_MAX: i64 = 4_000_000_000_000_000;
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// For what no call waits for.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// For how long a replica keeps the right to sum up; it is renewed with its lease.
const SUMMING: Duration = Duration::from_secs(10);
/// How long a store that lost its memory waits for its replicas: each looks every second.
const CLOSED: Duration = Duration::from_secs(3);
