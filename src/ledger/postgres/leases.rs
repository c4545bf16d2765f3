//! Which replicas live, which calls they have open, and who settles those of one that is gone.
//!
//! A replica renews its lease with each beat, and tells what it has open. When it has been silent
//! for a lease, another settles what it left, in the transaction that forgets it: exactly once. All
//! instants are the server's. That alone would not do: while the server is away nobody can renew,
//! and whoever came back first would settle for all. So a replica counts as gone only for one who
//! has heard nothing of it for a whole lease by its own clock, with the server there all the time.
//!
//! The owner's log on its disk stays the guarantee: what a replica settles when it starts again,
//! or when it was only frozen, meets the entry that is there and changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::append::append_and_name;
use super::{Refusal, Session, failed, open, sums};
use crate::domain::{CallId, Entry, ReplicaId};
use crate::ledger::database::Value;
use crate::ledger::mirror::{Mirror, News};
use crate::ledger::open_record::scan;
use crate::ledger::{LedgerError, OpenCall, Settings, StoreKind, Witness, replica};

/// This replica's place among those that share the ledger.
#[derive(Debug)]
pub struct Leases {
    session: Session,
    replica: ReplicaId,
    /// Tells this process from others of the same id.
    incarnation: String,
    lease: Duration,
    mirror: Arc<Mirror>,
    others: HashMap<String, Heard>,
    /// When the sums are folded next.
    fold_at: Instant,
}

/// What was heard of another replica.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Its last beat, milliseconds by the server's clock.
    beat: i64,
    /// When that was first seen.
    since: Instant,
}

/// What a beat found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The lease is renewed.
    Renewed,
    /// The lease had been over, and another replica has settled what was open here.
    Returned,
    /// Another process has the same id.
    Doubled,
}

impl Leases {
    /// Joins the replicas that share the ledger; `None` where it is not shared.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, the id cannot be had, or a living process has
    /// it.
    pub fn join(settings: &Settings) -> Result<Option<Self>, LedgerError> {
        if settings.store == StoreKind::Sqlite {
            return Ok(None);
        }
        let leases = Self {
            session: open(&settings.postgres)?,
            replica: replica::id(settings)?,
            incarnation: replica::fresh(),
            lease: settings.replica.lease,
            mirror: Arc::default(),
            others: HashMap::new(),
            fold_at: Instant::now() + FOLD_EVERY,
        };
        if !leases
            .take_place()
            .map_err(failed("join the other replicas"))?
        {
            return Err(LedgerError::ReplicaLives(leases.replica));
        }
        Ok(Some(leases))
    }

    /// Takes the place of the process before; `false` where that one lives.
    fn take_place(&self) -> Result<bool, Refusal> {
        let mut first = None;
        loop {
            let rows = self.session.query(BEFORE, &self.own_values()[..1])?;
            let Some(row) = rows.first() else {
                break;
            };
            let at = |column| row.try_get::<usize, i64>(column).map_err(Refusal::Refused);
            let (beat, age_ms) = (at(0)?, at(1)?);
            if *first.get_or_insert(beat) != beat {
                return Ok(false);
            }
            if age_ms >= DEAD_AFTER_MS {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.session.query(JOIN, &self.own_values())?;
        Ok(true)
    }

    /// The id of this replica.
    pub const fn replica(&self) -> &ReplicaId {
        &self.replica
    }

    /// What this replica is going to tell.
    pub(in crate::ledger) fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(&self.mirror)
    }

    /// Settles what the process before of the same id told and did not live to settle, where it is
    /// not in this disk's log either. To be called after that was settled.
    ///
    /// # Errors
    /// When the server refuses; it is to be tried again.
    pub fn settle_own(
        &mut self,
        settle: impl FnMut(OpenCall) -> Entry,
        witness: &mut impl Witness,
    ) -> Result<u64, LedgerError> {
        let own = self.replica.as_str().to_owned();
        self.settle_for(&own, settle, witness)
    }

    /// Renews the lease, and tells what was opened and what ended since the last beat.
    ///
    /// # Errors
    /// When the server refuses. What was to be told is told with the next beat.
    pub fn beat(&mut self) -> Result<Beat, LedgerError> {
        let news = self.mirror.take();
        match self.tell(&news) {
            Ok(beat) => Ok(beat),
            Err(cause) => {
                self.mirror.put_back(news);
                self.session.disconnect();
                // Silence counts only while the server is there.
                self.others.clear();
                Err(failed("renew this replica's lease")(cause))
            }
        }
    }

    /// Settles the open calls of replicas that have been silent for a lease: how many.
    ///
    /// # Errors
    /// When the server refuses; it is to be tried again.
    pub fn settle_for_the_gone(
        &mut self,
        mut settle: impl FnMut(OpenCall) -> Entry,
        witness: &mut impl Witness,
    ) -> Result<u64, LedgerError> {
        let gone = self.listen();
        let gone = gone.map_err(failed("look for the other replicas"))?;
        let mut settled = 0_u64;
        for replica in gone {
            let calls = self.settle_for(&replica, &mut settle, witness)?;
            tracing::warn!(
                event = "replica_gone",
                replica,
                calls,
                "its open calls are settled as estimates"
            );
            settled = settled.saturating_add(calls);
        }
        Ok(settled)
    }

    /// Folds the rows of sums that writers have added, now and then: whichever replica is at it
    /// does it for all.
    ///
    /// # Errors
    /// When the server refuses; it is tried again.
    pub fn fold_sums(&mut self) -> Result<(), LedgerError> {
        if Instant::now() < self.fold_at {
            return Ok(());
        }
        self.fold_at = Instant::now() + FOLD_EVERY;
        let folded = sums::fold(&self.session, FOLD_ROWS_MIN);
        folded.map(drop).map_err(failed("fold the sums"))
    }

    /// Says that this replica ends and leaves nothing open.
    ///
    /// # Errors
    /// When the server refuses: the others find out by themselves.
    pub fn leave(mut self) -> Result<(), LedgerError> {
        self.beat()?;
        let left = self.session.query(LEAVE, &self.own_values()[..2]);
        left.map(drop)
            .map_err(failed("take leave of the other replicas"))
    }

    /// The server's process behind the connection.
    #[cfg(test)]
    pub(super) fn backend(&self) -> i64 {
        super::tests::number(&self.session, "SELECT pg_backend_pid()::bigint")
    }

    /// Puts a record of another program in the place of what was told.
    #[cfg(test)]
    pub(super) fn replace_records(&self, record: &[u8]) {
        let sql = "UPDATE open_calls SET record = $1";
        let replaced = self
            .session
            .run(async |live| live.client.execute(sql, &[&record]).await);
        replaced.unwrap();
    }

    fn own_values(&self) -> [Value<'_>; 3] {
        let lease = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        [
            self.replica.as_str().into(),
            self.incarnation.as_str().into(),
            lease.into(),
        ]
    }

    fn tell(&self, news: &News) -> Result<Beat, Refusal> {
        self.session.batch("BEGIN")?;
        let beat = self.renew()?;
        let (calls, records): (Vec<String>, Vec<&[u8]>) = news
            .opened
            .iter()
            .map(|(call, record)| (call.to_string(), &**record))
            .unzip();
        let ended: Vec<String> = news.ended.iter().map(CallId::to_string).collect();
        let replica = self.replica.as_str();
        self.session.run(async |live| {
            if !calls.is_empty() {
                live.client
                    .execute(OPENED, &[&replica, &calls, &records])
                    .await?;
            }
            if !ended.is_empty() {
                live.client.execute(ENDED, &[&replica, &ended]).await?;
            }
            live.client.batch_execute("COMMIT").await
        })?;
        Ok(beat)
    }

    fn renew(&self) -> Result<Beat, Refusal> {
        let renewed = self.session.query(RENEW, &self.own_values())?;
        if !renewed.is_empty() {
            return Ok(Beat::Renewed);
        }
        let returned = self.session.query(RETURN, &self.own_values())?;
        Ok(if returned.is_empty() {
            Beat::Doubled
        } else {
            Beat::Returned
        })
    }

    /// The replicas that are gone.
    fn listen(&mut self) -> Result<Vec<String>, Refusal> {
        let rows = self.session.query(OTHERS, &self.own_values()[..1])?;
        let now = Instant::now();
        let mut heard = HashMap::with_capacity(rows.len());
        let mut gone = Vec::new();
        for row in &rows {
            let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
            let (replica, beat, is_over): (String, i64, bool) = read().map_err(Refusal::Refused)?;
            let before = self.others.get(&replica).filter(|heard| heard.beat == beat);
            let since = before.map_or(now, |heard| heard.since);
            let silent = now.saturating_duration_since(since);
            if is_over && before.is_some() && silent >= self.lease {
                gone.push(replica.clone());
            }
            heard.insert(replica, Heard { beat, since });
        }
        self.others = heard;
        Ok(gone)
    }

    fn settle_for(
        &self,
        replica: &str,
        mut settle: impl FnMut(OpenCall) -> Entry,
        witness: &mut impl Witness,
    ) -> Result<u64, LedgerError> {
        let mut settled = 0_u64;
        loop {
            let done = self.settle_some(replica, &mut settle, witness);
            if done.is_err() {
                self.session.disconnect();
            }
            let (calls, more) =
                done.map_err(failed("settle the calls of a replica that is gone"))?;
            settled = settled.saturating_add(calls);
            if !more {
                return Ok(settled);
            }
        }
    }

    /// One transaction: how many calls got an entry, and whether there are more.
    fn settle_some(
        &self,
        replica: &str,
        settle: &mut impl FnMut(OpenCall) -> Entry,
        witness: &mut impl Witness,
    ) -> Result<(u64, bool), Refusal> {
        self.session.batch("BEGIN")?;
        // Whoever holds the row settles; the others pass on.
        let is_ours = replica == self.replica.as_str();
        let held = self
            .session
            .query(HOLD, &[replica.into(), Value::Flag(is_ours)])?;
        if held.is_empty() {
            self.session.batch("ROLLBACK")?;
            return Ok((0, false));
        }
        let rows = self.session.query(LEFT, &[replica.into()])?;
        let mut calls: Vec<String> = Vec::with_capacity(rows.len());
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let record: &[u8] = row.try_get(1).map_err(Refusal::Refused)?;
            let scanned = scan(record);
            if scanned.unreadable > 0 {
                // Of a newer program, which will settle it.
                continue;
            }
            calls.push(row.try_get(0).map_err(Refusal::Refused)?);
            entries.extend(scanned.records.into_iter().map(&mut *settle));
        }
        let added = append_and_name(&self.session, &entries)?;
        // One that has its entry already was told of as it was made.
        entries.retain(|entry| added.contains(&entry.call_id.to_string()));
        let is_last = rows.len() < CALLS_MAX || calls.is_empty();
        let forgotten = (!is_ours && is_last).then_some(replica);
        self.end_calls(replica, &calls, forgotten)?;
        witness.about_to_commit(&entries);
        let committed = self.session.batch("COMMIT");
        witness.ended();
        committed.map(|()| (entries.len() as u64, !is_last))
    }

    /// Within a transaction: these calls are open no more, and a replica that has none is forgotten.
    fn end_calls(
        &self,
        replica: &str,
        calls: &[String],
        forgotten: Option<&str>,
    ) -> Result<(), Refusal> {
        self.session.run(async |live| {
            live.client.execute(ENDED, &[&replica, &calls]).await?;
            if let Some(replica) = forgotten {
                live.client.execute(FORGET, &[&replica]).await?;
            }
            Ok(())
        })
    }
}

/// Calls of one transaction.
const CALLS_MAX: usize = 1_000;

/// At some thousand calls a second some ten thousand rows, folded in a tenth of a second.
const FOLD_EVERY: Duration = Duration::from_secs(10);
/// So many rows more are nothing to a report, and folding writes all rows of the day anew.
const FOLD_ROWS_MIN: i64 = 2_000;

/// A process that was killed may start again at once: it waits until it has missed some beats.
const DEAD_AFTER_MS: i64 = 3_000;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The last beat of the process before, and how long ago that was.
const BEFORE: &str = "
SELECT (extract(epoch FROM heartbeat_at) * 1000)::bigint,
    (extract(epoch FROM now() - heartbeat_at) * 1000)::bigint
FROM replicas WHERE id = $1";

/// Takes an id over from the process before.
const JOIN: &str = "
INSERT INTO replicas (id, incarnation, heartbeat_at, lease_until)
VALUES ($1, $2, now(), now() + $3::bigint * interval '1 millisecond')
ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation,
    heartbeat_at = excluded.heartbeat_at, lease_until = excluded.lease_until";

const RENEW: &str = "
UPDATE replicas
SET heartbeat_at = now(), lease_until = now() + $3::bigint * interval '1 millisecond'
WHERE id = $1 AND incarnation = $2
RETURNING 1";

/// Where another has settled for this one and forgotten it.
const RETURN: &str = "
INSERT INTO replicas (id, incarnation, heartbeat_at, lease_until)
VALUES ($1, $2, now(), now() + $3::bigint * interval '1 millisecond')
ON CONFLICT (id) DO NOTHING
RETURNING 1";

const OPENED: &str = "
INSERT INTO open_calls (replica, call_id, record)
SELECT $1, * FROM unnest($2::text[], $3::bytea[]) ON CONFLICT (call_id) DO NOTHING";

const ENDED: &str = "DELETE FROM open_calls WHERE replica = $1 AND call_id = ANY($2)";

const OTHERS: &str = "
SELECT id, (extract(epoch FROM heartbeat_at) * 1000)::bigint, lease_until < now()
FROM replicas WHERE id <> $1";

const HOLD: &str = "
SELECT 1 FROM replicas WHERE id = $1 AND ($2 OR lease_until < now()) FOR UPDATE SKIP LOCKED";

const LEFT: &str = "SELECT call_id, record FROM open_calls WHERE replica = $1 LIMIT 1000";

const FORGET: &str = "
DELETE FROM replicas WHERE id = $1
AND NOT EXISTS (SELECT FROM open_calls WHERE replica = $1)";

const LEAVE: &str = "
DELETE FROM replicas WHERE id = $1 AND incarnation = $2
AND NOT EXISTS (SELECT FROM open_calls WHERE replica = $1)";
