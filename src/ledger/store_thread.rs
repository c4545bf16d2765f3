//! The store on a thread of its own, so that one that hangs holds up nobody.
//!
//! One job at a time: whoever gives jobs waits for the answer as long as it likes, and gives the
//! next one after it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::replay::append_all;
use super::{Ledger, LedgerError};
use crate::domain::{Entry, Timestamp};

/// What the store is asked to do.
pub(super) enum Job {
    /// Append in one transaction.
    Append(Arc<Vec<Entry>>),
    /// Append in several, and have the disk keep them.
    Replay(Vec<Entry>),
    /// Have the disk keep what was appended.
    Sync,
    /// Delete some of the entries that are older than they are kept.
    Trim(Timestamp),
}

/// What came of a job.
pub(super) struct Answer {
    /// Whether the store did it, and whether there is more of it to do.
    pub(super) result: Result<bool, LedgerError>,
    /// How long it took.
    pub(super) took: Duration,
}

/// The running thread. It ends with its last job once this is dropped.
pub(super) struct StoreThread {
    jobs: SyncSender<Job>,
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
}

impl StoreThread {
    pub(super) fn start(ledger: Ledger) -> std::io::Result<Self> {
        let (jobs, asked) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || work(ledger, &asked, &answer))?;
        Ok(Self {
            jobs,
            answers,
            thread,
        })
    }

    /// Gives a job; `false` when the thread died.
    pub(super) fn give(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// The answer, as soon as it is there.
    pub(super) fn answer(&self, patience: Duration) -> Result<Answer, RecvTimeoutError> {
        self.answers.recv_timeout(patience)
    }

    /// Ends the thread: the ledger and its lock are let go. To be called when no job is under way.
    pub(super) fn end(self) {
        drop((self.jobs, self.answers));
        if self.thread.join().is_err() {
            tracing::error!(event = "store_failed", "the store's thread panicked");
        }
    }
}

fn work(mut ledger: Ledger, asked: &Receiver<Job>, answer: &SyncSender<Answer>) {
    while let Ok(job) = asked.recv() {
        let begun = Instant::now();
        let result = match job {
            Job::Append(entries) => ledger.append(&entries).map(|()| false),
            Job::Replay(entries) => append_all(&mut ledger, &entries).map(|()| false),
            Job::Sync => ledger.sync().map(|()| false),
            Job::Trim(now) => ledger.trim(now),
        };
        let took = begun.elapsed();
        if answer.send(Answer { result, took }).is_err() {
            return;
        }
    }
}
