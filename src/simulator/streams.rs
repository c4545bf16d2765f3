//! Streams: one generation as the events of Converse, or as the chunks of its family.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::bodies::{Generation, insert};
use super::family::Family;

impl Generation {
    /// The text in that many parts, all of it.
    fn parts(&self, count: usize) -> Vec<String> {
        let letters: Vec<char> = self.text.chars().collect();
        let length = letters.len().div_ceil(count.max(1)).max(1);
        let mut parts = letters.chunks(length).map(|part| part.iter().collect());
        (0..count)
            .map(|_| parts.next().unwrap_or_default())
            .collect()
    }

    /// The events of ConverseStream, with their types.
    pub(super) fn converse_events(&self, frames: usize) -> Vec<(&'static str, Value)> {
        let mut events = vec![("messageStart", json!({"role": "assistant"}))];
        events.extend(self.parts(frames).into_iter().map(|text| {
            let delta = json!({"contentBlockIndex": 0, "delta": {"text": text}});
            ("contentBlockDelta", delta)
        }));
        events.push(("contentBlockStop", json!({"contentBlockIndex": 0})));
        events.push(("messageStop", json!({"stopReason": "end_turn"})));
        let mut metadata = json!({});
        self.insert_metadata(&mut metadata);
        events.push(("metadata", metadata));
        events
    }

    /// The events of `InvokeModelWithResponseStream`: the family's chunks in base64, the last one
    /// with the metrics of the invocation.
    pub(super) fn chunk_events(&self, frames: usize) -> Vec<(&'static str, Value)> {
        let mut chunks = match self.family {
            Family::Claude => self.claude_chunks(frames),
            Family::Nova => self.nova_chunks(frames),
            Family::TitanText => self.titan_chunks(frames),
            Family::Llama => self.llama_chunks(frames),
            Family::OpenAi => self.openai_chunks(frames),
        };
        if let Some(last) = chunks.last_mut() {
            let latency = self.latency_ms;
            let metrics = self.reported.map(|usage| usage.invocation_metrics(latency));
            insert(last, "amazon-bedrock-invocationMetrics", metrics);
        }
        let encoded = chunks
            .iter()
            .map(|chunk| json!({"bytes": BASE64.encode(chunk.to_string())}));
        encoded.map(|payload| ("chunk", payload)).collect()
    }

    fn claude_chunks(&self, frames: usize) -> Vec<Value> {
        let mut message = json!({
            "id": format!("msg_bdrk_{}", self.answer_id),
            "type": "message",
            "role": "assistant",
            "model": self.model_id,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
        });
        insert(
            &mut message,
            "usage",
            self.reported.map(|usage| usage.claude(1)),
        );
        let block = json!({"type": "text", "text": ""});
        let mut chunks = vec![
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
        ];
        chunks.extend(self.parts(frames).into_iter().map(|text| {
            let delta = json!({"type": "text_delta", "text": text});
            json!({"type": "content_block_delta", "index": 0, "delta": delta})
        }));
        chunks.push(json!({"type": "content_block_stop", "index": 0}));
        let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
        let mut delta = json!({"type": "message_delta", "delta": stop});
        let output = self.reported.map(|u| json!({"output_tokens": u.output}));
        insert(&mut delta, "usage", output);
        chunks.push(delta);
        chunks.push(json!({"type": "message_stop"}));
        chunks
    }

    fn nova_chunks(&self, frames: usize) -> Vec<Value> {
        let mut chunks = vec![json!({"messageStart": {"role": "assistant"}})];
        chunks.extend(self.parts(frames).into_iter().map(
            |text| json!({"contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0}}),
        ));
        chunks.push(json!({"contentBlockStop": {"contentBlockIndex": 0}}));
        chunks.push(json!({"messageStop": {"stopReason": "end_turn"}}));
        let mut metadata = json!({"metrics": {}, "trace": {}});
        insert(
            &mut metadata,
            "usage",
            self.reported.map(|usage| usage.nova()),
        );
        chunks.push(json!({"metadata": metadata}));
        chunks
    }

    fn titan_chunks(&self, frames: usize) -> Vec<Value> {
        let parts = self.parts(frames.max(1));
        let mut chunks: Vec<Value> = parts
            .into_iter()
            .map(|text| {
                json!({
                    "outputText": text,
                    "index": 0,
                    "totalOutputTextTokenCount": null,
                    "completionReason": null,
                    "inputTextTokenCount": null,
                })
            })
            .collect();
        if let Some(last) = chunks.last_mut() {
            insert(last, "completionReason", Some("FINISH".into()));
            let usage = self.reported;
            let output = usage.map(|usage| usage.output.into());
            insert(last, "totalOutputTextTokenCount", output);
            let input = usage.map(|usage| usage.input.into());
            insert(last, "inputTextTokenCount", input);
        }
        chunks
    }

    fn llama_chunks(&self, frames: usize) -> Vec<Value> {
        let mut chunks: Vec<Value> = self
            .parts(frames)
            .into_iter()
            .map(|text| json!({"generation": text, "stop_reason": null}))
            .collect();
        let mut last = json!({"generation": "", "stop_reason": "stop"});
        let usage = self.reported;
        insert(
            &mut last,
            "prompt_token_count",
            usage.map(|u| u.input.into()),
        );
        insert(
            &mut last,
            "generation_token_count",
            usage.map(|u| u.output.into()),
        );
        chunks.push(last);
        chunks
    }

    fn openai_chunks(&self, frames: usize) -> Vec<Value> {
        let chunk = |delta: Value, finish: Value| {
            json!({
                "id": format!("chatcmpl-{}", self.answer_id),
                "object": "chat.completion.chunk",
                "created": 0,
                "model": self.model_id,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            })
        };
        let mut chunks: Vec<Value> = self
            .parts(frames)
            .into_iter()
            .map(|text| chunk(json!({"role": "assistant", "content": text}), Value::Null))
            .collect();
        let mut last = chunk(json!({}), "stop".into());
        insert(
            &mut last,
            "usage",
            self.reported.map(|usage| usage.openai()),
        );
        chunks.push(last);
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::bodies::filler;
    use crate::simulator::usage::Usage;

    fn generation(family: Family) -> Generation {
        Generation {
            family,
            model_id: "m".into(),
            answer_id: "r".into(),
            text: filler(100),
            reported: Some(Usage {
                input: 3,
                output: 70,
                cache_read: 5,
                ..Usage::default()
            }),
            tier: None,
            latency: None,
            latency_ms: 10,
        }
    }

    fn inner(event: &(&str, Value)) -> Value {
        let bytes = BASE64.decode(event.1["bytes"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn every_family_reports_its_metrics_in_the_last_chunk_only() {
        for family in [
            Family::Claude,
            Family::Nova,
            Family::TitanText,
            Family::Llama,
            Family::OpenAi,
        ] {
            let events = generation(family).chunk_events(3);
            let (last, before) = events.split_last().unwrap();
            let metrics = &inner(last)["amazon-bedrock-invocationMetrics"];
            assert_eq!(metrics["outputTokenCount"], 70, "{family:?}");
            let early = |event| {
                inner(event)
                    .get("amazon-bedrock-invocationMetrics")
                    .is_some()
            };
            assert!(!before.iter().any(early), "{family:?}");
        }
    }

    #[test]
    fn a_claude_stream_starts_with_the_prompt_and_ends_with_the_total_output() {
        let events = generation(Family::Claude).chunk_events(2);
        assert_eq!(events.len(), 7);
        let start = &inner(&events[0])["message"]["usage"];
        assert_eq!(
            (&start["input_tokens"], &start["output_tokens"]),
            (&json!(3), &json!(1))
        );
        assert_eq!(inner(&events[5])["usage"]["output_tokens"], 70);
    }

    #[test]
    fn the_parts_of_the_text_are_the_text() {
        let generation = generation(Family::Nova);
        for count in [1, 3, 7, 100, 150] {
            let parts = generation.parts(count);
            assert_eq!(
                (parts.len(), parts.concat()),
                (count, generation.text.clone())
            );
        }
    }
}
