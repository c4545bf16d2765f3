//! Generations: what is drawn for one, put on its bill, and sent.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::answer::{Body, Script};
use super::bodies::{Generation, filler};
use super::exchange::Exchange;
use super::family::Family;
use super::frames;
use super::heads::{
    LATENCY_HEADER, TIER_HEADER, add_echo_headers, add_invoke_headers, insert_header, response,
};
use super::operation::Shape;
use super::refusal::Refusal;
use super::scenario::{Ending, Scenario};
use super::usage::Usage;

impl Exchange {
    /// Draws a generation and puts it on the bill.
    pub(super) fn generate(
        &mut self,
        scenario: &Scenario,
        shape: Shape,
        model_id: &str,
    ) -> Result<Generation, Refusal> {
        let family = Family::of(model_id);
        let family = family
            .ok_or_else(|| Refusal::validation("The provided model identifier is invalid."))?;
        let malformed = "Malformed input request, please reformat your input and try again.";
        let body = self.request.json();
        let body = body.filter(Value::is_object);
        let body = body.ok_or_else(|| Refusal::validation(malformed))?;
        let drawn = Usage::draw(&mut self.draws, self.request.asks_for_cache());
        let usage = scenario.usage(drawn).of_family(family);
        let (tier, latency) = self.asked(shape, &body);
        let drawn_length = self.draws.length(40, 400);
        let generation = Generation {
            family,
            model_id: model_id.to_owned(),
            answer_id: format!("{:016x}", self.draws.between(0, u64::MAX - 1)),
            text: filler(scenario.response_bytes.unwrap_or(drawn_length)),
            reported: (!scenario.no_usage).then_some(usage),
            tier: scenario.tier.clone().or(tier),
            latency,
            latency_ms: self.draws.between(80, 4000),
        };
        self.note_generation(scenario, &generation, usage);
        Ok(generation)
    }

    /// Puts a generation on the bill, unless it ends in an error.
    fn note_generation(&mut self, scenario: &Scenario, generation: &Generation, usage: Usage) {
        let billed = scenario.refusal.is_none()
            && !scenario.reset_before_head
            && !matches!(scenario.ending, Ending::Exception(..));
        self.receipt.note(|line| {
            if billed {
                line.usage = usage.billed();
            }
            if let Some(tier) = &generation.tier {
                line.served_tier.clone_from(tier);
            }
            if let Some(latency) = &generation.latency {
                line.latency.clone_from(latency);
            }
        });
    }

    /// The service tier and latency mode asked for: in headers, or in the body of Converse.
    fn asked(&self, shape: Shape, body: &Value) -> (Option<String>, Option<String>) {
        if shape.is_native() {
            let header = |name| self.request.header(name).map(str::to_owned);
            return (header(TIER_HEADER), header(LATENCY_HEADER));
        }
        let member = |pointer| {
            body.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        (
            member("/serviceTier/type"),
            member("/performanceConfig/latency"),
        )
    }

    pub(super) fn send_body(
        mut self,
        scenario: &Scenario,
        shape: Shape,
        generation: &Generation,
    ) -> Response<Body> {
        let mut headers = self.base_headers("application/json");
        let body = if shape.is_native() {
            add_invoke_headers(&mut headers, generation);
            generation.native()
        } else {
            generation.converse()
        };
        let mut body = Bytes::from(body.to_string());
        let missing = if scenario.short_body { 100 } else { 0 };
        headers.insert("content-length", (body.len() + missing).into());
        if let Ending::Reset(after) | Ending::Stall(after) = scenario.ending {
            body.truncate(after);
        }
        self.note_head(200);
        let script = Script::new(vec![body], Duration::ZERO, &scenario.ending, self.receipt);
        let script = if scenario.short_body {
            script.short()
        } else {
            script
        };
        response(200, headers, script)
    }

    pub(super) fn send_stream(
        mut self,
        scenario: &Scenario,
        shape: Shape,
        generation: &Generation,
    ) -> Response<Body> {
        let Ok(frames) = self.frames(scenario, shape, generation) else {
            return self.refuse(&Refusal::of_status(500));
        };
        let writes = frames::writes(frames, scenario.writing, &mut self.draws);
        let mut headers = self.base_headers("application/vnd.amazon.eventstream");
        if shape.is_native() {
            insert_header(
                &mut headers,
                "x-amzn-bedrock-content-type",
                "application/json",
            );
            add_echo_headers(&mut headers, generation);
        }
        self.note_head(200);
        let script = Script::new(writes, scenario.frame_delay, &scenario.ending, self.receipt);
        response(200, headers, script)
    }

    /// The frames of a stream, damaged and cut short as the scenario says.
    fn frames(
        &mut self,
        scenario: &Scenario,
        shape: Shape,
        generation: &Generation,
    ) -> Result<Vec<Bytes>, aws_smithy_eventstream::error::Error> {
        let count = scenario.frames.unwrap_or_else(|| self.draws.length(2, 12));
        let events = if shape.is_native() {
            generation.chunk_events(count)
        } else {
            generation.converse_events(count)
        };
        let encoded: Result<Vec<Bytes>, _> = events
            .iter()
            .map(|(kind, payload)| frames::event(kind, payload, &mut self.draws))
            .collect();
        let mut frames = frames::damage(encoded?, scenario);
        match &scenario.ending {
            Ending::Whole => {}
            Ending::Reset(after) | Ending::Stall(after) => frames.truncate(*after),
            Ending::Exception(after, class) => {
                frames.truncate(*after);
                frames.push(frames::exception(class)?);
            }
        }
        Ok(frames)
    }
}
