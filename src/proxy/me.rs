//! Callers about themselves: where the budgets of their calls stand, and their own calls.
//!
//! Whoever may call may ask. Nothing of another tenant is in an answer, and another's call is as
//! unknown as one that does not exist.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Response, Uri};
use serde_json::json;

use super::check::outside;
use super::own::json_answer;
use super::refusal::{Refusal, RefusalKind};
use super::service::Service;
use crate::budgets::Asker;
use crate::domain::{BasePath, CallId, Keyword as _, Subject};
use crate::identity::{
    Claims, Head, IdentityError, Means, Peer, Principal, client_address, shown_token,
};
use crate::ledger::{LedgerError, LedgerReader, StoredCall};
use crate::limits::LimitSettings;

/// Who asks.
struct Asking {
    principal: Principal,
    /// The public id of its key.
    key: Option<String>,
    application_is_proven: bool,
    user_is_proven: bool,
}

impl Service {
    /// Where the budgets of the caller's calls stand.
    pub(super) async fn me(
        &self,
        peer: &Peer,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<Bytes>, Refusal> {
        let asking = self.asking(peer, uri, headers).await?;
        let principal = &asking.principal;
        let now = self.gates.clock.now();
        let subject = Subject {
            tenant: &principal.tenant,
            application: principal.application.as_str(),
            model: None,
            key: asking.key.as_deref(),
            user: principal.user.as_deref(),
            session: principal.session.as_deref(),
        };
        let asker = Asker {
            subject,
            application_is_proven: asking.application_is_proven,
            user_is_proven: asking.user_is_proven,
        };
        let body = json!({
            "at": now.to_string(),
            "tenant": principal.tenant.as_str(),
            "application": principal.application.as_str(),
            "user": principal.user.as_deref(),
            "session": principal.session.as_deref(),
            "key": asking.key,
            "proven_by": principal.proven_by.map(Means::name),
            "budgets": self.gates.budgets.met_by(&asker, now),
            "limits": self.gates.limits.met_by(&subject).iter().map(limit_json).collect::<Vec<_>>(),
        });
        Ok(json_answer(body.to_string()))
    }

    /// One call of the caller's tenant, as `explain` shows it.
    pub(super) async fn own_call(
        &self,
        peer: &Peer,
        uri: &Uri,
        headers: &HeaderMap,
        id: &str,
    ) -> Result<Response<Bytes>, Refusal> {
        let asking = self.asking(peer, uri, headers).await?;
        let tenant = asking.principal.tenant.clone();
        let unknown = || {
            let detail = "no such call of yours";
            Refusal::new(RefusalKind::CallUnknown, detail).of(&tenant)
        };
        let id: CallId = id.parse().map_err(|_cause| unknown())?;
        let ledger = self.gates.ledger.clone();
        let of = tenant.clone();
        // Reading files is kept off the worker's thread.
        let reading =
            tokio::task::spawn_blocking(move || LedgerReader::of(&ledger)?.call_of(Some(&of), id));
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(event = "own_call_unreadable", %error, "ledger");
            let detail = "the ledger cannot be read";
            Refusal::new(RefusalKind::LedgerUnreadable, detail).of(&tenant)
        };
        let mut call = match reading.await {
            Ok(Ok(call)) => call,
            Ok(Err(LedgerError::NoSuchCall(_))) => return Err(unknown()),
            Ok(Err(error)) => return Err(unreadable(&error)),
            Err(panicked) => return Err(unreadable(&panicked)),
        };
        hide_others(&mut call, &asking);
        let body = serde_json::to_string(&call).map_err(|error| unreadable(&error))?;
        Ok(json_answer(body))
    }

    /// Whoever asks, proven as for a call; there is no body.
    async fn asking(&self, peer: &Peer, uri: &Uri, headers: &HeaderMap) -> Result<Asking, Refusal> {
        let gates = &*self.gates;
        let world = gates.world.load_full();
        let callers = gates.callers.load_full();
        let now = gates.clock.now();
        let outside = outside(&world, peer, headers, shown_token(headers), now).await;
        let head = Head {
            client: client_address(peer.address, headers, &world.trusted_proxies),
            method: "GET",
            uri,
            headers,
            outside: &outside,
            now,
        };
        let base = BasePath::default();
        let caller = world.identity.caller(head, &base, &callers);
        let caller = caller.map_err(|error| Refusal::from(&error))?;
        let nothing = || {
            let empty = digest(&SHA256, b"");
            empty.as_ref().try_into().unwrap_or_default()
        };
        let proof = self.prove(&world, caller, &head, nothing)?;
        let key = proof.as_ref().and_then(|proof| proof.key.clone());
        if let Some(key) = &key {
            key.used(now);
        }
        let application_is_proven = proof
            .as_ref()
            .is_some_and(|proof| proof.application.is_some());
        let user_is_proven = proof.as_ref().is_some_and(|proof| proof.user.is_some());
        let claims = Claims::default();
        let identified = world
            .identity
            .identify(proof, &head, &base, &claims, &callers);
        let principal = identified.map_err(|error| Refusal::from(&error))?;
        if let Some(what) = principal.grants.judge_network(head.client).refused {
            let tenant = principal.tenant;
            return Err(Refusal::from(&IdentityError::Forbidden { tenant, what }));
        }
        Ok(Asking {
            principal,
            key: key.map(|key| key.id.to_string()),
            application_is_proven,
            user_is_proven,
        })
    }
}

/// A limit as configured; how much of it is taken changes by the second.
fn limit_json(limit: &LimitSettings) -> serde_json::Value {
    let facets = limit.scope.facets.iter();
    let facets = facets.map(|(facet, pattern)| (facet.word(), pattern.as_str()));
    json!({
        "limit": limit.name,
        "scope": facets.collect::<BTreeMap<_, _>>(),
        "requests_per_minute": limit.requests_per_minute,
        "tokens_per_minute": limit.tokens_per_minute,
        "concurrent_calls": limit.concurrent_calls,
        "mode": limit.mode.name(),
        "owner": limit.owner,
    })
}

/// People of the same tenant are others too.
fn hide_others(call: &mut StoredCall, asking: &Asking) {
    let caller = &mut call.caller;
    let is_own =
        |known: &Option<String>, own: Option<&str>| known.is_some() && known.as_deref() == own;
    let principal = &asking.principal;
    let own_user = is_own(&caller.user, principal.user.as_deref());
    let own_session = is_own(&caller.session, principal.session.as_deref());
    let own_key = is_own(&caller.key, asking.key.as_deref());
    if !own_user {
        caller.user = None;
    }
    if !own_user && !own_session {
        caller.session = None;
    }
    if !own_key {
        caller.key = None;
    }
}
