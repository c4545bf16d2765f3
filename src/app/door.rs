//! What every request passes before it is a call: the health check, and a head that can be read in
//! one way only.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use crate::domain::CallId;
use crate::identity::Peer;
use crate::proxy::{AnswerBody, Gates, OWN_PATHS, Refusal, Service};
use crate::relay::{HeadError, check_head, discard};

/// The way in to the service of one worker.
pub(super) struct Door {
    service: Service,
    gates: Arc<Gates>,
}

impl Door {
    pub(super) const fn new(service: Service, gates: Arc<Gates>) -> Self {
        Self { service, gates }
    }

    /// The service behind it.
    pub(super) const fn service(&self) -> &Service {
        &self.service
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        if request.uri().path() == "/healthz" && request.method() == Method::GET {
            let mut response = Response::new(AnswerBody::Own(Some(Bytes::from_static(b"ok\n"))));
            *response.status_mut() = StatusCode::OK;
            return response;
        }
        let checked = check_head(
            request.version(),
            request.method(),
            request.uri(),
            request.headers(),
        );
        match checked {
            Ok(()) if request.uri().path().starts_with(OWN_PATHS) => {
                self.service.own(peer, &request).await
            }
            Ok(()) => self.service.call(peer, request).await,
            Err(error) => self.refuse(error, request).await,
        }
    }

    /// Nothing more is read from a connection whose sender and we may disagree where requests end.
    async fn refuse(&self, error: HeadError, request: Request<Incoming>) -> Response<AnswerBody> {
        let Gates {
            metrics,
            clock,
            bodies,
            ..
        } = &*self.gates;
        let call_id = CallId::generate(clock.now());
        let refusal = Refusal::from(error);
        let kind = refusal.kind.row().name;
        metrics.refused(None, kind);
        tracing::info!(event = "refused", %call_id, kind, %error, "call refused");
        let version = request.version();
        discard(request.into_body(), bodies).await;
        let mut response = refusal.respond(call_id);
        if version < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response.map(|bytes| AnswerBody::Own(Some(bytes)))
    }
}
