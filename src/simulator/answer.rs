//! The body of an answer, sent step by step; it settles its receipt however it ends.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::sleep;

use super::bill::Receipt;
use super::scenario::Ending;

/// The connection (HTTP/1.1) or the stream (HTTP/2) is given up on purpose.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("reset by the scenario")]
pub(super) struct Reset;

/// The body that the connection sends.
pub(super) type Body = UnsyncBoxBody<Bytes, Reset>;

/// Lets what was sent reach the wire before the connection goes away.
const BEFORE_END: Duration = Duration::from_millis(10);

/// One thing that a body does.
enum Step {
    Send(Bytes),
    Wait(Duration),
    Stall,
    Reset,
}

/// What a body still has to do.
pub(super) struct Script {
    steps: VecDeque<Step>,
    receipt: Receipt,
    /// Whether something was sent already.
    started: bool,
    /// Whether the last step leaves a whole answer.
    whole: bool,
}

impl Script {
    /// Sends the writes with a pause between them, then ends as asked.
    pub(super) fn new(
        writes: Vec<Bytes>,
        delay: Duration,
        ending: &Ending,
        receipt: Receipt,
    ) -> Self {
        let mut steps = VecDeque::new();
        for write in writes {
            if !delay.is_zero() && !steps.is_empty() {
                steps.push_back(Step::Wait(delay));
            }
            steps.push_back(Step::Send(write));
        }
        match ending {
            Ending::Whole | Ending::Exception(..) => {}
            Ending::Stall(_) => steps.push_back(Step::Stall),
            Ending::Reset(_) => steps.extend([Step::Wait(BEFORE_END), Step::Reset]),
        }
        Self {
            steps,
            receipt,
            started: false,
            whole: true,
        }
    }

    /// A body that ends before its announced length.
    pub(super) fn short(mut self) -> Self {
        self.whole = false;
        self.steps.push_back(Step::Wait(BEFORE_END));
        self
    }

    pub(super) fn into_body(self) -> Body {
        StreamBody::new(stream::unfold(self, Self::next)).boxed_unsync()
    }

    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Reset>, Self)> {
        loop {
            match self.steps.pop_front() {
                Some(Step::Wait(pause)) => sleep(pause).await,
                Some(Step::Send(bytes)) => return Some((Ok(self.send(bytes).await), self)),
                Some(Step::Stall) => {
                    self.receipt.settle(false);
                    pending::<()>().await;
                }
                Some(Step::Reset) => {
                    self.receipt.settle(false);
                    return Some((Err(Reset), self));
                }
                None => {
                    self.receipt.settle(self.whole);
                    return None;
                }
            }
        }
    }

    /// The line is written before the last bytes leave: who has the answer finds it in the bill.
    async fn send(&mut self, bytes: Bytes) -> Frame<Bytes> {
        if self.started {
            // Pending once makes the connection flush: one write each, as the script says.
            tokio::task::yield_now().await;
        }
        self.started = true;
        if self.steps.is_empty() {
            self.receipt.settle(self.whole);
        }
        Frame::data(bytes)
    }
}
