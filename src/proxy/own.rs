//! What the data listener answers itself, to callers about themselves: nothing of it reaches
//! Bedrock.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use serde_json::json;

use super::answer::AnswerBody;
use super::check::outside;
use super::refusal::{Refusal, RefusalKind};
use super::service::Service;
use crate::domain::{CallId, Timestamp};
use crate::identity::{Head, Peer, client_address, shown_token};

/// Paths under here are the proxy's own.
pub const OWN_PATHS: &str = "/bedrock-meter/v1/";

impl Service {
    /// Answers a request for one of the proxy's own paths.
    pub async fn own<B>(&self, peer: &Peer, request: &Request<B>) -> Response<AnswerBody> {
        let call_id = CallId::generate(self.gates.clock.now());
        let (path, headers) = (request.uri().path(), request.headers());
        let rest = path.strip_prefix(OWN_PATHS).unwrap_or_default();
        let answered = match (request.method(), rest) {
            (&Method::GET, "credentials") => self.credentials(peer, request.uri(), headers).await,
            (&Method::GET, "me") => self.me(peer, request.uri(), headers).await,
            (&Method::GET, rest) if let Some(id) = rest.strip_prefix("calls/") => {
                self.own_call(peer, request.uri(), headers, id).await
            }
            _ => {
                let detail = "the proxy has no such path of its own";
                Err(Refusal::new(RefusalKind::UnknownOperation, detail))
            }
        };
        let answer = answered.unwrap_or_else(|refusal| self.refuse(call_id, &refusal));
        answer.map(AnswerBody::own)
    }

    /// The AWS container-credentials protocol: for another proof, such as a workload's token, a
    /// pair of one hour, which the SDK asks for again by itself.
    async fn credentials(
        &self,
        peer: &Peer,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<Bytes>, Refusal> {
        let gates = &*self.gates;
        let world = gates.world.load_full();
        let now = gates.clock.now();
        // The protocol sends the token without a scheme.
        let bare = || headers.get(AUTHORIZATION)?.to_str().ok();
        let token = shown_token(headers).or_else(bare);
        let outside = outside(&world, peer, headers, token, now).await;
        let head = Head {
            client: client_address(peer.address, headers, &world.trusted_proxies),
            method: "GET",
            uri,
            headers,
            outside: &outside,
            now,
        };
        let lives_ms = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let until = Timestamp::from_unix_ms(now.unix_ms().saturating_add(lives_ms));
        let session = world
            .identity
            .session_for(&head, &gates.callers.load(), until);
        let session = session.map_err(|error| Refusal::from(&error))?;
        let body = json!({
            "AccessKeyId": session.id.as_str(),
            "SecretAccessKey": session.secret.as_str(),
            "Token": session.token.as_str(),
            "Expiration": whole_seconds(session.expires_at),
        });
        Ok(json_answer(body.to_string()))
    }
}

/// An answer that nobody keeps.
pub(super) fn json_answer(body: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// `2026-11-22T10:00:00Z`: some SDKs read no fractions of a second.
fn whole_seconds(at: Timestamp) -> String {
    let at = Timestamp::from_unix_ms(at.unix_ms().div_euclid(1000).saturating_mul(1000));
    at.to_string().replace(".000Z", "Z")
}

/// SDKs refresh some minutes ahead of it.
const LIFETIME: Duration = Duration::from_hours(1);
