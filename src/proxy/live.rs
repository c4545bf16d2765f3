//! A call between its first upstream byte and its settlement: one object, whoever holds it.
//!
//! The service holds it while the head is awaited, the answer's body after that, the drain loop
//! when the client has left. Wherever it is dropped, it settles, exactly once: its permit and its
//! facts leave together.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, response};
use http_body::Frame;

use super::open_set::OpenMark;
use super::settle::{Answer, CallTimes, Permit, Settlement};
use crate::aws::{REQUEST_ID, error_class};
use crate::budgets::Held;
use crate::domain::{Outcome, Reading, Usage};
use crate::ledger::{OpenCall, OpenTicket};
use crate::limits::Hold;
use crate::meters::{End, Meter};
use crate::pricing::Catalogue;
use crate::relay::{Frames, Merged, Next, poll_merged};
use crate::telemetry::Origin;
use crate::upstream::{Exchange, Failed, UpstreamError};

/// A call that was sent.
pub(super) struct Live {
    exchange: Exchange,
    /// Nothing is under way: the exchange failed unsent or was refused, and no other has begun.
    withdrawn: bool,
    unsettled: Option<Box<Unsettled>>,
}

struct Unsettled {
    meter: Meter,
    call: OpenCall,
    catalogue: Arc<Catalogue>,
    answer: Answer,
    times: CallTimes,
    begun: Instant,
    ticket: OpenTicket,
    limits: Option<Hold>,
    permit: Permit,
    mark: OpenMark,
    origin: Option<Box<Origin>>,
    held: Option<Held>,
}

/// What a call brings along when it is sent.
pub(super) struct Admitted {
    pub(super) call: OpenCall,
    pub(super) meter: Meter,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) ticket: OpenTicket,
    pub(super) limits: Option<Hold>,
    pub(super) permit: Permit,
    pub(super) mark: OpenMark,
    pub(super) origin: Option<Box<Origin>>,
    pub(super) begun: Instant,
    pub(super) overhead: Duration,
    pub(super) held: Option<Held>,
}

impl Live {
    pub(super) fn new(exchange: Exchange, admitted: Admitted) -> Self {
        let Admitted {
            call,
            meter,
            catalogue,
            ticket,
            mut limits,
            permit,
            mark,
            origin,
            begun,
            overhead,
            held,
        } = admitted;
        if let Some(limits) = &mut limits {
            limits.sent();
        }
        let times = CallTimes {
            admission: overhead,
            ..CallTimes::default()
        };
        let unsettled = Unsettled {
            meter,
            call,
            catalogue,
            answer: Answer::default(),
            times,
            begun,
            ticket,
            limits,
            permit,
            mark,
            origin,
            held,
        };
        Self {
            exchange,
            withdrawn: false,
            unsettled: Some(Box::new(unsettled)),
        }
    }

    /// The exchange wrote nothing, or was refused for its clock: until another replaces it,
    /// there is nothing to read on and nothing that Bedrock charges.
    pub(super) const fn withdraw(&mut self) {
        self.withdrawn = true;
    }

    /// Goes on with another exchange.
    pub(super) fn replace_exchange(&mut self, exchange: Exchange) {
        self.exchange = exchange;
        self.withdrawn = false;
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, Failed>> {
        self.exchange.poll_head(cx)
    }

    /// Shows the head to the meter.
    pub(super) fn head(&mut self, status: u16, headers: &HeaderMap) {
        let Some(unsettled) = &mut self.unsettled else {
            return;
        };
        let text = |name| {
            let value: Option<&str> = headers.get(name).and_then(|v| v.to_str().ok());
            value.map(Arc::from)
        };
        unsettled.answer.status = Some(status);
        unsettled.answer.request_id = text(REQUEST_ID);
        if status >= 400 {
            unsettled.answer.error_class = error_class(headers).map(Arc::from);
        }
        unsettled.meter.head(status, headers);
    }

    /// Whether the head has not come yet.
    pub(super) fn awaits_head(&self) -> bool {
        self.unsettled
            .as_ref()
            .is_some_and(|unsettled| unsettled.answer.status.is_none())
    }

    /// The exchange failed before the head came.
    pub(super) fn failed(&mut self, failed: &Failed) {
        if failed.error.may_have_reached_bedrock() {
            self.cut_short(&failed.error);
        } else {
            self.unreached(Outcome::Unreachable);
        }
    }

    /// Whether the answer has no byte left to read.
    pub(super) fn is_end(&self) -> bool {
        self.exchange.is_end()
    }

    /// The next bytes of the answer, merged; each frame is metered on its way.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Merged<UpstreamError>> {
        let Self {
            exchange,
            unsettled,
            ..
        } = self;
        let mut seen = 0_u64;
        let merged = poll_merged(&mut ExchangeFrames(exchange), cx, |bytes| {
            seen = seen.saturating_add(bytes.len() as u64);
            if let Some(unsettled) = unsettled.as_mut() {
                unsettled.meter.frame(bytes);
            }
        });
        if let Some(unsettled) = unsettled.as_mut()
            && seen > 0
        {
            unsettled.saw(seen);
        }
        match &merged {
            // Nothing follows trailers, and nobody polls a body past them.
            Poll::Ready(
                Merged::End | Merged::Trailers(_) | Merged::Data(_, Next::End | Next::Trailers(_)),
            ) => self.complete(cx),
            Poll::Ready(Merged::Failed(error) | Merged::Data(_, Next::Failed(error))) => {
                self.cut_short(error);
            }
            Poll::Ready(Merged::Data(_, Next::Open)) if self.exchange.is_end() => {
                self.complete(cx);
            }
            Poll::Ready(Merged::Data(_, Next::Open)) | Poll::Pending => {}
        }
        merged
    }

    /// The answer was read to its end.
    pub(super) fn complete(&mut self, cx: &mut Context<'_>) {
        self.exchange.finish(cx);
        let Some(unsettled) = self.unsettled.take() else {
            return;
        };
        let outcome = match unsettled.answer.status {
            _ if unsettled.times.drained => Outcome::ClientLeft,
            _ if unsettled.meter.failure().is_some() => Outcome::StreamFailed,
            Some(429) => Outcome::Throttled,
            Some(400..=499) => Outcome::ClientError,
            Some(500..) => Outcome::ServerError,
            _ => Outcome::Success,
        };
        unsettled.settle(outcome, Some(End::Complete));
    }

    /// The answer ended before its end.
    pub(super) fn cut_short(&mut self, error: &UpstreamError) {
        let Some(mut unsettled) = self.unsettled.take() else {
            return;
        };
        let client_left = mem::take(&mut unsettled.times.drained);
        let headed = unsettled.answer.status.is_some();
        let outcome = match (headed, error.is_timeout()) {
            _ if client_left => Outcome::ClientLeft,
            (_, true) => Outcome::TimedOut,
            (true, false) => Outcome::StreamFailed,
            (false, false) => Outcome::ConnectionLost,
        };
        let end = if headed { End::CutShort } else { End::NoAnswer };
        unsettled.settle(outcome, Some(end));
    }

    /// The client left and nobody reads on.
    pub(super) fn abandon(&mut self) {
        if let Some(mut unsettled) = self.unsettled.take() {
            unsettled.times.drained = false;
            unsettled.settle(Outcome::ClientLeft, Some(End::NotDrained));
        }
    }

    /// Bedrock was not reached after all, and so used nothing.
    fn unreached(&mut self, outcome: Outcome) {
        if let Some(unsettled) = self.unsettled.take() {
            unsettled.settle(outcome, None);
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    /// Notes that the client left; the tenant is whose share of the drains it takes.
    pub(super) fn client_left(&mut self) -> Option<crate::domain::TenantId> {
        if self.withdrawn {
            self.unreached(Outcome::ClientLeft);
        }
        let unsettled = self.unsettled.as_mut()?;
        unsettled.times.drained = true;
        Some(unsettled.call.tenant.clone())
    }
}

impl Unsettled {
    fn saw(&mut self, bytes: u64) {
        self.answer.bytes = self.answer.bytes.saturating_add(bytes);
        if self.times.first_byte.is_none() {
            self.times.first_byte = Some(self.begun.elapsed());
        }
        if self.times.first_token.is_none() && self.meter.content_started() {
            self.times.first_token = Some(self.begun.elapsed());
        }
    }

    /// Without an end nothing was used.
    fn settle(self, outcome: Outcome, end: Option<End>) {
        let Self {
            meter,
            call,
            catalogue,
            answer,
            mut times,
            begun,
            ticket,
            limits,
            permit,
            mark,
            origin,
            held,
            ..
        } = self;
        times.duration = begun.elapsed();
        drop(mark);
        let nothing = || Reading::reported(Usage::none(), "");
        let reading = end.map_or_else(nothing, |end| meter.finish(end));
        if let Some(limits) = limits {
            limits.settle(&reading);
        }
        permit.send(Settlement {
            call,
            ticket: Some(ticket),
            catalogue,
            outcome,
            answer,
            reading,
            times,
            origin,
            held,
        });
    }
}

/// The last resort: a task that was aborted, a panic, the end of the process.
impl Drop for Live {
    fn drop(&mut self) {
        if let Some(mut unsettled) = self.unsettled.take() {
            unsettled.times.drained = false;
            let end = (!self.withdrawn).then_some(End::CutShort);
            unsettled.settle(Outcome::Interrupted, end);
        }
    }
}

struct ExchangeFrames<'a>(&'a mut Exchange);

impl Frames for ExchangeFrames<'_> {
    type Error = UpstreamError;

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        self.0.poll_frame(cx)
    }
}
