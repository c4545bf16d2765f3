//! One request from its head to its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use jiff::SignedDuration;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::answer::{Body, Reset, Script};
use super::bill::{BillLine, BillLog, Receipt};
use super::bodies::Generation;
use super::draws::Draws;
use super::heads::{insert_header, response};
use super::operation::{Operation, Shape};
use super::refusal::Refusal;
use super::request::{BODY_MAX, Request};
use super::scenario::{Ending, Scenario};
use super::sessions::{Assumption, Form, Session};
use super::signature::{self, Claim};
use super::{Settings, control, plain_operations};

/// The region of a request that names none.
const DEFAULT_REGION: &str = "us-east-1";

/// What all requests share.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) bill: BillLog,
    pub(super) requests: AtomicU64,
    /// The asynchronous jobs that were started.
    pub(super) jobs: Arc<Mutex<Vec<String>>>,
}

/// What will be sent if nothing fails.
enum Answer {
    Plain(Value),
    Generated(Shape, Box<Generation>),
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
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) request_id: String,
    region: String,
    jobs: Arc<Mutex<Vec<String>>>,
    pub(super) draws: Draws,
    pub(super) receipt: Receipt,
}

impl Exchange {
    fn new(world: &World, mut request: Request) -> Self {
        request.received_at += SignedDuration::from_secs(world.settings.clock_skew_seconds);
        let number = world.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = Uuid::now_v7().to_string();
        let region = region_of(&request);
        let line = BillLine {
            request_id: request_id.clone(),
            received_at: request.received_at.to_string(),
            region: region.clone(),
            served_tier: "default".to_owned(),
            latency: "standard".to_owned(),
            access_key_id: Claim::read(&request.headers)
                .map(|claim| claim.access_key_id.to_owned()),
            request_metadata: request_metadata(&request),
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
            jobs: Arc::clone(&world.jobs),
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
        let recognised = match recognised {
            Some(Operation::GetCallerIdentity) => {
                let action = Form::read(&self.request.body).get("Action");
                Operation::of_sts(&action.unwrap_or_default())
            }
            other => other,
        };
        let operation = recognised
            .ok_or_else(|| Refusal::new(404, "UnknownOperationException", "No such operation."))?;
        control::check(settings, &operation)?;
        if self.request.body_length > BODY_MAX {
            let message = "Member must have length less than or equal to 25000000";
            return Err(Refusal::validation(message));
        }
        Ok(operation)
    }

    /// Answers; a generation is billed from here on, whatever becomes of its client.
    async fn answer(
        mut self,
        settings: &Settings,
        operation: Operation,
    ) -> Result<Response<Body>, Reset> {
        let session = self.session(settings);
        self.receipt.note(|line| {
            if let Some(session) = session {
                line.principal = Some(session.arn());
                line.session_tags = session.tags;
            }
            line.operation = Some(operation.name());
            line.model_id = operation.model_id().map(str::to_owned);
        });
        let (scenario, answer) = match self.prepare(settings, &operation) {
            Ok(prepared) => prepared,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        self.receipt.note(|line| line.fault = scenario.fault());
        pause(settings.think_time + scenario.head_delay).await;
        if scenario.reset_before_head {
            return Err(Reset);
        }
        Ok(match (&scenario.refusal, answer) {
            (Some(refusal), _) => self.refuse(refusal),
            (None, Answer::Plain(Value::String(xml))) => self.respond_xml(xml.into()),
            (None, Answer::Plain(body)) => self.respond(body.to_string().into()),
            (None, Answer::Generated(shape, generation)) if shape.is_stream() => {
                self.send_stream(&scenario, shape, &generation)
            }
            (None, Answer::Generated(shape, generation)) => {
                self.send_body(&scenario, shape, &generation)
            }
        })
    }

    fn prepare(
        &mut self,
        settings: &Settings,
        operation: &Operation,
    ) -> Result<(Scenario, Answer), Refusal> {
        let words = self.request.header("x-simulate").unwrap_or_default();
        let mut scenario = Scenario::read(words)?;
        let Some((shape, model_id)) = operation.generates() else {
            let body = self.plain_body(settings, operation)?;
            return Ok((scenario, Answer::Plain(body)));
        };
        scenario.draw_fault(settings.faults_percent, &mut self.draws);
        scenario.fit(shape);
        let generation = self.generate(&scenario, shape, model_id)?;
        Ok((scenario, Answer::Generated(shape, Box::new(generation))))
    }

    /// The session whose key signed the request.
    fn session(&self, settings: &Settings) -> Option<Session> {
        let token = self.request.header("x-amz-security-token")?;
        Session::of_token(settings, token)
    }

    fn plain_body(&mut self, settings: &Settings, operation: &Operation) -> Result<Value, Refusal> {
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
                let started = plain_operations::start_async_invoke(&self.region, &self.request_id);
                let arn = started.get("invocationArn").and_then(Value::as_str);
                let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                jobs.extend(arn.map(str::to_owned));
                started
            }
            Operation::GetAsyncInvoke(arn) => plain_operations::get_async_invoke(arn)?,
            Operation::ListAsyncInvokes => {
                let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                plain_operations::list_async_invokes(&jobs)
            }
            Operation::ListInferenceProfiles => {
                plain_operations::list_inference_profiles(&self.region)
            }
            Operation::GetInferenceProfile(id) => {
                plain_operations::get_inference_profile(&self.region, id)
            }
            Operation::ListFoundationModels => control::list_foundation_models(&self.region),
            Operation::GetCallerIdentity => {
                let session = self.session(settings);
                let arn = session.map(|session| session.arn());
                control::get_caller_identity(arn.as_deref(), &self.request_id)
            }
            Operation::AssumeRole => {
                let assumption = Assumption::read(&self.request.body)?;
                control::check_assumption(settings, &assumption)?;
                let session = assumption.begin(settings, self.request.received_at);
                session.answer(settings, &self.request_id)
            }
            Operation::CountTokens(_)
            | Operation::InvokeModel(_)
            | Operation::InvokeModelWithResponseStream(_)
            | Operation::Converse(_)
            | Operation::ConverseStream(_) => plain_operations::count_tokens(&self.request.body),
        })
    }

    pub(super) fn refuse(mut self, refusal: &Refusal) -> Response<Body> {
        self.receipt.note(|line| line.usage.clear());
        if self.request.path() == "/" && self.request.method == http::Method::POST {
            let headers = self.base_headers("text/xml");
            return self.send_whole(refusal.status, headers, control::sts_error(refusal));
        }
        let mut headers = self.base_headers("application/json");
        insert_header(&mut headers, "x-amzn-errortype", &refusal.error_type());
        self.send_whole(refusal.status, headers, refusal.body())
    }

    fn respond(self, body: Bytes) -> Response<Body> {
        let headers = self.base_headers("application/json");
        self.send_whole(200, headers, body)
    }

    /// STS answers in XML.
    fn respond_xml(self, body: Bytes) -> Response<Body> {
        let headers = self.base_headers("text/xml");
        self.send_whole(200, headers, body)
    }

    fn send_whole(mut self, status: u16, mut headers: HeaderMap, body: Bytes) -> Response<Body> {
        headers.insert("content-length", body.len().into());
        self.note_head(status);
        let script = Script::new(vec![body], Duration::ZERO, &Ending::Whole, self.receipt);
        response(status, headers, script)
    }

    pub(super) fn note_head(&mut self, status: u16) {
        self.receipt.note(|line| {
            line.status = Some(status);
            line.head_sent = true;
        });
    }

    pub(super) fn base_headers(&self, content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert_header(&mut headers, "content-type", content_type);
        insert_header(&mut headers, "x-amzn-requestid", &self.request_id);
        insert_header(
            &mut headers,
            "date",
            &control::http_date(self.request.received_at),
        );
        headers
    }
}

/// Even a sleep of no length would wait for the next tick of the timer.
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

/// The pairs of `X-Amzn-Bedrock-Request-Metadata`, or of a Converse body; texts of a header that
/// are no JSON as they are.
fn request_metadata(request: &Request) -> Option<Value> {
    if let Some(header) = request.header_values("x-amzn-bedrock-request-metadata") {
        return Some(serde_json::from_str(&header).unwrap_or(Value::String(header)));
    }
    let converses = request.path().contains("/converse");
    let mut body = converses.then(|| request.json()).flatten()?;
    body.get_mut("requestMetadata").map(Value::take)
}

/// The number in `amz-sdk-request: attempt=2; max=3`.
fn attempt(request: &Request) -> Option<u32> {
    let value = request.header("amz-sdk-request")?;
    let mut fields = value.split(';').map(str::trim);
    let attempt = fields.find_map(|field| field.strip_prefix("attempt="));
    attempt?.parse().ok()
}
