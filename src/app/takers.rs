//! Lets go of answers that an HTTP/2 client does not take.
//!
//! Such a client gives a stream no window, and the body is no longer polled: no limit of the answer
//! applies, and its call, its place in flight and its connection to Bedrock would stay for ever.
//! On HTTP/1.1 the socket shows it (`stall.rs`); here only how long a body was left alone does.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The answers of one connection.
pub(super) struct Takers<B> {
    limit: Duration,
    answers: Mutex<Vec<Weak<Slot<B>>>>,
}

/// An answer on its way, which may be taken from under its stream.
pub(super) struct Taken<B>(Arc<Slot<B>>);

struct Slot<B>(Mutex<State<B>>);

struct State<B> {
    body: Option<B>,
    /// Since when bytes that were given out wait for the client.
    waits: Option<Instant>,
}

impl<B> Takers<B> {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            answers: Mutex::default(),
        }
    }

    /// Watches over this body.
    pub(super) fn watch(&self, body: B) -> Taken<B> {
        // The first look waits for a window, too.
        let state = State {
            body: Some(body),
            waits: Some(Instant::now()),
        };
        let slot = Arc::new(Slot(Mutex::new(state)));
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() == answers.capacity() {
            answers.retain(|answer| answer.strong_count() > 0);
        }
        answers.push(Arc::downgrade(&slot));
        Taken(slot)
    }

    /// Drops what nobody takes, again and again.
    pub(super) async fn sweep(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.limit / SWEEPS_PER_LIMIT).await;
            self.sweep_once(Instant::now());
        }
    }

    fn sweep_once(&self, now: Instant) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |since: Instant| now.saturating_duration_since(since) >= self.limit;
        for slot in answers.iter().filter_map(Weak::upgrade) {
            let mut state = slot.lock();
            if state.waits.is_some_and(late) {
                drop(state.body.take());
            }
        }
    }
}

impl<B> Slot<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Body for Taken<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Failure>,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut state = self.0.lock();
        state.waits = None;
        let Some(body) = &mut state.body else {
            let failure = io::Error::from(io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(failure.into())));
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if frame.is_some() {
            state.waits = Some(Instant::now());
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        let body = state.body.as_ref();
        body.map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// How often in one limit the answers are looked at.
const SWEEPS_PER_LIMIT: u32 = 4;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body_util::Full;

    use super::*;

    fn poll<B>(taken: &mut Taken<B>) -> Poll<Option<Result<Frame<Bytes>, Failure>>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Failure>,
    {
        Pin::new(taken).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_answer_that_nobody_takes_is_let_go_and_the_others_stay() {
        let limit = Duration::from_secs(1);
        let takers = Takers::new(limit);
        let mut left = takers.watch(Full::<Bytes>::from("left alone"));
        let mut taken = takers.watch(Full::from("taken"));
        takers.sweep_once(Instant::now());
        assert!(matches!(poll(&mut taken), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(poll(&mut taken), Poll::Ready(None)));

        takers.sweep_once(Instant::now() + limit);
        assert!(left.0.lock().body.is_none());
        assert!(taken.0.lock().body.is_some(), "it waits for nobody");
        assert!(matches!(poll(&mut left), Poll::Ready(Some(Err(_)))));
    }

    #[test]
    fn answers_that_ended_are_forgotten() {
        let takers = Takers::new(Duration::from_secs(1));
        for _ in 0..1000 {
            drop(takers.watch(Full::<Bytes>::from("short")));
        }
        assert!(takers.answers.lock().unwrap().len() < 10);
    }
}
