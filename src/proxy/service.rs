//! One call, top to bottom.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header, request, response};
use hyper::body::Incoming;

use super::answer::{AnswerBody, Guard};
use super::check::{Checked, check_head, outside};
use super::downgrade;
use super::holds::{Asking, Holds};
use super::jobs::Ownership;
use super::judge::Called;
use super::live::{Admitted, Live};
use super::metadata;
use super::refusal::{BUDGET_REMAINING, CALL_ID, DOWNGRADED_FROM, Refusal, RefusalKind};
use super::settings::PriceUnknown;
use super::settle::{Answer, CallTimes, Permit, Settlement};
use super::skew;
use super::world::{Gates, World};
use crate::aws::{Scope, Signable, Signer, hex, parse_model_ref};
use crate::budgets::Reservation;
use crate::domain::{
    CallId, Dimension, Latency, ModelRef, Operation, Outcome, PriceStatus, Reading, Region,
    ServiceTier, TenantId, Timestamp, Usage, Usd,
};
use crate::identity::{
    Caller, Claims, Grants, Head, IdentityError, Peer, Principal, Proof, client_address,
    shown_token,
};
use crate::ledger::OpenCall;
use crate::meters::{Meter, RequestFacts, request_facts};
use crate::pricing::{Catalogue, Endpoint, Terms};
use crate::registry::Callers;
use crate::relay::{Gathered, RequestHeaderFilter, discard, filter_answer, gather};
use crate::routing::{Named, Route, named};
use crate::telemetry::Origin;
use crate::upstream::{
    Authority, Exchange, Failed, Pool, RequestBody, Target, UpstreamError, Wanted,
};

/// Serves the calls of one worker.
pub struct Service {
    pub(super) gates: Arc<Gates>,
    pool: Arc<Pool>,
    signer: Signer,
}

/// A call that may be made: its caller is known, and the policies allow it.
struct Judged<'a> {
    call: OpenCall,
    grants: &'a Grants,
    client: IpAddr,
    /// The role that signs it, where the proxy's own credentials do not.
    role: Option<Wanted>,
    method: http::Method,
    headers: HeaderMap,
    target: &'a Target,
    /// As it travels upstream, its query apart.
    path: &'a str,
    query: Option<&'a str>,
    gathered: Gathered,
    begun: Instant,
}

/// What is known of a call when it is sent.
struct Admission<'a> {
    call: OpenCall,
    /// The role that signs it, where the proxy's own credentials do not.
    role: Option<Wanted>,
    /// The prices in force when the call was admitted.
    catalogue: Arc<Catalogue>,
    method: http::Method,
    /// As the client sent them.
    headers: HeaderMap,
    filter: &'a RequestHeaderFilter,
    target: &'a Target,
    uri: PathAndQuery,
    gathered: Gathered,
    holds: Holds,
    origin: Option<Box<Origin>>,
    begun: Instant,
}

impl Service {
    /// The service of one worker, with connections of its own.
    pub fn new(gates: Arc<Gates>, pool: Pool) -> Self {
        Self {
            gates,
            pool: Arc::new(pool),
            signer: Signer::default(),
        }
    }

    /// The worker's connections, for pruning.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Answers one request: with Bedrock's answer, or with a refusal in Bedrock's shape.
    pub async fn call(&self, peer: &Peer, request: Request<Incoming>) -> Response<AnswerBody> {
        let call_id = CallId::generate(self.gates.clock.now());
        // Boxed: hyper moves the future that it is given, and keeps room for it as long as the
        // connection lives, though a call needs its own only until the head of its answer.
        match Box::pin(self.relay(call_id, peer, request)).await {
            Ok(response) => response,
            Err(refusal) => self.refuse(call_id, &refusal).map(AnswerBody::own),
        }
    }

    /// Counts a refusal and speaks it.
    pub(super) fn refuse(&self, call_id: CallId, refusal: &Refusal) -> Response<Bytes> {
        let kind = refusal.kind.row().name;
        let reason = refusal.reason.unwrap_or(kind);
        self.gates.metrics.refused(refusal.tenant.as_ref(), reason);
        let wait = refusal.retry_after.map(|wait| wait.as_millis());
        let retry_after_ms = wait.and_then(|wait| u64::try_from(wait).ok());
        let tenant = refusal.tenant.as_ref().map(TenantId::as_str);
        tracing::info!(event = "refused", %call_id, tenant, kind, reason, retry_after_ms, "call refused");
        refusal.respond(call_id)
    }

    async fn relay(
        &self,
        call_id: CallId,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let gates = &*self.gates;
        let world = gates.world.load_full();
        let callers = gates.callers.load_full();
        let (head, body) = request.into_parts();
        let request::Parts {
            method,
            uri,
            headers,
            ..
        } = head;

        let now = gates.clock.now();
        let outside = outside(&world, peer, &headers, shown_token(&headers), now).await;
        let head = Head {
            client: client_address(peer.address, &headers, &world.trusted_proxies),
            method: method.as_str(),
            uri: &uri,
            headers: &headers,
            outside: &outside,
            now,
        };
        let checked = check_head(&world, &callers, &method, &uri, head);
        let Checked {
            route,
            region,
            target,
            caller,
        } = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                // A client that still sends would meet a reset instead of the answer.
                discard(body, &gates.bodies).await;
                return Err(refusal);
            }
        };
        let as_it_came = !metadata::changes_body(&world.request_metadata, route.operation);
        let hashed = gates.credentials.signs() && as_it_came || caller.needs_hash();
        let gathered = gather(body, &gates.bodies, hashed).await;
        let gathered = gathered.map_err(|error| Refusal::from(&error))?;
        let _buffered = gates.metrics.buffered(gathered.length);
        let begun = Instant::now();
        let proof = self.prove(&world, caller, &head, || gathered.sha256())?;
        let facts = request_facts(route.operation, &headers, &gathered.pieces);
        let principal = identify(&world, &callers, proof, &head, &route, &facts)?;
        let named = named_where_judged(&world, &principal, &route, &headers, &gathered);
        let model = route.model_id.as_deref().or(named.model.as_deref());
        let model = model.map(|id| resolve_model(&world, id));
        let operation = route.operation;
        let called = Called {
            operation,
            model: model.as_ref(),
            region,
            named: &named,
        };
        self.judge(&world, &principal, &head, &called).await?;
        let ownership = Ownership::of_call(gates, &world, &principal, operation, head.now);
        let role = role_of(&world, &principal)?;
        let grants = principal.grants.clone();
        let call = open_call(
            call_id,
            gates.clock.now(),
            principal,
            &route,
            model,
            region.clone(),
            &headers,
            facts,
            &gathered,
        );
        let judged = Judged {
            call,
            grants: &grants,
            client: head.client,
            role,
            method,
            headers,
            target,
            path: route.upstream_path,
            query: uri.query(),
            gathered,
            begun,
        };
        let admission = self.admit(&world, judged).await?;
        let response = self.exchange(admission).await?;
        match ownership {
            Some(ownership) => ownership.show(response).await,
            None => Ok(response),
        }
    }

    /// Takes what a call needs that may be made, and writes into it what is to be written.
    async fn admit<'a>(
        &self,
        world: &'a World,
        judged: Judged<'a>,
    ) -> Result<Admission<'a>, Refusal> {
        let Judged {
            mut call,
            grants,
            client,
            role,
            method,
            mut headers,
            target,
            path,
            query,
            mut gathered,
            begun,
        } = judged;
        check_price(world, &call)?;
        let origin = self.origin(world, &headers, client, target);
        if !world.request_metadata.is_empty() {
            // What the client's `connection` names goes first: it must not take our stamp along.
            headers = world.request_headers.passing(&headers);
            metadata::stamp(&world.request_metadata, &call, &mut headers, &mut gathered)?;
        }
        let asking = Asking::new(grants, client, &gathered.pieces, begun);
        let holds = self.take_holds(world, &asking, &mut call).await?;
        downgrade::write_tier(&call, &mut headers, &mut gathered);
        let uri = upstream_uri(target, &downgrade::path(&call, path), query)?;
        Ok(Admission {
            call,
            role,
            catalogue: Arc::clone(&world.catalogue),
            method,
            headers,
            filter: &world.request_headers,
            target,
            uri,
            gathered,
            holds,
            origin,
            begun,
        })
    }

    /// The proof of a caller whose body is here.
    pub(super) fn prove(
        &self,
        world: &World,
        caller: Caller<'_>,
        head: &Head<'_>,
        body_sha256: impl FnOnce() -> [u8; 32],
    ) -> Result<Option<Proof>, Refusal> {
        let valid = world.identity.refuses_replays();
        let signature = valid.and_then(|_| caller.signature());
        let signature = signature.map(str::to_owned);
        let proof = world.identity.prove(caller, head, body_sha256);
        let proof = proof.map_err(|error| Refusal::from(&error))?;
        // Only what holds is remembered: others could fill the memory with junk.
        if let (Some(valid), Some(signature), Some(proof)) = (valid, signature, &proof)
            && !self.gates.replays.is_new(&signature, head.now, valid)
        {
            let tenant = proof.tenant.clone();
            return Err(Refusal::from(&IdentityError::Replayed { tenant }));
        }
        Ok(proof)
    }

    /// Where the call comes from, while somebody asks for it.
    fn origin(
        &self,
        world: &World,
        headers: &HeaderMap,
        client: IpAddr,
        target: &Target,
    ) -> Option<Box<Origin>> {
        self.gates.keeps_origin.then(|| {
            let client = world.identity.kept_address(client);
            Origin::of(headers, client, target.address())
        })
    }

    /// What makes Bedrock take the call. Where a role is to sign, nothing else does.
    async fn authority(&self, role: Option<Wanted>) -> Result<Authority, Refusal> {
        let gates = &*self.gates;
        let now = gates.clock.now();
        let Some(role) = role else {
            let authority = gates.credentials.wait(now).await;
            return authority.ok_or_else(no_credentials);
        };
        let authority = gates.role_sessions.wait(role, now).await;
        authority.map_err(|error| Refusal::from(&error))
    }

    /// Sends the call, and answers with the head that comes back.
    async fn exchange(&self, admission: Admission<'_>) -> Result<Response<AnswerBody>, Refusal> {
        let Admission {
            mut call,
            role,
            catalogue,
            method,
            headers,
            filter,
            target,
            uri,
            mut gathered,
            holds,
            origin,
            begun,
        } = admission;
        let Holds {
            limits,
            reservation,
            permit,
        } = holds;
        let gates = &*self.gates;
        let tenant = call.tenant.clone();
        let call_id = call.call_id;
        let authority = self.authority(role).await;
        let authority = authority.map_err(|refusal| refusal.of(&tenant))?;
        let outgoing = Outgoing {
            method,
            headers,
            filter,
            region: call.region.clone(),
            target,
            uri,
            sha256: match authority {
                Authority::SigV4(_) => hex(&gathered.sha256()),
                Authority::Bearer(_) => String::new(),
            },
        };
        let skew_ms = gates.skew_ms.load(Ordering::Relaxed);
        let signed = self.sign(&outgoing, &authority, skew_ms, gathered.pieces.clone());

        let exchange = match self.connect(target, signed).await {
            Ok(exchange) => exchange,
            Err(error) => {
                settle_unsent(call, catalogue, permit, Outcome::Unreachable, origin, begun);
                return Err(Refusal::from(&error).of(&tenant));
            }
        };
        call.reserved = reservation.as_ref().map(Reservation::amount);
        let said = Said {
            call_id,
            remaining: reservation.as_ref().and_then(|held| held.remaining),
            downgraded_from: call.downgraded_from.clone(),
        };
        let ticket = gates.open_calls.append(&call).map_err(|error| {
            tracing::error!(event = "open_call_not_written", %call_id, %error, "ledger");
            let detail = "the open-calls log cannot be written";
            Refusal::new(RefusalKind::LedgerUnavailable, detail).of(&tenant)
        })?;
        let mut meter = Meter::choose(call.operation, call.model.as_ref());
        meter.request(&gathered.pieces);
        let mark = gates.open_set.mark(&call, gates.metrics.in_flight());
        let overhead = begun.elapsed();
        let resend = Resend {
            outgoing,
            authority,
            skew_ms,
        };
        let live = Live::new(
            exchange,
            Admitted {
                call,
                meter,
                catalogue,
                ticket,
                limits,
                permit,
                mark,
                origin,
                begun,
                overhead,
                held: reservation.and_then(Reservation::sent),
            },
        );
        let mut guard = Guard::new(live, Arc::clone(&gates.drains));

        let parts = self.head(&mut guard, &resend, &gathered).await;
        gathered.release();
        match parts {
            Ok(parts) => Ok(answer(guard, parts, &said)),
            Err(failed) => {
                if let Some(mut live) = guard.release() {
                    live.failed(&failed);
                }
                Err(Refusal::from(&failed.error).of(&tenant))
            }
        }
    }

    /// Waits for the head. The call is sent again only where that cannot make Bedrock serve it
    /// twice: nothing was written, or Bedrock refused it for its clock.
    async fn head(
        &self,
        guard: &mut Guard,
        resend: &Resend<'_>,
        gathered: &Gathered,
    ) -> Result<response::Parts, Failed> {
        let mut fresh_connections_left = FRESH_CONNECTIONS_MAX;
        let mut clock_corrected = false;
        loop {
            let head = poll_fn(|cx| match guard.live() {
                Some(live) => live.poll_head(cx),
                None => std::task::Poll::Pending,
            });
            let again = match head.await {
                Ok(parts) if !clock_corrected && self.corrects_clock(&parts, resend) => {
                    clock_corrected = true;
                    self.resign(resend, gathered)
                }
                Ok(parts) => return Ok(parts),
                Err(Failed {
                    error,
                    unsent: Some(request),
                }) if fresh_connections_left > 0 => {
                    tracing::debug!(%error, "a pooled connection was closed; sending on another");
                    fresh_connections_left -= 1;
                    *request
                }
                Err(failed) => return Err(failed),
            };
            if let Some(live) = guard.live() {
                live.withdraw();
            }
            let exchange = Box::pin(self.connect(resend.outgoing.target, again)).await;
            let exchange = exchange.map_err(|error| Failed {
                error,
                unsent: None,
            })?;
            if let Some(live) = guard.live() {
                live.replace_exchange(exchange);
            }
        }
    }

    /// A key has no time. The skew is compared with the one that the refused call was signed
    /// with: others may have learned more since.
    fn corrects_clock(&self, parts: &response::Parts, resend: &Resend<'_>) -> bool {
        if parts.status.is_success() || matches!(resend.authority, Authority::Bearer(_)) {
            return false;
        }
        let skew = skew::of_refusal(parts, self.gates.clock.now(), resend.skew_ms);
        if let Some(skew_ms) = skew {
            tracing::warn!(
                event = "clock_skew",
                skew_ms,
                "Bedrock's clock differs from ours"
            );
            self.gates.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
        skew.is_some()
    }

    fn resign(&self, resend: &Resend<'_>, gathered: &Gathered) -> Request<RequestBody> {
        let Resend {
            outgoing,
            authority,
            skew_ms: _,
        } = resend;
        let skew_ms = self.gates.skew_ms.load(Ordering::Relaxed);
        self.sign(outgoing, authority, skew_ms, gathered.pieces.clone())
    }

    fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        authority: &Authority,
        skew_ms: i64,
        pieces: Vec<Bytes>,
    ) -> Request<RequestBody> {
        let Outgoing {
            method,
            headers,
            filter,
            region,
            target,
            uri,
            sha256,
        } = outgoing;
        let now = Timestamp::from_unix_ms(self.gates.clock.now().unix_ms().saturating_add(skew_ms));
        let signable = Signable {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            host: target.host.to_str().unwrap_or_default(),
            body_sha256: sha256,
        };
        let scope = Scope {
            region: region.as_str(),
            service: SIGNING_NAME,
        };
        let mut headers = filter.passing(headers);
        headers.insert(header::HOST, target.host.clone());
        match authority {
            Authority::SigV4(credentials) => {
                self.signer
                    .sign(signable, &mut headers, scope, credentials, now);
            }
            Authority::Bearer(key) => {
                headers.insert(header::AUTHORIZATION, key.clone());
            }
        }
        let mut request = Request::new(RequestBody::gathered(pieces));
        *request.method_mut() = method.clone();
        *request.uri_mut() = Uri::from(uri.clone());
        *request.headers_mut() = headers;
        request
    }

    async fn connect(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Exchange, UpstreamError> {
        Exchange::begin(&self.pool, target, request, self.gates.patience).await
    }
}

/// A call that was not sent has an entry that says so; nothing was used.
pub(super) fn settle_unsent(
    call: OpenCall,
    catalogue: Arc<Catalogue>,
    permit: Permit,
    outcome: Outcome,
    origin: Option<Box<Origin>>,
    begun: Instant,
) {
    let times = CallTimes {
        duration: begun.elapsed(),
        ..CallTimes::default()
    };
    permit.send(Settlement {
        call,
        ticket: None,
        catalogue,
        outcome,
        answer: Answer::default(),
        reading: Reading::reported(Usage::none(), ""),
        times,
        origin,
        held: None,
    });
}

/// A request on its way out, unsigned.
struct Outgoing<'a> {
    method: http::Method,
    /// As the client sent them.
    headers: HeaderMap,
    filter: &'a RequestHeaderFilter,
    region: Region,
    target: &'a Target,
    uri: PathAndQuery,
    sha256: String,
}

/// What it takes to sign a call again.
struct Resend<'a> {
    outgoing: Outgoing<'a>,
    authority: Authority,
    /// The clock skew it was signed with.
    skew_ms: i64,
}

/// What the answer says of the call beside Bedrock's own words.
struct Said {
    call_id: CallId,
    /// What the tightest budget has left.
    remaining: Option<Usd>,
    /// What the client had asked for, where a budget made it something cheaper.
    downgraded_from: Option<Arc<str>>,
}

impl Said {
    fn write(&self, headers: &mut HeaderMap) {
        let mut say = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        say(CALL_ID, &self.call_id.to_string());
        if let Some(remaining) = self.remaining {
            say(BUDGET_REMAINING, &remaining.to_string());
        }
        if let Some(from) = &self.downgraded_from {
            say(DOWNGRADED_FROM, from);
        }
    }
}

/// Bedrock's answer, its body metered on the way.
fn answer(mut guard: Guard, mut parts: response::Parts, said: &Said) -> Response<AnswerBody> {
    if let Some(live) = guard.live() {
        live.head(parts.status.as_u16(), &parts.headers);
    }
    filter_answer(&mut parts.headers);
    said.write(&mut parts.headers);
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, AnswerBody::relayed(guard, length))
}

/// What a request names, where somebody judges it: most requests need not be looked through.
fn named_where_judged(
    world: &World,
    principal: &Principal,
    route: &Route<'_>,
    headers: &HeaderMap,
    gathered: &Gathered,
) -> Named {
    let mut policies = principal.grants.policies();
    let is_judged = world.identity.shared_resources(principal).is_some()
        || policies.any(|policy| policy.require_guardrail.is_some())
        || route.operation == Operation::StartAsyncInvoke;
    if is_judged {
        named(route, headers, &gathered.pieces)
    } else {
        Named::default()
    }
}

/// Path and query as they will stand on the wire, and so are signed.
fn upstream_uri(target: &Target, path: &str, query: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let base = &*target.base_path;
    let uri = match query {
        Some(query) => [base, path, "?", query].concat(),
        None => [base, path].concat(),
    };
    PathAndQuery::try_from(uri)
        .map_err(|_uri| Refusal::new(RefusalKind::MalformedPath, "the path cannot be sent on"))
}

pub(super) fn resolve_model(world: &World, asked: &str) -> ModelRef {
    let parsed = parse_model_ref(asked);
    let meant = world.catalogue.substitute(&parsed);
    ModelRef {
        asked: Arc::clone(&parsed.asked),
        ..meant.clone()
    }
}

/// The role that signs, where key, tenant or settings name one.
fn role_of(world: &World, principal: &Principal) -> Result<Option<Wanted>, Refusal> {
    let Principal {
        tenant,
        application,
        grants,
        ..
    } = principal;
    let own = grants.policies().find_map(|one| one.role_arn.as_deref());
    let role = world.roles.of(own, tenant, application);
    role.map_err(|error| Refusal::from(&error).of(tenant))
}

fn identify(
    world: &World,
    callers: &Callers,
    proof: Option<Proof>,
    head: &Head<'_>,
    route: &Route<'_>,
    facts: &RequestFacts,
) -> Result<Principal, Refusal> {
    let claims = Claims {
        metadata: &facts.metadata,
        body_user_id: facts.user_id.as_deref(),
    };
    if let Some(key) = proof.as_ref().and_then(|proof| proof.key.as_ref()) {
        key.used(head.now);
    }
    world
        .identity
        .identify(proof, head, &route.base, &claims, callers)
        .map_err(|error| Refusal::from(&error))
}

#[expect(
    clippy::too_many_arguments,
    reason = "gathers what the steps before have found"
)]
fn open_call(
    call_id: CallId,
    opened_at: Timestamp,
    principal: Principal,
    route: &Route<'_>,
    model: Option<ModelRef>,
    region: Region,
    headers: &HeaderMap,
    facts: RequestFacts,
    gathered: &Gathered,
) -> OpenCall {
    let Principal {
        tenant,
        application,
        user,
        session,
        contradicted: _,
        proven_by: _,
        grants,
    } = principal;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    OpenCall {
        call_id,
        opened_at,
        tenant,
        application,
        user,
        session,
        operation: route.operation,
        model,
        region,
        tier_asked: facts.tier,
        request_bytes: gathered.length as u64,
        sdk_invocation_id: text(SDK_INVOCATION_ID)
            .filter(|id| id.len() <= 64)
            .map(Into::into),
        sdk_attempt: sdk_attempt(text(SDK_REQUEST), text(RETRY_COUNT)),
        key: grants.key.map(|key| key.id.to_string().into()),
        reserved: None,
        downgraded_from: None,
    }
}

/// The attempt, from `attempt=2; max=3` (AWS SDKs) or a retry count from 0 (Anthropic, OpenAI).
fn sdk_attempt(amz_sdk_request: Option<&str>, retry_count: Option<&str>) -> Option<u16> {
    let attempt = amz_sdk_request.and_then(|value| {
        value
            .split(';')
            .find_map(|part| part.trim().strip_prefix("attempt=")?.parse().ok())
    });
    attempt.or_else(|| retry_count?.parse::<u16>().ok()?.checked_add(1))
}

/// Refuses a model without a price, where the settings say so.
fn check_price(world: &World, call: &OpenCall) -> Result<(), Refusal> {
    if world.price_unknown != PriceUnknown::Refuse || call.operation.is_free() {
        return Ok(());
    }
    let Some(model) = &call.model else {
        return Ok(());
    };
    let terms = Terms {
        model,
        region: &call.region,
        tier: call.tier_asked.as_ref().unwrap_or(&ServiceTier::Standard),
        latency: Latency::Standard,
        endpoint: Endpoint::Runtime,
        at: call.opened_at,
    };
    let one_token = Usage::from_iter([(Dimension::InputTokens, 1)]);
    match world.catalogue.charge(&terms, &one_token).status {
        PriceStatus::Unpriced(reason) => {
            let detail = format!("model {} has no price here: {reason}", model.label());
            Err(Refusal::new(RefusalKind::PriceUnknown, detail).of(&call.tenant))
        }
        PriceStatus::Priced | PriceStatus::Allocated => Ok(()),
    }
}

fn no_credentials() -> Refusal {
    Refusal::new(
        RefusalKind::NoCredentials,
        "the proxy has no valid AWS credentials",
    )
}

/// The signing name of bedrock-runtime and of the control plane.
const SIGNING_NAME: &str = "bedrock";
/// A pool can hold several connections that Bedrock has closed meanwhile.
const FRESH_CONNECTIONS_MAX: u32 = 3;
const SDK_INVOCATION_ID: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");
const SDK_REQUEST: HeaderName = HeaderName::from_static("amz-sdk-request");
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
