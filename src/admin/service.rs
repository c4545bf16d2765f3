//! Paths to pages. Every answer but the metrics and the page at `/` is JSON.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::json;

use super::Settings;
use super::access::{Access, bearer};
use super::body;
use super::office::Ask;
use super::pages::{PageError, Pages, State, View};
use super::people::{self, People};
use super::place::Place;
use super::role::{Login, Reach, Right};
use super::shell::File;
use crate::domain::{CallId, Keyword as _, TenantId};

/// What is served here, for programs: `OpenAPI` 3.1.
const DOCUMENT: &[u8] = include_bytes!("openapi.json");

pub(super) type Answer = Response<Full<Bytes>>;

/// The admin service: who may see which page, and the pages.
#[derive(Clone)]
pub struct Admin {
    access: Access,
    people: Option<Arc<People>>,
    pages: Arc<dyn Pages>,
}

/// Who asks, and by what.
#[derive(Clone, Debug)]
struct Visitor {
    login: Login,
    /// What the page calls somebody who logged in at the provider.
    name: Option<String>,
    /// Whether the browser shows a cookie, which it does without being asked.
    in_session: bool,
}

/// The way in and out for browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Back,
    Out,
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
    Session,
    Shell(File),
    Way(Way),
    Unknown,
}

impl Page {
    fn of(path: &str, query: &str) -> Self {
        match path {
            "/healthz" => return Self::Health,
            "/readyz" => return Self::Readiness,
            "/metrics" => return Self::Metrics,
            "/login" => return Self::Way(Way::In),
            "/login/callback" => return Self::Way(Way::Back),
            "/logout" => return Self::Way(Way::Out),
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
            "session" => Self::Session,
            _ => match rest.strip_prefix("calls/") {
                Some(id) => Self::Call(id.to_owned()),
                None => Place::of(rest).map_or(Self::Unknown, |place| {
                    Self::Registry(place, query.to_owned())
                }),
            },
        }
    }

    /// Health, the description, the files of the page, which hold no data, and the way to a login
    /// need no login.
    const fn is_open(&self) -> bool {
        match self {
            Self::Health | Self::Readiness | Self::Document | Self::Shell(_) | Self::Way(_) => true,
            Self::Metrics
            | Self::Report(_)
            | Self::Call(_)
            | Self::Live
            | Self::Budgets
            | Self::Registry(..)
            | Self::Session
            | Self::Unknown => false,
        }
    }

    /// What may be asked of it.
    const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Registry(place, _) => place.methods(),
            // A look at the head alone would use a code up.
            Self::Way(_) => &[Method::GET],
            Self::Health
            | Self::Readiness
            | Self::Document
            | Self::Shell(_)
            | Self::Metrics
            | Self::Report(_)
            | Self::Call(_)
            | Self::Live
            | Self::Budgets
            | Self::Session
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
            Self::Health
            | Self::Readiness
            | Self::Document
            | Self::Session
            | Self::Shell(_)
            | Self::Way(_)
            | Self::Unknown => None,
        }
    }
}

impl Admin {
    /// The service for a listener at that address.
    pub fn new(settings: &Settings, listening: IpAddr, pages: Arc<dyn Pages>) -> Self {
        Self {
            access: Access::new(settings, listening),
            people: None,
            pages,
        }
    }

    /// The same, where people log in.
    #[must_use]
    pub fn with_people(self, people: Option<People>) -> Self {
        let people = people.map(Arc::new);
        Self { people, ..self }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default().to_owned();
        let page = Page::of(uri.path(), &query);
        let visitor = if page.is_open() {
            None
        } else {
            self.visitor(&page, request.headers()).await
        };
        if visitor.is_none() && !page.is_open() {
            return self.unauthorized();
        }
        if !page.methods().contains(request.method()) {
            return method_not_allowed(page.methods());
        }
        match page {
            Page::Health => json_answer(StatusCode::OK, &json!({ "status": "ok" })),
            Page::Readiness => self.readiness(),
            Page::Shell(file) => self.shell(file, &query, request.headers()),
            Page::Way(way) => self.way(way, &query, request.headers()).await,
            Page::Document => json_bytes(DOCUMENT),
            Page::Unknown => error(StatusCode::NOT_FOUND, "there is no such page"),
            Page::Metrics
            | Page::Report(_)
            | Page::Call(_)
            | Page::Live
            | Page::Budgets
            | Page::Session
            | Page::Registry(..) => match visitor {
                Some(visitor) if page == Page::Session => session(&visitor),
                Some(visitor) => self.for_visitor(page, visitor, request).await,
                None => self.unauthorized(),
            },
        }
    }

    /// A token of the configuration first, which takes no more than a comparison; then the
    /// provider's token, or a session.
    async fn visitor(&self, page: &Page, headers: &HeaderMap) -> Option<Visitor> {
        let login = if *page == Page::Metrics {
            self.access.metrics(headers)
        } else {
            self.access.login(headers)
        };
        if let Some(login) = login {
            return Some(Visitor {
                login,
                name: None,
                in_session: false,
            });
        }
        let people = self.people.as_ref()?;
        let (person, in_session) = if let Some(person) = people.in_session(headers) {
            (person, true)
        } else {
            let token = str::from_utf8(bearer(headers)).ok()?;
            (people.with_token(token).await?, false)
        };
        Some(Visitor {
            login: person.login,
            name: Some(person.name),
            in_session,
        })
    }

    /// The page itself sends people to the provider; `/?token` is for those who have a token.
    fn shell(&self, file: File, query: &str, headers: &HeaderMap) -> Answer {
        match &self.people {
            Some(people) if file == File::Html && query != "token" => {
                match people.in_session(headers) {
                    Some(_person) => file.answer(),
                    None => people::go("/login"),
                }
            }
            Some(_) | None => file.answer(),
        }
    }

    async fn way(&self, way: Way, query: &str, headers: &HeaderMap) -> Answer {
        let Some(people) = &self.people else {
            let why = "nobody logs in here: [admin.login] is not configured";
            return error(StatusCode::NOT_FOUND, why);
        };
        match way {
            Way::In => people.begin(headers).await,
            Way::Back => people.finish(query, headers).await,
            Way::Out => people.leave(),
        }
    }

    /// A page that shows what its reader may see, or does what its reader may do.
    async fn for_visitor<B>(&self, page: Page, visitor: Visitor, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let login = visitor.login;
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
        let own_page = |people: &Arc<People>| people.is_own_page(request.headers());
        if writes && visitor.in_session && !self.people.as_ref().is_some_and(own_page) {
            let why = "a session changes something only from this listener's own page (`origin`)";
            return error(StatusCode::FORBIDDEN, why);
        }
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

    /// Who may log in is told where.
    fn unauthorized(&self) -> Answer {
        let why = "this page needs a token (or, where none is configured, an address or localhost \
                   as Host)";
        let value = match self.people {
            Some(_) => json!({ "error": "this page needs a login or a token", "login": "/login" }),
            None => json!({ "error": why }),
        };
        let mut answer = json_answer(StatusCode::UNAUTHORIZED, &value);
        let bearer = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        answer
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
        | Page::Session
        | Page::Shell(_)
        | Page::Way(_)
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

/// Who is here, and how to leave.
fn session(visitor: &Visitor) -> Answer {
    let login = &visitor.login;
    let value = json!({
        "actor": login.actor,
        "name": visitor.name,
        "role": login.role.name(),
        "tenant": login.tenant.as_ref().map(TenantId::as_str),
        "logout": visitor.in_session.then_some("/logout"),
    });
    json_answer(StatusCode::OK, &value)
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
