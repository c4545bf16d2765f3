//! The body of an answer on its way to the client, and the guard that no ending escapes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::drain::Drains;
use super::live::Live;
use crate::relay::{Merged, Next};
use crate::upstream::UpstreamError;

/// Holds a call that was sent. When its holder is dropped, for whatever reason, the drains take
/// the call over.
pub(super) struct Guard {
    live: Option<Live>,
    drains: Arc<Drains>,
}

impl Guard {
    pub(super) fn new(live: Live, drains: Arc<Drains>) -> Self {
        Self {
            live: Some(live),
            drains,
        }
    }

    pub(super) fn live(&mut self) -> Option<&mut Live> {
        self.live.as_mut()
    }

    /// Takes the call out: its holder answers for it now.
    pub(super) fn release(mut self) -> Option<Live> {
        self.live.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(live) = self.live.take()
            && !live.is_settled()
        {
            self.drains.take_over(live);
        }
    }
}

/// The body of an answer: Bedrock's, relayed, or a refusal of ours.
pub enum AnswerBody {
    /// Bedrock's bytes.
    Relayed(Box<Relayed>),
    /// Our own bytes.
    Own(Option<Bytes>),
}

/// Bedrock's bytes, metered on their way.
pub struct Relayed {
    guard: Guard,
    ended: bool,
    /// What follows the bytes that were returned last.
    trailers: Option<Frame<Bytes>>,
    failure: Option<UpstreamError>,
    /// The failure waited once, so that the bytes before it could leave.
    waited: bool,
    length: SizeHint,
}

impl AnswerBody {
    pub(super) fn own(bytes: Bytes) -> Self {
        Self::Own(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// The body of an answer whose head has come. An empty one is settled here: nobody polls it.
    pub(super) fn relayed(mut guard: Guard, length: Option<u64>) -> Self {
        let mut ended = false;
        if let Some(live) = guard.live()
            && live.is_end()
        {
            live.complete(&mut Context::from_waker(Waker::noop()));
            ended = true;
        }
        let length = length.map_or_else(SizeHint::default, SizeHint::with_exact);
        Self::Relayed(Box::new(Relayed {
            guard,
            ended,
            trailers: None,
            failure: None,
            waited: false,
            length,
        }))
    }
}

impl Relayed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if self.failure.is_some() {
            return self.fail(cx);
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(live) = self.guard.live() else {
            return Poll::Ready(None);
        };
        let frame = match std::task::ready!(live.poll_answer(cx)) {
            Merged::End => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Merged::Failed(failure) => {
                self.failure = Some(failure);
                return self.fail(cx);
            }
            Merged::Trailers(trailers) => trailers,
            Merged::Data(bytes, next) => {
                match next {
                    Next::Open => self.ended = live.is_settled(),
                    Next::End => self.ended = true,
                    Next::Failed(failure) => self.failure = Some(failure),
                    Next::Trailers(trailers) => self.trailers = Some(trailers),
                }
                Frame::data(bytes)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    /// Ends with the failure. hyper throws away what it has buffered when a body fails, so the
    /// failure waits one turn, in which the bytes before it are written.
    fn fail(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if !self.waited {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(self.failure.take().map(Err))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(relayed) => relayed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Relayed(relayed) => {
                relayed.ended && relayed.failure.is_none() && relayed.trailers.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Relayed(relayed) => relayed.length,
        }
    }
}
