//! The thread that has the delivery log: a store that hangs holds up no delivery that is on its way.

use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::oneshot;

use super::log::AlertLog;
use super::place::LogPlace;

/// Something to do with the log.
type Job = Box<dyn FnOnce(&mut AlertLog) + Send>;

/// The way to that thread, which ends when this is dropped and all is done.
pub(super) struct Desk {
    jobs: SyncSender<Job>,
}

impl Desk {
    /// Starts the thread, which opens the log.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn open(place: LogPlace) -> std::io::Result<Self> {
        let (jobs, asked) = sync_channel::<Job>(JOBS_MAX);
        std::thread::Builder::new()
            .name("alerts-log".to_owned())
            .spawn(move || {
                let mut log = AlertLog::open(place);
                for job in asked {
                    job(&mut log);
                }
            })?;
        Ok(Self { jobs })
    }

    /// Does something with the log; none where its thread is gone.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AlertLog) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        let job = move |log: &mut AlertLog| {
            // Who stopped waiting needs no answer.
            let _unheard = done.send(work(log));
        };
        let sent = self.jobs.send(Box::new(job));
        let answer = if sent.is_ok() {
            answer.await.ok()
        } else {
            None
        };
        if answer.is_none() {
            let message = "the thread of the delivery log panicked";
            tracing::error!(event = "alerts_failed", "{message}");
        }
        answer
    }
}

/// Who asks waits for the answer, so there is one; and another where a stop cut a wait short.
const JOBS_MAX: usize = 2;
