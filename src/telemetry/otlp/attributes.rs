//! Attributes, and which of the GenAI semantic conventions a call has.
//!
//! Conventions: `open-telemetry/semantic-conventions-genai` (status: development), AWS Bedrock.

use super::wire::Message;
use crate::domain::{Operation, Outcome};

/// The key and value pairs of a resource, a span or a data point, ready for their message.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<Message>);

impl Attributes {
    pub(super) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        let mut any = Message::default();
        any.bytes(1, value.as_bytes());
        self.push(key, &any)
    }

    /// A text that may be unknown: then there is no attribute.
    pub(super) fn maybe(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// A count that may be unknown: then there is no attribute.
    pub(super) fn count(&mut self, key: &str, value: Option<u64>) -> &mut Self {
        let Some(value) = value else { return self };
        let mut any = Message::default();
        any.number(3, value);
        self.push(key, &any)
    }

    pub(super) fn double(&mut self, key: &str, value: Option<f64>) -> &mut Self {
        let Some(value) = value else { return self };
        let mut any = Message::default();
        any.double(4, value);
        self.push(key, &any)
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        let mut any = Message::default();
        any.number(2, u64::from(value));
        self.push(key, &any)
    }

    fn push(&mut self, key: &str, any: &Message) -> &mut Self {
        let mut pair = Message::default();
        pair.bytes(1, key.as_bytes()).message(2, any);
        self.0.push(pair);
        self
    }

    /// Writes them as the repeated field of that number.
    pub(super) fn write(&self, field: u32, message: &mut Message) {
        for pair in &self.0 {
            message.message(field, pair);
        }
    }
}

/// `gen_ai.provider.name`.
pub(super) const PROVIDER: &str = "aws.bedrock";

/// `gen_ai.operation.name`: a word of the conventions where one applies, else AWS's own.
pub(super) fn operation_name(operation: Operation, model: Option<&str>) -> &'static str {
    let model = model.unwrap_or_default();
    match operation {
        Operation::Converse | Operation::ConverseStream => "chat",
        Operation::InvokeModel
        | Operation::InvokeModelWithResponseStream
        | Operation::InvokeModelWithBidirectionalStream => match model {
            _ if model.contains("embed") => "embeddings",
            _ if model.contains("rerank") => "rerank",
            _ if COMPLETES.iter().any(|family| model.contains(family)) => "text_completion",
            _ => "chat",
        },
        Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => operation.name(),
    }
}

/// Families whose own bodies hold one prompt instead of messages.
const COMPLETES: [&str; 3] = ["titan-text", "meta.llama", "titan-tg1"];

/// Whether it is an error of the call: a client that leaves made none.
pub(super) const fn is_error(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Success | Outcome::ClientLeft)
}
