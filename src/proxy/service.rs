//! One call, top to bottom.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, header, request, response};
use hyper::body::Incoming;

use super::answer::{AnswerBody, Guard};
use super::check::{Checked, check_head, outside};
use super::downgrade;
use super::holds::{Asking, Holds};
use super::jobs::Ownership;
use super::judge::Called;
use super::live::{Admitted, Live};
use super::metadata;
use super::opening::{check_price, identify, open_call, resolve_model, role_of};
use super::refusal::{Refusal, RefusalKind};
use super::said::Said;
use super::send::{Outgoing, Resend, upstream_uri};
use super::settle::{Answer, CallTimes, Permit, Settlement};
use super::world::{Gates, World};
use crate::aws::{Signer, hex};
use crate::budgets::Reservation;
use crate::domain::{CallId, Operation, Outcome, Reading, TenantId, Usage};
use crate::identity::{
    Caller, Grants, Head, IdentityError, Peer, Principal, Proof, client_address, shown_token,
};
use crate::ledger::OpenCall;
use crate::meters::{Meter, request_facts};
use crate::pricing::Catalogue;
use crate::relay::{Gathered, RequestHeaderFilter, discard, filter_answer, gather};
use crate::routing::{Named, Route, named};
use crate::telemetry::Origin;
use crate::upstream::{Authority, Pool, Target, Wanted};

/// Serves the calls of one worker.
pub struct Service {
    pub(super) gates: Arc<Gates>,
    pub(super) pool: Arc<Pool>,
    pub(super) signer: Signer,
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
        let holding = reservation.as_ref().filter(|held| !held.is_empty());
        call.reserved = holding.map(Reservation::amount);
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
