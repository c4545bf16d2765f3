//! What a request's head says, checked before anything of its body is read.

use std::time::Duration;

use http::{HeaderMap, Uri};

use super::refusal::{Refusal, RefusalKind};
use super::world::World;
use crate::aws::Plane;
use crate::domain::{Operation, Region, Timestamp};
use crate::identity::{Caller, Head, Outside, Peer, looks_like_jwt};
use crate::registry::Callers;
use crate::routing::{Route, claimed_region, route};
use crate::upstream::Target;

/// What others prove of a caller. A token that is signed with a key its issuer has only just made
/// waits for that key, shortly.
pub(super) async fn outside(
    world: &World,
    peer: &Peer,
    headers: &HeaderMap,
    token: Option<&str>,
    now: Timestamp,
) -> Outside {
    let issuers = &world.issuers;
    let token = match token.filter(|token| !issuers.is_empty() && looks_like_jwt(token)) {
        Some(token) => Some(match issuers.verify(token, now) {
            Err(refusal) if refusal.wants_keys() => {
                issuers.verify_patiently(token, now, KEYS_WAIT_MAX).await
            }
            verified => verified,
        }),
        None => None,
    };
    let certificates = &world.certificates;
    let shown = (!certificates.is_empty()).then(|| certificates.caller(peer, headers));
    Outside {
        token,
        certificate: shown.flatten(),
    }
}

/// What a request's head says, before anything of its body is read.
pub(super) struct Checked<'a, 'h> {
    pub(super) route: Route<'a>,
    pub(super) region: &'a Region,
    pub(super) target: &'a Target,
    pub(super) caller: Caller<'h>,
}

/// Routes a request, and refuses early what need not be read.
pub(super) fn check_head<'a, 'h>(
    world: &'a World,
    callers: &Callers,
    method: &http::Method,
    uri: &'a Uri,
    head: Head<'h>,
) -> Result<Checked<'a, 'h>, Refusal> {
    let route = route(method, uri.path()).map_err(|error| Refusal::from(&error))?;
    if route.operation == Operation::InvokeModelWithBidirectionalStream {
        let detail = "the bidirectional stream is not served";
        return Err(Refusal::new(RefusalKind::DuplexNotServed, detail));
    }
    if route.base.mantle {
        let detail = "Bedrock's second host (/mantle/) is not served";
        return Err(Refusal::new(RefusalKind::UnknownOperation, detail));
    }
    let caller = world.identity.caller(head, &route.base, callers);
    let caller = caller.map_err(|error| Refusal::from(&error))?;
    let (region, target) = resolve_region(world, &route, head.headers, caller.region())?;
    Ok(Checked {
        route,
        region,
        target,
        caller,
    })
}

/// The region: of the base path, of the client's signature, of its key, or the default.
fn resolve_region<'w>(
    world: &'w World,
    route: &Route<'_>,
    headers: &HeaderMap,
    of_key: Option<&Region>,
) -> Result<(&'w Region, &'w Target), Refusal> {
    let named = route.base.region.as_ref().map(Region::as_str);
    let name = named.or_else(|| claimed_region(headers));
    let name = name.or_else(|| of_key.map(Region::as_str));
    let region = match name {
        Some(name) => world.targets.region(name),
        None => Some(world.targets.default_region()),
    };
    let plane = if route.operation.is_control_plane() {
        Plane::Control
    } else {
        Plane::Runtime
    };
    let target = region.and_then(|region| Some((region, world.targets.get(plane, region)?)));
    target.ok_or_else(|| {
        let name: String = name.unwrap_or_default().chars().take(32).collect();
        Refusal::new(
            RefusalKind::RegionNotServed,
            format!("region {name:?} is not served here"),
        )
    })
}

/// How long a call waits for the keys of an issuer.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(2);
