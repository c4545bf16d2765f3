//! One meter per call: chooses how to read the answer, and says how surely it was read.

use bytes::Bytes;
use http::HeaderMap;

use super::answer::{Answer, Finality};
use super::asked::Asked;
use super::converse::{ConverseBody, ConverseEvents};
use super::counts::{TokenCounts, default_write_lifetime};
use super::families::{Billing, billing};
use super::head::Head;
use super::invoke::InvokeBody;
use super::invoke_stream::InvokeEvents;
use crate::domain::{Dimension, ModelRef, Operation, Reading, Usage, UsageReason, UsageSource};

/// How an answer ended, as the exchange saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The body ended as HTTP says it should.
    Complete,
    /// The connection failed or stalled before the end.
    CutShort,
    /// The client left and the rest was not read.
    NotDrained,
    /// No head arrived.
    NoAnswer,
}

/// Reads the usage of one answer.
#[derive(Debug)]
pub struct Meter {
    form: Form,
    head: Head,
    /// What cache writes count as where the answer does not split them.
    write_lifetime: Dimension,
    billing: Billing,
    /// What the request asks for, where the bill depends on it.
    asked: Option<Asked>,
    body_started: bool,
}

/// The form of the answer.
#[derive(Debug)]
enum Form {
    /// AWS charges nothing for the operation.
    Free,
    /// Billed by something that the answer does not show.
    Opaque,
    Invoke(InvokeBody),
    InvokeStream(Box<InvokeEvents>),
    Converse(ConverseBody),
    ConverseStream(Box<ConverseEvents>),
}

impl Meter {
    /// The meter for an operation on a model. `model` should be the one that the identifier
    /// resolves to: it decides only the lifetime of cache writes that an answer does not split,
    /// and which `InvokeModel` answers are billed in other units than tokens.
    pub fn choose(operation: Operation, model: Option<&ModelRef>) -> Self {
        let base = model.and_then(|model| model.base.as_deref());
        let billing = billing(base);
        Self {
            form: Form::of(operation, billing),
            head: Head::default(),
            write_lifetime: default_write_lifetime(base),
            billing,
            asked: None,
            body_started: false,
        }
    }

    /// Reads the request, where the bill depends on what it asks for.
    pub fn request(&mut self, body: &[Bytes]) {
        if let (
            Form::Opaque | Form::Invoke(_),
            Billing::EmbeddingAnd(read) | Billing::Request(read),
        ) = (&self.form, self.billing)
        {
            self.asked = read(body);
        }
    }

    /// Reads the answer's head.
    pub fn head(&mut self, status: u16, headers: &HeaderMap) {
        self.head = Head::read(status, headers);
    }

    /// Reads the next bytes of the body, in order, in pieces of any size.
    pub fn frame(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || !self.head.is_success() {
            return;
        }
        self.body_started = true;
        match &mut self.form {
            Form::Free | Form::Opaque => {}
            Form::Invoke(body) => body.feed(bytes),
            Form::InvokeStream(events) => events.feed(bytes),
            Form::Converse(body) => body.feed(bytes),
            Form::ConverseStream(events) => events.feed(bytes),
        }
    }

    /// Whether generated content was seen: on Converse streams the first `contentBlockDelta`, on
    /// Invoke streams the second chunk, otherwise the first byte of a 2xx body.
    pub fn content_started(&self) -> bool {
        match &self.form {
            Form::InvokeStream(events) => events.content_started(),
            Form::ConverseStream(events) => events.content_started(),
            Form::Free | Form::Opaque | Form::Invoke(_) | Form::Converse(_) => self.body_started,
        }
    }

    /// The class of the exception that a 2xx stream carried, such as `throttlingException`.
    pub fn failure(&self) -> Option<&str> {
        match &self.form {
            Form::InvokeStream(events) => events.failure(),
            Form::ConverseStream(events) => events.failure(),
            Form::Free | Form::Opaque | Form::Invoke(_) | Form::Converse(_) => None,
        }
    }

    /// What was read. Usage that arrived whole is `Reported` however the answer ended; what only
    /// the request tells is `Estimated`. Otherwise the source is `Missing` with the reason, and
    /// `usage` holds what is exactly known (such as the prompt of a Claude stream that was cut):
    /// the start of an estimate.
    pub fn finish(self, end: End) -> Reading {
        if matches!(self.form, Form::Free) || self.head.generated_nothing() {
            return Reading::reported(Usage::none(), "");
        }
        let may_be_billed = self.head.status.is_none() || self.head.is_success();
        if may_be_billed
            && let Some(asked) = &self.asked
            && asked.characters.is_none()
            && !asked.units.is_none()
            && !asked.unseen
        {
            return Reading {
                usage: asked.units.clone(),
                ..from_request()
            };
        }
        if self.head.status.is_none() {
            return self.unanswered(end);
        }
        if !self.head.is_success() {
            return Reading::missing(UsageReason::NotInAnswer);
        }
        let failed = self.failure().is_some();
        let invokes = matches!(self.form, Form::Invoke(_));
        let (answer, headers) = match self.form {
            Form::Free | Form::Opaque => return Reading::missing(UsageReason::NotMetered),
            Form::Invoke(body) => (body.finish(), self.head.counts),
            Form::InvokeStream(events) => (events.finish(), TokenCounts::default()),
            Form::Converse(body) => (body.finish(), TokenCounts::default()),
            Form::ConverseStream(events) => (events.finish(), TokenCounts::default()),
        };
        let evidence = Evidence {
            complete: end == End::Complete && answer.ended_well && !failed,
            embeds: answer.embeds
                || matches!(self.billing, Billing::Embedding | Billing::EmbeddingAnd(_)),
            answer,
            headers,
            end,
        };
        let reading = evidence.reading(&self.write_lifetime);
        let reading = match self.billing {
            Billing::EmbeddingAnd(_) if invokes => with_asked(reading, self.asked.as_ref()),
            Billing::Embedding => without_output(reading),
            Billing::Tokens | Billing::EmbeddingAnd(_) | Billing::Request(_) | Billing::Opaque => {
                reading
            }
        };
        Reading {
            served_tier: self.head.tier.or(reading.served_tier),
            served_latency: self.head.latency.or(reading.served_latency),
            ..reading
        }
    }
}

impl Meter {
    /// The reading of a call to which no answer came.
    fn unanswered(&self, end: End) -> Reading {
        let reading = Reading::missing(match end {
            End::NotDrained => UsageReason::NotDrained,
            End::Complete | End::CutShort | End::NoAnswer => UsageReason::NoAnswer,
        });
        match (&self.form, self.billing) {
            // Tokens guessed from bytes would look like a price for images or searches.
            (Form::Opaque, _) => Reading::missing(UsageReason::NotMetered),
            (Form::Invoke(_), Billing::EmbeddingAnd(_)) => with_asked(reading, self.asked.as_ref()),
            (_, Billing::Embedding) => without_output(reading),
            (
                Form::Free
                | Form::Invoke(_)
                | Form::InvokeStream(_)
                | Form::Converse(_)
                | Form::ConverseStream(_),
                _,
            ) => reading,
        }
    }
}

impl Form {
    fn of(operation: Operation, billing: Billing) -> Self {
        match operation {
            Operation::InvokeModel => match billing {
                Billing::Request(_) | Billing::Opaque => Self::Opaque,
                Billing::Tokens | Billing::Embedding | Billing::EmbeddingAnd(_) => {
                    Self::Invoke(InvokeBody::new())
                }
            },
            Operation::InvokeModelWithResponseStream => Self::InvokeStream(Box::default()),
            Operation::Converse => Self::Converse(ConverseBody::new()),
            Operation::ConverseStream => Self::ConverseStream(Box::default()),
            Operation::InvokeModelWithBidirectionalStream
            | Operation::ApplyGuardrail
            | Operation::InvokeGuardrailChecks
            | Operation::StartAsyncInvoke => Self::Opaque,
            Operation::CountTokens
            | Operation::GetAsyncInvoke
            | Operation::ListAsyncInvokes
            | Operation::GetInferenceProfile
            | Operation::ListInferenceProfiles => Self::Free,
        }
    }
}

/// A reading of what the request asked for, which Bedrock did not confirm.
fn from_request() -> Reading {
    Reading {
        source: UsageSource::Estimated,
        read_from: "request",
        ..Reading::missing(UsageReason::NotInAnswer)
    }
}

/// The tokens of an answer together with the units of its request. Bedrock did not count those:
/// such a reading is an estimate, and so are the tokens of texts where no header states them.
/// Without them (seconds of audio, a text that is elsewhere, a request that cannot be understood)
/// what is left would look like the whole bill.
fn with_asked(reading: Reading, asked: Option<&Asked>) -> Reading {
    let counted = reading.source == UsageSource::Reported;
    let unreadable = reading.reason == Some(UsageReason::Unreadable);
    let asked = asked.filter(|asked| !asked.unseen && (counted || asked.tokens().is_some()));
    let Some(asked) = asked else {
        return Reading {
            source: UsageSource::Missing,
            reason: Some(UsageReason::NotMetered),
            ..reading
        };
    };
    if unreadable || (counted && asked.units.is_none()) {
        return reading;
    }
    let mut usage = reading.usage;
    if !counted {
        usage.set_reported(Dimension::InputTokens, asked.tokens());
    }
    for (unit, quantity) in asked.units.iter() {
        usage.set(unit.clone(), quantity);
    }
    Reading {
        usage,
        source: UsageSource::Estimated,
        reason: reading.reason.or(Some(UsageReason::NotInAnswer)),
        read_from: if counted {
            reading.read_from
        } else {
            "request"
        },
        ..reading
    }
}

/// Says of an embedding whose usage is unknown what is known: it has generated nothing.
fn without_output(mut reading: Reading) -> Reading {
    if reading.source == UsageSource::Missing {
        reading.usage.set(Dimension::OutputTokens, 0);
    }
    reading
}

/// All that is known at the end.
struct Evidence {
    answer: Answer,
    headers: TokenCounts,
    end: End,
    /// The answer ran to its regular end.
    complete: bool,
    embeds: bool,
}

impl Evidence {
    /// Weighs the places in order of trust: the body's own usage, the headers, the metrics.
    fn reading(self, write_lifetime: &Dimension) -> Reading {
        let by_headers = self.is_whole(&self.headers);
        let in_body = self.answer.places.iter().any(|place| !place.is_empty());
        let (first, rest) = self.answer.places.split_at(self.answer.places.len().min(1));
        let places: Vec<TokenCounts> = [first, &[self.headers], rest].concat();
        let (mut counts, disagreement) = TokenCounts::agreed(&places);

        let body_is_final = match self.answer.finality {
            Finality::Never => false,
            Finality::AtEnd => self.complete,
            Finality::Now => true,
        };
        let known = (body_is_final && !self.answer.unreadable) || by_headers;
        let usage = counts.usage(write_lifetime);
        let reported = known && self.is_whole(&counts) && is_possible(&usage);
        let usage = if reported {
            usage
        } else {
            // A count that still runs is not exactly known.
            counts.output = None;
            counts.usage(write_lifetime)
        };
        Reading {
            reason: (!reported).then(|| self.reason(&usage)),
            usage,
            source: if reported {
                UsageSource::Reported
            } else {
                UsageSource::Missing
            },
            read_from: match (in_body, by_headers) {
                (true, _) => self.answer.read_from,
                (false, true) => "headers",
                (false, false) => "",
            },
            served_tier: self.answer.tier,
            served_latency: self.answer.latency,
            invoked_model: self.answer.invoked_model,
            disagreement: disagreement || (by_headers && self.answer.unreadable),
        }
    }

    /// Whether counts tell all that is billed: the prompt, and what was generated.
    const fn is_whole(&self, counts: &TokenCounts) -> bool {
        counts.prompt.is_some() && (counts.output.is_some() || self.embeds)
    }

    fn reason(&self, usage: &Usage) -> UsageReason {
        if self.answer.unreadable || !is_possible(usage) {
            return UsageReason::Unreadable;
        }
        match self.end {
            End::NotDrained => UsageReason::NotDrained,
            End::Complete if self.complete => UsageReason::NotInAnswer,
            End::Complete | End::CutShort | End::NoAnswer => UsageReason::CutShort,
        }
    }
}

/// Whether the counts are in the range that a ledger can hold.
fn is_possible(usage: &Usage) -> bool {
    usage
        .iter()
        .all(|(_, tokens)| i64::try_from(tokens).is_ok())
}
