//! One request and its answer, driven by whoever polls it.
//!
//! The connection is polled inside the exchange, not in a task of its own: frames that have
//! arrived are all there in one poll, so the relay can send them on in one write, and dropping
//! the exchange closes the connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::connect::Link;
use super::{Pool, RequestBody, Target, UpstreamError};

type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Limits of time for one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the request to the head of the answer.
    pub head: Duration,
    /// From one byte of the answer to the next.
    pub idle: Duration,
}

/// A request on its way, or an answer coming in.
pub struct Exchange {
    /// Boxed once for the connection's life, so that calls move a pointer.
    link: Option<Box<Link>>,
    pool: Arc<Pool>,
    pool_key: Arc<str>,
    head: Option<Pin<Box<dyn Future<Output = Sent> + Send>>>,
    body: Option<Incoming>,
    deadline: Instant,
    patience: Patience,
}

/// An exchange that failed before the head; `unsent` is the request, where nothing was written.
pub struct Failed {
    /// What went wrong.
    pub error: UpstreamError,
    /// The request, when it can be sent again without being served twice.
    pub unsent: Option<Box<Request<RequestBody>>>,
}

impl Exchange {
    /// Takes a connection and hands it the request. Nothing is written before the first poll.
    ///
    /// # Errors
    /// When there is no connection; nothing was sent then.
    pub async fn begin(
        pool: &Arc<Pool>,
        target: &Target,
        request: Request<RequestBody>,
        patience: Patience,
    ) -> Result<Self, UpstreamError> {
        // Few calls open a connection: its long future must not be part of every call's.
        let mut link = match pool.take(target) {
            Some(link) => link,
            None => Box::pin(pool.open(target)).await?,
        };
        let head = link.sender.try_send_request(request);
        let mut exchange = Self {
            link: Some(link),
            pool: Arc::clone(pool),
            pool_key: Arc::clone(&target.pool_key),
            head: Some(Box::pin(head)),
            body: None,
            deadline: Instant::now(),
            patience,
        };
        exchange.wait_at_most(patience.head);
        Ok(exchange)
    }

    /// Waits for the head of the answer. To be called until it is ready, and not again.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Failed>> {
        loop {
            let driven = self.drive(cx);
            if let Some(head) = &mut self.head
                && let Poll::Ready(sent) = head.as_mut().poll(cx)
            {
                self.head = None;
                self.wait_at_most(self.patience.idle);
                return Poll::Ready(self.received(sent));
            }
            if driven.is_pending() {
                break;
            }
        }
        if self.is_late(cx) {
            let error = UpstreamError::HeadTimeout;
            return Poll::Ready(Err(Failed {
                error,
                unsent: None,
            }));
        }
        Poll::Pending
    }

    fn received(&mut self, sent: Sent) -> Result<response::Parts, Failed> {
        match sent {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                self.body = Some(body);
                Ok(parts)
            }
            Err(mut failed) => {
                let unsent = failed.take_message().map(Box::new);
                let error = match unsent {
                    Some(_) => UpstreamError::NotSent(failed.into_error()),
                    None => UpstreamError::Lost(failed.into_error()),
                };
                Err(Failed { error, unsent })
            }
        }
    }

    /// The next frame of the answer, as it came; `None` at its end.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let mut driven = false;
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.wait_at_most(self.patience.idle);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.close();
                    return Poll::Ready(Some(Err(UpstreamError::Lost(error))));
                }
                Poll::Ready(None) => {
                    self.finish(cx);
                    return Poll::Ready(None);
                }
                Poll::Pending if driven => break,
                Poll::Pending => driven = self.drive(cx).is_pending(),
            }
        }
        if self.is_late(cx) {
            self.close();
            return Poll::Ready(Some(Err(UpstreamError::IdleTimeout)));
        }
        Poll::Pending
    }

    /// Whether the body is known to end after the frame that was returned last.
    pub fn is_end(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Ends an answer that was read to its end, and gives the connection back when it can serve
    /// another request.
    pub fn finish(&mut self, cx: &mut Context<'_>) {
        self.body = None;
        if self.drive(cx).is_pending()
            && let Some(link) = self.link.take()
            && link.sender.is_ready()
        {
            self.pool.put_back(Arc::clone(&self.pool_key), link);
        }
    }

    fn close(&mut self) {
        self.body = None;
        self.link = None;
    }

    /// Moves bytes on the connection; ready when the connection is over.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(link) = &mut self.link else {
            return Poll::Pending;
        };
        match Pin::new(&mut link.connection).poll(cx) {
            Poll::Ready(_closed) => {
                self.link = None;
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Moves the limit. The alarm moves only where it would come too late; where it comes too
    /// early, [`Self::is_late`] sets it again.
    fn wait_at_most(&mut self, wait: Duration) {
        self.deadline = Instant::now() + wait;
        if let Some(link) = &mut self.link
            && link.alarm.deadline() > self.deadline
        {
            link.alarm.as_mut().reset(self.deadline);
        }
    }

    /// Whether the limit has passed. Without a connection there is nothing to wait for: it ended
    /// head and body with itself.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        while link.alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return true;
            }
            link.alarm.as_mut().reset(self.deadline);
        }
        false
    }
}
