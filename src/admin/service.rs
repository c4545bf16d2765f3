//! Paths to pages. Every answer but the metrics and the page at `/` is JSON.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::Settings;
use super::access::{Access, Door};
use super::pages::{PageError, Pages, State};
use super::shell::File;
use crate::domain::CallId;

/// What is served here, for programs: `OpenAPI` 3.1.
const DOCUMENT: &[u8] = include_bytes!("openapi.json");

pub(super) type Answer = Response<Full<Bytes>>;

/// The admin service: who may see which page, and the pages.
#[derive(Clone)]
pub struct Admin {
    access: Access,
    pages: Arc<dyn Pages>,
}

/// A page by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    Health,
    Readiness,
    Metrics,
    Report(String),
    Call(String),
    Live,
    Document,
    Shell(File),
    Unknown,
}

impl Page {
    fn of(path: &str, query: &str) -> Self {
        match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            "/metrics" => Self::Metrics,
            "/api/v1/report" => Self::Report(query.to_owned()),
            "/api/v1/live" => Self::Live,
            "/api/v1/openapi.json" => Self::Document,
            _ => match path.strip_prefix("/api/v1/calls/") {
                Some(id) => Self::Call(id.to_owned()),
                None => File::of(path).map_or(Self::Unknown, Self::Shell),
            },
        }
    }

    const fn door(&self) -> Door {
        match self {
            Self::Health | Self::Readiness | Self::Document | Self::Shell(_) => Door::Open,
            Self::Metrics => Door::Metrics,
            Self::Report(_) | Self::Call(_) | Self::Live | Self::Unknown => Door::Admin,
        }
    }
}

impl Admin {
    /// The service for a listener at that address.
    pub fn new(settings: &Settings, listening: IpAddr, pages: Arc<dyn Pages>) -> Self {
        Self {
            access: Access::new(settings, listening),
            pages,
        }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer {
        let uri = request.uri();
        let page = Page::of(uri.path(), uri.query().unwrap_or_default());
        if !self.access.allows(page.door(), request.headers()) {
            return unauthorized();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return method_not_allowed();
        }
        match page {
            Page::Health => json_answer(StatusCode::OK, &json!({ "status": "ok" })),
            Page::Readiness => self.readiness(),
            Page::Shell(file) => file.answer(),
            Page::Document => json_bytes(DOCUMENT),
            Page::Unknown => error(StatusCode::NOT_FOUND, "there is no such page"),
            Page::Metrics | Page::Report(_) | Page::Call(_) | Page::Live => self.read(page).await,
        }
    }

    fn readiness(&self) -> Answer {
        let checks = self.pages.readiness();
        let ready = checks.iter().all(|check| check.state != State::Blocking);
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json_answer(status, &json!({ "ready": ready, "checks": checks }))
    }

    /// A page that may wait for files: read on a blocking thread.
    async fn read(&self, page: Page) -> Answer {
        let pages = Arc::clone(&self.pages);
        let reading = tokio::task::spawn_blocking(move || show(&*pages, page));
        match reading.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause)) => refusal(&cause),
            Err(_panic) => error(StatusCode::INTERNAL_SERVER_ERROR, "the page failed"),
        }
    }
}

fn show(pages: &dyn Pages, page: Page) -> Result<Answer, PageError> {
    match page {
        Page::Metrics => {
            let text = "text/plain; version=0.0.4; charset=utf-8";
            Ok(with_type(StatusCode::OK, text, pages.metrics()?.into()))
        }
        Page::Report(query) => Ok(json_bytes(pages.report(&query)?)),
        Page::Call(id) => {
            let wrong = |_cause| PageError::BadQuestion(format!("not a call id: {id}"));
            Ok(json_bytes(
                pages.call(id.parse::<CallId>().map_err(wrong)?)?,
            ))
        }
        Page::Live => Ok(json_bytes(pages.live()?)),
        Page::Health | Page::Readiness | Page::Document | Page::Shell(_) | Page::Unknown => Err(
            PageError::NotFound("this page is not read from files".to_owned()),
        ),
    }
}

fn refusal(cause: &PageError) -> Answer {
    let status = match cause {
        PageError::NotFound(_) => StatusCode::NOT_FOUND,
        PageError::BadQuestion(_) => StatusCode::BAD_REQUEST,
        PageError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &cause.to_string())
}

fn unauthorized() -> Answer {
    let mut answer = error(
        StatusCode::UNAUTHORIZED,
        "this page needs the admin token (or, where none is configured, an address or localhost as Host)",
    );
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn method_not_allowed() -> Answer {
    let mut answer = error(
        StatusCode::METHOD_NOT_ALLOWED,
        "only GET and HEAD are served here",
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

fn error(status: StatusCode, message: &str) -> Answer {
    json_answer(status, &json!({ "error": message }))
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Answer {
    with_type(status, "application/json", value.to_string().into())
}

fn json_bytes(bytes: impl Into<Bytes>) -> Answer {
    with_type(StatusCode::OK, "application/json", bytes.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
