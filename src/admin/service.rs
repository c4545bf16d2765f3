//! Paths to pages. Every answer but the metrics and the page at `/` is JSON.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::json;

use super::Settings;
use super::access::Access;
use super::body;
use super::office::Ask;
use super::pages::{PageError, Pages, State, View};
use super::place::Place;
use super::role::{Login, Reach, Right};
use super::shell::File;
use crate::domain::{CallId, Keyword as _};

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
    Budgets,
    Registry(Place, String),
    Document,
    Shell(File),
    Unknown,
}

impl Page {
    fn of(path: &str, query: &str) -> Self {
        match path {
            "/healthz" => return Self::Health,
            "/readyz" => return Self::Readiness,
            "/metrics" => return Self::Metrics,
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/api/v1/") else {
            return File::of(path).map_or(Self::Unknown, Self::Shell);
        };
        match rest {
            "report" => Self::Report(query.to_owned()),
            "live" => Self::Live,
            "budgets" => Self::Budgets,
            "openapi.json" => Self::Document,
            _ => match rest.strip_prefix("calls/") {
                Some(id) => Self::Call(id.to_owned()),
                None => Place::of(rest).map_or(Self::Unknown, |place| {
                    Self::Registry(place, query.to_owned())
                }),
            },
        }
    }

    /// Health, the description and the files of the page, which hold no data, need no login.
    const fn is_open(&self) -> bool {
        match self {
            Self::Health | Self::Readiness | Self::Document | Self::Shell(_) => true,
            Self::Metrics
            | Self::Report(_)
            | Self::Call(_)
            | Self::Live
            | Self::Budgets
            | Self::Registry(..)
            | Self::Unknown => false,
        }
    }

    /// What may be asked of it.
    const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Registry(place, _) => place.methods(),
            Self::Health
            | Self::Readiness
            | Self::Document
            | Self::Shell(_)
            | Self::Metrics
            | Self::Report(_)
            | Self::Call(_)
            | Self::Live
            | Self::Budgets
            | Self::Unknown => &[Method::GET, Method::HEAD],
        }
    }

    /// The right it takes; a page that is not there takes none.
    const fn right(&self, writes: bool) -> Option<Right> {
        match self {
            Self::Metrics => Some(Right::Metrics),
            Self::Report(_) => Some(Right::Report),
            Self::Call(_) => Some(Right::Call),
            Self::Live => Some(Right::Live),
            Self::Budgets => Some(Right::Budgets),
            Self::Registry(place, _) => Some(place.right(writes)),
            Self::Health | Self::Readiness | Self::Document | Self::Shell(_) | Self::Unknown => {
                None
            }
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

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let uri = request.uri();
        let page = Page::of(uri.path(), uri.query().unwrap_or_default());
        let login = if page == Page::Metrics {
            self.access.metrics(request.headers())
        } else {
            self.access.login(request.headers())
        };
        if login.is_none() && !page.is_open() {
            return unauthorized();
        }
        if !page.methods().contains(request.method()) {
            return method_not_allowed(page.methods());
        }
        match page {
            Page::Health => json_answer(StatusCode::OK, &json!({ "status": "ok" })),
            Page::Readiness => self.readiness(),
            Page::Shell(file) => file.answer(),
            Page::Document => json_bytes(DOCUMENT),
            Page::Unknown => error(StatusCode::NOT_FOUND, "there is no such page"),
            Page::Metrics
            | Page::Report(_)
            | Page::Call(_)
            | Page::Live
            | Page::Budgets
            | Page::Registry(..) => match login {
                Some(login) => self.for_login(page, login, request).await,
                None => unauthorized(),
            },
        }
    }

    /// A page that shows what its reader may see, or does what its reader may do.
    async fn for_login<B>(&self, page: Page, login: Login, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let Some(right) = page.right(writes) else {
            return error(StatusCode::NOT_FOUND, "there is no such page");
        };
        let reach = login.reach(right);
        if reach == Reach::Nothing {
            return forbidden(&login, right);
        }
        let view = View {
            tenant: login.limit(right).cloned(),
            without_people: reach == Reach::Numbers,
        };
        let Page::Registry(place, query) = page else {
            return self.blocking(move |pages| show(pages, page, &view)).await;
        };
        if writes && !body::is_json(request.headers()) {
            let why = "what changes something needs content-type: application/json";
            return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
        let body = match body::read(request.into_body()).await {
            Ok(body) => body,
            Err((status, why)) => return error(status, why),
        };
        let ask = Ask {
            login,
            place,
            writes,
            query,
            body,
        };
        self.blocking(move |pages| {
            let (status, value) = pages.office(&mut |office| ask.perform(office))?;
            Ok(json_answer(status, &value))
        })
        .await
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

    /// What may wait for files: done on a blocking thread.
    async fn blocking(
        &self,
        work: impl FnOnce(&dyn Pages) -> Result<Answer, PageError> + Send + 'static,
    ) -> Answer {
        let pages = Arc::clone(&self.pages);
        match tokio::task::spawn_blocking(move || work(&*pages)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause)) => refusal(&cause),
            Err(_panic) => error(StatusCode::INTERNAL_SERVER_ERROR, "the page failed"),
        }
    }
}

fn show(pages: &dyn Pages, page: Page, view: &View) -> Result<Answer, PageError> {
    match page {
        Page::Metrics => {
            let text = "text/plain; version=0.0.4; charset=utf-8";
            Ok(with_type(StatusCode::OK, text, pages.metrics()?.into()))
        }
        Page::Report(query) => Ok(json_bytes(pages.report(&query, view)?)),
        Page::Call(id) => {
            let wrong = |_cause| PageError::BadQuestion(format!("not a call id: {id}"));
            let id = id.parse::<CallId>().map_err(wrong)?;
            Ok(json_bytes(pages.call(id, view)?))
        }
        Page::Live => Ok(json_bytes(pages.live(view)?)),
        Page::Budgets => Ok(json_bytes(pages.budgets(view)?)),
        Page::Health
        | Page::Readiness
        | Page::Document
        | Page::Shell(_)
        | Page::Registry(..)
        | Page::Unknown => Err(PageError::NotFound(
            "this page is not read from files".to_owned(),
        )),
    }
}

fn refusal(cause: &PageError) -> Answer {
    let status = match cause {
        PageError::NotFound(_) => StatusCode::NOT_FOUND,
        PageError::BadQuestion(_) => StatusCode::BAD_REQUEST,
        PageError::Forbidden(_) => StatusCode::FORBIDDEN,
        PageError::Conflict(_) => StatusCode::CONFLICT,
        PageError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &cause.to_string())
}

fn unauthorized() -> Answer {
    let mut answer = error(
        StatusCode::UNAUTHORIZED,
        "this page needs a token (or, where none is configured, an address or localhost as Host)",
    );
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn forbidden(login: &Login, right: Right) -> Answer {
    let (role, right) = (login.role.name(), right.name());
    let why = format!("the role {role} may not reach \"{right}\" (docs/admin.md has the table)");
    error(StatusCode::FORBIDDEN, &why)
}

fn method_not_allowed(allowed: &[Method]) -> Answer {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let only = format!("only {} are served here", names.join(" and "));
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &only);
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        answer.headers_mut().insert(ALLOW, value);
    }
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
