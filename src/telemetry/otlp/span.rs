//! Settled calls as spans: `ExportTraceServiceRequest` of OTLP 1.x.

use std::sync::Arc;
use std::time::Duration;

use super::attributes::{Attributes, PROVIDER, is_error, operation_name};
use super::resource::Resource;
use super::wire::Message;
use crate::domain::{Dimension, Entry, UnpricedReason, Usage, UsageReason};
use crate::telemetry::SettledCall;
use crate::telemetry::family::dollars;

/// The body of one request with these calls.
pub fn traces_request(resource: &Resource, calls: &[Arc<SettledCall>]) -> Vec<u8> {
    let mut scope_spans = Message::default();
    scope_spans.message(1, &resource.scope());
    for call in calls {
        scope_spans.message(2, &span(call));
    }
    let mut resource_spans = Message::default();
    resource_spans
        .message(1, resource.message())
        .message(2, &scope_spans);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.into_bytes()
}

fn span(call: &SettledCall) -> Message {
    let entry = &call.entry;
    let trace = call.trace();
    let model = entry.model.as_ref().map(|model| &*model.asked);
    let operation = operation_name(entry.operation, model);
    let name = match model {
        Some(model) => format!("{operation} {model}"),
        None => operation.to_owned(),
    };
    let start = unix_nanos(entry);
    let mut span = Message::default();
    span.bytes(1, &trace.trace_id).bytes(2, &trace.span_id);
    if let Some(origin) = &call.origin
        && !origin.state.is_empty()
    {
        span.bytes(3, origin.state.as_bytes());
    }
    if let Some(parent) = trace.parent {
        span.bytes(4, &parent.span_id);
    }
    span.bytes(5, name.as_bytes())
        .number(6, KIND_CLIENT)
        .fixed64(7, start)
        .fixed64(8, start.saturating_add(nanos(call.duration)));
    attributes(call, operation).write(9, &mut span);
    if is_error(entry.outcome) {
        let mut status = Message::default();
        status
            .bytes(2, entry.outcome.name().as_bytes())
            .number(3, STATUS_ERROR);
        span.message(15, &status);
    }
    let parent_flags = trace.parent.map_or(0, |_| PARENT_IS_REMOTE);
    span.fixed32(16, SAMPLED | PARENT_IS_KNOWN | parent_flags);
    span
}

fn attributes(call: &SettledCall, operation: &str) -> Attributes {
    let entry = &call.entry;
    let mut all = Attributes::default();
    all.text("gen_ai.operation.name", operation)
        .text("gen_ai.provider.name", PROVIDER)
        .maybe(
            "gen_ai.request.model",
            entry.model.as_ref().map(|model| &*model.asked),
        )
        .maybe("gen_ai.response.model", response_model(entry))
        .flag("gen_ai.request.stream", entry.operation.is_stream());
    usage(&mut all, &entry.reading.usage);
    if entry.operation.is_stream() {
        let seconds = call.first_byte.map(|time| time.as_secs_f64());
        all.double("gen_ai.response.time_to_first_chunk", seconds);
    }
    if is_error(entry.outcome) {
        let class = entry.error_class.as_deref();
        all.text("error.type", class.unwrap_or_else(|| entry.outcome.name()));
    }
    let status = entry.status.map(u64::from);
    all.count("http.response.status_code", status)
        .maybe("aws.request_id", entry.aws_request_id.as_deref())
        .text("cloud.region", entry.region.as_str());
    if let Some(origin) = &call.origin
        && let Some((host, port)) = origin.server.rsplit_once(':')
    {
        all.text("server.address", host)
            .count("server.port", port.parse().ok());
    }
    own(&mut all, entry);
    all
}

/// What the conventions have no word for.
fn own(all: &mut Attributes, entry: &Entry) {
    let (reading, charge) = (&entry.reading, &entry.charge);
    all.text("bedrock_meter.call_id", &entry.call_id.to_string())
        .text("bedrock_meter.tenant", entry.tenant.as_str())
        .text("bedrock_meter.application", entry.application.as_str())
        .text("bedrock_meter.operation", entry.operation.name())
        .text("bedrock_meter.outcome", entry.outcome.name())
        .text("bedrock_meter.usage_source", reading.source.name())
        .maybe(
            "bedrock_meter.usage_reason",
            reading.reason.map(UsageReason::name),
        )
        .text("bedrock_meter.price_status", charge.status.name())
        .maybe(
            "bedrock_meter.price_reason",
            charge.status.reason().map(UnpricedReason::name),
        );
    if let Some(total) = charge.total {
        all.text("bedrock_meter.cost_usd", &total.to_string())
            .double("bedrock_meter.cost_usd_float", Some(dollars(total)));
    }
}

/// The conventions count cached tokens among the input; ours are apart.
fn usage(all: &mut Attributes, usage: &Usage) {
    let prompt = usage.iter().any(|(dimension, _)| dimension.is_prompt());
    let written = [
        Dimension::CacheWrite5mTokens,
        Dimension::CacheWrite30mTokens,
        Dimension::CacheWrite1hTokens,
    ];
    let written = written
        .iter()
        .filter_map(|dimension| usage.get(dimension))
        .reduce(u64::saturating_add);
    all.count(
        "gen_ai.usage.input_tokens",
        prompt.then(|| usage.prompt_tokens()),
    )
    .count(
        "gen_ai.usage.output_tokens",
        usage.get(&Dimension::OutputTokens),
    )
    .count(
        "gen_ai.usage.cache_read.input_tokens",
        usage.get(&Dimension::CacheReadTokens),
    )
    .count("gen_ai.usage.cache_creation.input_tokens", written);
}

/// The model that served: the one a router says it invoked, else the base of the one asked for,
/// where there was an answer.
fn response_model(entry: &Entry) -> Option<&str> {
    let asked = entry.model.as_ref();
    let asked = asked.and_then(|model| model.base.as_deref());
    let served = matches!(entry.status, Some(200..=299));
    let invoked = entry.reading.invoked_model.as_deref();
    invoked.or_else(|| asked.filter(|_| served))
}

fn unix_nanos(entry: &Entry) -> u64 {
    let ms = u64::try_from(entry.opened_at.unix_ms()).unwrap_or(0);
    ms.saturating_mul(1_000_000)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const KIND_CLIENT: u64 = 3;
const STATUS_ERROR: u64 = 2;
/// The flags of a span: the W3C flags, and whether its parent lies in another process.
const SAMPLED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
