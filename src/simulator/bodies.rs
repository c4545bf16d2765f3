//! Plain bodies: one generation in the shape of its family, or of Converse.

use serde_json::{Value, json};

use super::family::Family;
use super::usage::Usage;

/// What the generated text repeats.
const FILLER: &str = "The quick brown fox jumps over the lazy dog. ";

/// A generation, ready to be written in any shape.
pub(super) struct Generation {
    pub(super) family: Family,
    pub(super) model_id: String,
    /// What its body is called; drawn, so that the same seed gives the same body.
    pub(super) answer_id: String,
    pub(super) text: String,
    /// What it reports; `None` reports nothing.
    pub(super) reported: Option<Usage>,
    /// The tier it says it served.
    pub(super) tier: Option<String>,
    /// The latency mode it says it served.
    pub(super) latency: Option<String>,
    pub(super) latency_ms: u64,
}

/// Text of that many bytes.
pub(super) fn filler(bytes: usize) -> String {
    FILLER.chars().cycle().take(bytes).collect()
}

/// Adds a member where there is a value.
pub(super) fn insert(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(members), Some(value)) = (object.as_object_mut(), value) {
        members.insert(name.to_owned(), value);
    }
}

impl Generation {
    /// The body of Converse.
    pub(super) fn converse(&self) -> Value {
        let mut body = json!({
            "output": {"message": {"role": "assistant", "content": [{"text": self.text}]}},
            "stopReason": "end_turn",
        });
        self.insert_metadata(&mut body);
        body
    }

    /// The members that Converse's body and the stream's `metadata` event share.
    pub(super) fn insert_metadata(&self, object: &mut Value) {
        let metrics = json!({"latencyMs": self.latency_ms});
        insert(object, "metrics", Some(metrics));
        insert(object, "usage", self.reported.map(|usage| usage.converse()));
        let tier = self.tier.as_ref();
        insert(
            object,
            "serviceTier",
            tier.map(|tier| json!({"type": tier})),
        );
        let latency = self.latency.as_ref();
        let performance = latency.map(|latency| json!({"latency": latency}));
        insert(object, "performanceConfig", performance);
    }

    /// The body of `InvokeModel`.
    pub(super) fn native(&self) -> Value {
        match self.family {
            Family::Claude => self.claude(),
            Family::Nova => self.nova(),
            Family::TitanText => self.titan(),
            Family::Llama => self.llama(),
            Family::OpenAi => self.openai(),
        }
    }

    fn claude(&self) -> Value {
        let mut body = json!({
            "id": format!("msg_bdrk_{}", self.answer_id),
            "type": "message",
            "role": "assistant",
            "model": self.model_id,
            "content": [{"type": "text", "text": self.text}],
            "stop_reason": "end_turn",
            "stop_sequence": null,
        });
        let usage = self.reported.map(|usage| usage.claude(usage.output));
        insert(&mut body, "usage", usage);
        body
    }

    fn nova(&self) -> Value {
        let mut body = json!({
            "output": {"message": {"role": "assistant", "content": [{"text": self.text}]}},
            "stopReason": "end_turn",
        });
        insert(&mut body, "usage", self.reported.map(|usage| usage.nova()));
        body
    }

    fn titan(&self) -> Value {
        let mut result = json!({"outputText": self.text, "completionReason": "FINISH"});
        let output = self.reported.map(|usage| usage.output.into());
        insert(&mut result, "tokenCount", output);
        let mut body = json!({"results": [result]});
        let input = self.reported.map(|usage| usage.input.into());
        insert(&mut body, "inputTextTokenCount", input);
        body
    }

    fn llama(&self) -> Value {
        let mut body = json!({"generation": self.text, "stop_reason": "stop"});
        let usage = self.reported;
        insert(
            &mut body,
            "prompt_token_count",
            usage.map(|u| u.input.into()),
        );
        insert(
            &mut body,
            "generation_token_count",
            usage.map(|u| u.output.into()),
        );
        body
    }

    fn openai(&self) -> Value {
        let mut body = json!({
            "id": format!("chatcmpl-{}", self.answer_id),
            "object": "chat.completion",
            "created": 0,
            "model": self.model_id,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.text},
                "finish_reason": "stop",
            }],
        });
        insert(
            &mut body,
            "usage",
            self.reported.map(|usage| usage.openai()),
        );
        body
    }
}
