//! One request from its head to its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::Settings;
use super::answer::{Body, Reset, Script};
use super::bill::{BillLine, BillLog, Receipt};
use super::bodies::{Generation, filler};
use super::draws::Draws;
use super::family::Family;
use super::operation::Operation;
use super::refusal::Refusal;
use super::request::{BODY_MAX, Request};
use super::scenario::{Ending, Scenario};
use super::signature::{self, Claim};
use super::usage::Usage;
use super::{frames, plain_operations};

/// The region of a request that names none.
const DEFAULT_REGION: &str = "us-east-1";

/// What all requests share.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) bill: BillLog,
    pub(super) requests: AtomicU64,
}

/// Whether a body is a stream, and in which shape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Native,
    NativeStream,
    Converse,
    ConverseStream,
}

/// Answers one request.
pub(super) async fn serve(
    world: Arc<World>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Reset> {
    let (parts, body) = request.into_parts();
    let request = Request::read(parts, body).await.ok_or(Reset)?;
    let exchange = Exchange::new(&world, request);
    match exchange.admit(&world.settings) {
        Ok(operation) => exchange.answer(&world.settings, operation).await,
        Err(refusal) => Ok(exchange.refuse(&refusal)),
    }
}

/// One request and what is drawn and written down for it.
struct Exchange {
    request: Request,
    request_id: String,
    region: String,
    draws: Draws,
    receipt: Receipt,
}

impl Exchange {
    fn new(world: &World, request: Request) -> Self {
        let number = world.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = Uuid::now_v7().to_string();
        let region = region_of(&request);
        let line = BillLine {
            request_id: request_id.clone(),
            received_at: request.received_at.to_string(),
            region: region.clone(),
            served_tier: "default".to_owned(),
            latency: "standard".to_owned(),
            sdk_invocation_id: request.header("amz-sdk-invocation-id").map(str::to_owned),
            attempt: attempt(&request),
            user_agent: request.header("user-agent").map(str::to_owned),
            request_bytes: request.body_length,
            request_sha256: request.body_sha256.clone(),
            ..BillLine::default()
        };
        Self {
            request,
            request_id,
            region,
            draws: Draws::new(world.settings.seed, number),
            receipt: Receipt::new(world.bill.clone(), line),
        }
    }

    /// The operation of a request that may be served.
    fn admit(&self, settings: &Settings) -> Result<Operation, Refusal> {
        if settings.verify {
            signature::verify(settings, &self.request)?;
        }
        let recognised = Operation::recognise(&self.request.method, self.request.path());
        let operation = recognised
            .ok_or_else(|| Refusal::new(404, "UnknownOperationException", "No such operation."))?;
        if self.request.body_length > BODY_MAX {
            let message = "Member must have length less than or equal to 25000000";
            return Err(Refusal::validation(message));
        }
        Ok(operation)
    }

    async fn answer(
        mut self,
        settings: &Settings,
        operation: Operation,
    ) -> Result<Response<Body>, Reset> {
        self.receipt.note(|line| {
            line.operation = Some(operation.name());
            line.model_id = operation.model_id().map(str::to_owned);
        });
        let (model_id, shape) = match operation {
            Operation::InvokeModel(id) => (id, Shape::Native),
            Operation::InvokeModelWithResponseStream(id) => (id, Shape::NativeStream),
            Operation::Converse(id) => (id, Shape::Converse),
            Operation::ConverseStream(id) => (id, Shape::ConverseStream),
            Operation::CountTokens(_)
            | Operation::ApplyGuardrail
            | Operation::InvokeGuardrailChecks
            | Operation::StartAsyncInvoke
            | Operation::GetAsyncInvoke(_)
            | Operation::ListAsyncInvokes
            | Operation::ListInferenceProfiles
            | Operation::GetInferenceProfile(_) => return Ok(self.plain(&operation)),
        };
        self.generate(settings, model_id, shape).await
    }

    /// Answers an operation that generates nothing.
    fn plain(mut self, operation: &Operation) -> Response<Body> {
        match self.plain_body(operation) {
            Ok(body) => {
                let headers = self.base_headers("application/json");
                self.respond_whole(200, headers, body.to_string().into())
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn plain_body(&mut self, operation: &Operation) -> Result<Value, Refusal> {
        let json = || {
            let body = self.request.json();
            body.ok_or_else(|| Refusal::validation("The body is not JSON."))
        };
        Ok(match operation {
            Operation::ApplyGuardrail => plain_operations::apply_guardrail(&json()?),
            Operation::InvokeGuardrailChecks => {
                json()?;
                plain_operations::guardrail_checks()
            }
            Operation::StartAsyncInvoke => {
                let body = json()?;
                let model = body.get("modelId").and_then(Value::as_str);
                let model = model.map(str::to_owned);
                self.receipt.note(|line| line.model_id = model);
                plain_operations::start_async_invoke(&self.region, &self.request_id)
            }
            Operation::GetAsyncInvoke(arn) => plain_operations::get_async_invoke(arn)?,
            Operation::ListAsyncInvokes => plain_operations::list_async_invokes(),
            Operation::ListInferenceProfiles => {
                plain_operations::list_inference_profiles(&self.region)
            }
            Operation::GetInferenceProfile(id) => {
                plain_operations::get_inference_profile(&self.region, id)
            }
            Operation::CountTokens(_)
            | Operation::InvokeModel(_)
            | Operation::InvokeModelWithResponseStream(_)
            | Operation::Converse(_)
            | Operation::ConverseStream(_) => plain_operations::count_tokens(&self.request.body),
        })
    }

    /// Generates: from here on the request is billed, whatever becomes of its client.
    async fn generate(
        mut self,
        settings: &Settings,
        model_id: String,
        shape: Shape,
    ) -> Result<Response<Body>, Reset> {
        let (scenario, family) = match self.prepare(settings, &model_id, shape) {
            Ok(prepared) => prepared,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        let drawn = Usage::draw(&mut self.draws, self.request.asks_for_cache());
        let usage = scenario.usage(drawn).of_family(family);
        let generation = self.generation(&scenario, shape, family, model_id, usage);
        self.note_generation(&scenario, &generation, usage);
        pause(settings.think_time + scenario.head_delay).await;
        if scenario.reset_before_head {
            return Err(Reset);
        }
        if let Some(refusal) = &scenario.refusal {
            return Ok(self.refuse(refusal));
        }
        Ok(match shape {
            Shape::Native | Shape::Converse => self.send_body(&scenario, shape, &generation),
            Shape::NativeStream | Shape::ConverseStream => {
                self.send_stream(&scenario, shape, &generation)
            }
        })
    }

    /// Puts a generation on the bill, unless it ends in an error.
    fn note_generation(&mut self, scenario: &Scenario, generation: &Generation, usage: Usage) {
        let billed = scenario.refusal.is_none()
            && !scenario.reset_before_head
            && !matches!(scenario.ending, Ending::Exception(..));
        self.receipt.note(|line| {
            line.fault = scenario.fault();
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

    fn prepare(
        &mut self,
        settings: &Settings,
        model_id: &str,
        shape: Shape,
    ) -> Result<(Scenario, Family), Refusal> {
        let words = self.request.header("x-simulate").unwrap_or_default();
        let mut scenario = Scenario::read(words)?;
        scenario.draw_fault(settings.faults_percent, &mut self.draws);
        let plain = matches!(shape, Shape::Native | Shape::Converse);
        if plain && matches!(scenario.ending, Ending::Exception(..)) {
            // A plain body has no frames: its exception is an ordinary error.
            scenario.refusal = Some(Refusal::of_status(429));
            scenario.ending = Ending::Whole;
        }
        let family = Family::of(model_id);
        let family = family
            .ok_or_else(|| Refusal::validation("The provided model identifier is invalid."))?;
        if self.request.json().is_none() {
            return Err(Refusal::validation(
                "Malformed input request, please reformat your input and try again.",
            ));
        }
        Ok((scenario, family))
    }

    fn generation(
        &mut self,
        scenario: &Scenario,
        shape: Shape,
        family: Family,
        model_id: String,
        usage: Usage,
    ) -> Generation {
        let (tier, latency) = self.asked(shape);
        let drawn_length = self.draws.length(40, 400);
        Generation {
            family,
            model_id,
            request_id: self.request_id.clone(),
            text: filler(scenario.response_bytes.unwrap_or(drawn_length)),
            reported: (!scenario.no_usage).then_some(usage),
            tier: scenario.tier.clone().or(tier),
            latency,
            latency_ms: self.draws.between(80, 4000),
        }
    }

    /// The service tier and latency mode asked for: in headers, or in the body of Converse.
    fn asked(&self, shape: Shape) -> (Option<String>, Option<String>) {
        if matches!(shape, Shape::Native | Shape::NativeStream) {
            let header = |name| self.request.header(name).map(str::to_owned);
            return (header(TIER_HEADER), header(LATENCY_HEADER));
        }
        let body = self.request.json().unwrap_or_default();
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

    fn send_body(
        mut self,
        scenario: &Scenario,
        shape: Shape,
        generation: &Generation,
    ) -> Response<Body> {
        let mut headers = self.base_headers("application/json");
        let body = if shape == Shape::Native {
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

    fn send_stream(
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
        if shape == Shape::NativeStream {
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
        let events = if shape == Shape::NativeStream {
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

    fn refuse(mut self, refusal: &Refusal) -> Response<Body> {
        self.receipt.note(|line| line.usage.clear());
        let mut headers = self.base_headers("application/json");
        insert_header(&mut headers, "x-amzn-errortype", &refusal.error_type());
        self.respond_whole(refusal.status, headers, refusal.body())
    }

    fn respond_whole(mut self, status: u16, mut headers: HeaderMap, body: Bytes) -> Response<Body> {
        headers.insert("content-length", body.len().into());
        self.note_head(status);
        let script = Script::new(vec![body], Duration::ZERO, &Ending::Whole, self.receipt);
        response(status, headers, script)
    }

    fn note_head(&mut self, status: u16) {
        self.receipt.note(|line| {
            line.status = Some(status);
            line.head_sent = true;
        });
    }

    fn base_headers(&self, content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert_header(&mut headers, "content-type", content_type);
        insert_header(&mut headers, "x-amzn-requestid", &self.request_id);
        headers
    }
}

const TIER_HEADER: &str = "x-amzn-bedrock-service-tier";
const LATENCY_HEADER: &str = "x-amzn-bedrock-performanceconfig-latency";

fn add_invoke_headers(headers: &mut HeaderMap, generation: &Generation) {
    for (name, count) in generation.reported.iter().flat_map(Usage::headers) {
        headers.insert(name, count.into());
    }
    headers.insert(
        "x-amzn-bedrock-invocation-latency",
        generation.latency_ms.into(),
    );
    add_echo_headers(headers, generation);
}

fn add_echo_headers(headers: &mut HeaderMap, generation: &Generation) {
    if let Some(tier) = &generation.tier {
        insert_header(headers, TIER_HEADER, tier);
    }
    if let Some(latency) = &generation.latency {
        insert_header(headers, LATENCY_HEADER, latency);
    }
}

/// Adds a header, unless the text cannot be one.
fn insert_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn response(status: u16, headers: HeaderMap, script: Script) -> Response<Body> {
    let mut response = Response::new(script.into_body());
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    *response.headers_mut() = headers;
    response
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

/// The region of the signature's scope, or of the host's name.
fn region_of(request: &Request) -> String {
    let claimed = Claim::read(&request.headers).map(|claim| claim.region.to_owned());
    let host = request.host().strip_suffix(".amazonaws.com");
    let of_host = || Some(host?.split_once('.')?.1.to_owned());
    claimed
        .or_else(of_host)
        .unwrap_or_else(|| DEFAULT_REGION.to_owned())
}

/// The number in `amz-sdk-request: attempt=2; max=3`.
fn attempt(request: &Request) -> Option<u32> {
    let value = request.header("amz-sdk-request")?;
    let mut fields = value.split(';').map(str::trim);
    let attempt = fields.find_map(|field| field.strip_prefix("attempt="));
    attempt?.parse().ok()
}
