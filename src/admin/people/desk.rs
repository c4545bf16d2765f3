//! The desk where people are let in: the login's three paths, and who shows a session or a token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, SET_COOKIE};
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::LoginSettings;
use super::cookie::Cookie;
use super::person::{NotLetIn, Person, Session};
use super::provider::{Provider, ProviderError, Question};
use super::screen::{go, screen};
use super::seal::Seal;
use super::used::Used;
use crate::admin::service::Answer;
use crate::domain::{Clock, Keyword as _, Secret, Timestamp};
use crate::identity::{KeyRing, SoleIssuer, TokenClaims, TokenRefusal, looks_like_jwt};
use crate::telemetry::Metrics;
use crate::upstream::{self, Web};

/// What logins of people are made of.
pub struct PeopleParts<'a> {
    /// `[admin.login]`
    pub settings: &'a LoginSettings,
    /// Where the admin listener listens.
    pub listening: SocketAddr,
    /// What sessions are signed with; it never leaves the process.
    pub secret: &'a Secret,
    /// The keys of issuers, which somebody reads.
    pub ring: &'a KeyRing,
    /// The road to the provider.
    pub upstream: &'a upstream::Settings,
    /// Where logins are counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Lets people in.
pub struct People {
    settings: LoginSettings,
    /// Scheme, host and port as a browser writes them in `origin`.
    origin: String,
    provider: Provider,
    issuer: SoleIssuer,
    seal: Seal,
    session: Cookie,
    ticket: Cookie,
    used: Used,
    /// For those who wait for the provider in a browser, and with a token whose key is strange.
    places: Semaphore,
    patience: Semaphore,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// A login in progress, as its cookie has it: nonce and verifier follow from the state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    #[serde(rename = "s")]
    state: String,
    #[serde(rename = "e")]
    expires_ms: i64,
}

/// Why a login ends without a session.
#[derive(Debug, thiserror::Error)]
enum LoginRefusal {
    #[error("this is not the answer to a login that began in this browser within ten minutes")]
    NotBegun,
    #[error("this answer was used already")]
    Replayed,
    #[error("the answer is another provider's, or no answer")]
    Malformed,
    #[error("the login provider says: {0}")]
    Denied(String),
    #[error("too many logins at once: try again")]
    Busy,
    #[error("{0}")]
    Provider(#[from] ProviderError),
    #[error("{0}")]
    Token(#[from] TokenRefusal),
    #[error("the token was made for another login")]
    WrongNonce,
    #[error("{0}")]
    NotLetIn(#[from] NotLetIn),
    #[error("the session cannot be made")]
    NoSession,
}

impl LoginRefusal {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NotBegun => "not_begun",
            Self::Replayed => "replayed",
            Self::Malformed => "malformed",
            Self::Denied(_) => "denied",
            Self::Busy => "busy",
            Self::Provider(error) => error.reason(),
            Self::Token(refusal) => refusal.reason(),
            Self::WrongNonce => "wrong_nonce",
            Self::NotLetIn(why) => why.reason(),
            Self::NoSession => "no_session",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::NotBegun | Self::Replayed | Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Denied(_) | Self::WrongNonce | Self::NotLetIn(_) | Self::Token(_) => {
                StatusCode::FORBIDDEN
            }
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Provider(_) => StatusCode::BAD_GATEWAY,
            Self::NoSession => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl People {
    /// The desk of these parts; `None` where nobody logs in.
    pub fn new(parts: PeopleParts<'_>) -> Option<Self> {
        let settings = parts.settings.clone();
        let issuer = settings.issuer_settings()?;
        let external = settings.external_url.as_ref();
        let origin = external.map_or_else(|| format!("http://{}", parts.listening), origin);
        let secure = origin.starts_with("https:");
        let mut upstream = parts.upstream.clone();
        if settings.ca_file.is_some() {
            upstream.ca_file.clone_from(&settings.ca_file);
        }
        if !settings.through_proxy {
            upstream.proxy = None;
        }
        Some(Self {
            origin,
            provider: Provider::new(&settings, Web::new(upstream)),
            issuer: SoleIssuer::new(&issuer, parts.ring),
            seal: Seal::new(parts.secret.as_str(), &[&what_sessions_rest_on(&settings)]),
            session: Cookie::new("session", secure),
            ticket: Cookie::new("login", secure),
            used: Used::default(),
            places: Semaphore::new(WAITING_MAX),
            patience: Semaphore::new(WAITING_MAX),
            metrics: parts.metrics,
            clock: parts.clock,
            settings,
        })
    }

    /// Who shows a session's cookie. A request that shows anything in `authorization` is judged by
    /// that alone.
    pub(in crate::admin) fn in_session(&self, headers: &HeaderMap) -> Option<Person> {
        if headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let session = self.session.of(headers)?;
        let session: Session = self.seal.open(SESSION, session)?;
        session.person(self.clock.now())
    }

    /// Whom a bearer token of the provider names.
    pub(in crate::admin) async fn with_token(&self, token: &str) -> Option<Person> {
        if !looks_like_jwt(token) {
            return None;
        }
        let now = self.clock.now();
        let claims = self.claims(token, now).await;
        let person = claims
            .map_err(LoginRefusal::from)
            .and_then(|claims| Person::of(&claims, &self.settings).map_err(LoginRefusal::from));
        let note = |refusal: LoginRefusal| {
            let reason = refusal.reason();
            self.metrics.admin_login(reason);
            tracing::info!(event = "admin_token_refused", reason, why = %refusal, "no login");
        };
        person.map_err(note).ok()
    }

    /// Whether a request that a session's cookie came with was made by our own page.
    pub(in crate::admin) fn is_own_page(&self, headers: &HeaderMap) -> bool {
        headers
            .get(ORIGIN)
            .is_some_and(|origin| origin == self.origin.as_str())
    }

    /// `GET /login`: to the provider.
    pub(in crate::admin) async fn begin(&self, headers: &HeaderMap) -> Answer {
        // The provider sends people back to the listener's address: a cookie of `localhost` would
        // not be sent there.
        let at = headers.get(HOST).and_then(|host| host.to_str().ok());
        let own = self.origin.split("://").nth(1);
        if self.settings.external_url.is_none() && at != own {
            return go(&format!("{}/login", self.origin));
        }
        match self.ask().await {
            Ok(answer) => answer,
            Err(refusal) => self.refused(&refusal),
        }
    }

    async fn ask(&self) -> Result<Answer, LoginRefusal> {
        let now = self.clock.now();
        let place = self.place()?;
        let places = self.provider.places(now).await?;
        drop(place);
        let state = random().ok_or(LoginRefusal::NoSession)?;
        let ticket = Ticket {
            expires_ms: after(now, TICKET_TIME).unix_ms(),
            state,
        };
        let sealed = self
            .seal
            .seal(TICKET, &ticket)
            .ok_or(LoginRefusal::NoSession)?;
        let own = self.own(&ticket.state);
        let mut answer = go(&self.provider.url(&places, &own.question()));
        put(&mut answer, self.ticket.set(&sealed, TICKET_TIME.as_secs()));
        Ok(answer)
    }

    /// `GET /login/callback`: back from the provider.
    pub(in crate::admin) async fn finish(&self, query: &str, headers: &HeaderMap) -> Answer {
        let mut answer = match self.let_in(query, headers).await {
            Ok(answer) => answer,
            Err(refusal) => self.refused(&refusal),
        };
        put(&mut answer, self.ticket.clear());
        answer
    }

    async fn let_in(&self, query: &str, headers: &HeaderMap) -> Result<Answer, LoginRefusal> {
        let now = self.clock.now();
        let reply = Reply::read(query).ok_or(LoginRefusal::Malformed)?;
        let ticket = self.ticket_of(headers, &reply.state, now)?;
        if !self.used.is_first(&ticket.state) {
            return Err(LoginRefusal::Replayed);
        }
        // RFC 9207: whose answer this is, where the provider says so.
        if reply
            .issuer
            .is_some_and(|issuer| issuer != self.provider.issuer())
        {
            return Err(LoginRefusal::Malformed);
        }
        if let Some(error) = reply.error {
            return Err(LoginRefusal::Denied(word(&error)));
        }
        let code = reply.code.ok_or(LoginRefusal::Malformed)?;
        let _place = self.place()?;
        let own = self.own(&ticket.state);
        let places = self.provider.places(now).await?;
        let token = self.provider.token(&places, &code, &own.question()).await?;
        let person = self.person(&token, &own.nonce).await?;
        self.session_of(&person)
    }

    fn ticket_of(
        &self,
        headers: &HeaderMap,
        state: &str,
        now: Timestamp,
    ) -> Result<Ticket, LoginRefusal> {
        let ticket = self.ticket.of(headers);
        let ticket = ticket.and_then(|sealed| self.seal.open::<Ticket>(TICKET, sealed));
        let ticket = ticket.filter(|ticket| {
            let same = verify_slices_are_equal(ticket.state.as_bytes(), state.as_bytes());
            same.is_ok() && now.unix_ms() < ticket.expires_ms
        });
        ticket.ok_or(LoginRefusal::NotBegun)
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, LoginRefusal> {
        let place = self.places.try_acquire();
        place.map_err(|_full| LoginRefusal::Busy)
    }

    /// What a token says; waits for newer keys where few others do.
    async fn claims(&self, token: &str, now: Timestamp) -> Result<TokenClaims, TokenRefusal> {
        match self.patience.try_acquire() {
            Ok(_place) => self.issuer.verify_patiently(token, now, PATIENCE).await,
            Err(_full) => self.issuer.verify(token, now),
        }
    }

    /// OpenID Connect Core 1.0 section 3.1.3.7.
    async fn person(&self, token: &str, nonce: &str) -> Result<Person, LoginRefusal> {
        let now = self.clock.now();
        let claims = self.claims(token, now).await?;
        if claims.named("nonce") != Some(nonce) {
            return Err(LoginRefusal::WrongNonce);
        }
        let made_for = claims.named("azp");
        if made_for.is_some_and(|client| Some(client) != self.settings.client_id.as_deref()) {
            return Err(TokenRefusal::WrongAudience.into());
        }
        Ok(Person::of(&claims, &self.settings)?)
    }

    fn session_of(&self, person: &Person) -> Result<Answer, LoginRefusal> {
        let length = self.settings.session_max;
        let session = Session::of(person, after(self.clock.now(), length));
        let sealed = self
            .seal
            .seal(SESSION, &session)
            .ok_or(LoginRefusal::NoSession)?;
        let login = &person.login;
        self.metrics.admin_login("let_in");
        tracing::info!(
            event = "admin_login",
            actor = login.actor,
            role = login.role.name(),
            tenant = login.tenant.as_ref().map(tracing::field::display),
            "somebody logged in"
        );
        let mut answer = go("/");
        put(&mut answer, self.session.set(&sealed, length.as_secs()));
        Ok(answer)
    }

    /// `GET /logout`: the browser forgets the session.
    pub(in crate::admin) fn leave(&self) -> Answer {
        let words =
            "This browser is logged out of bedrock-meter. The login provider may still know you.";
        let mut answer = screen(StatusCode::OK, "Logged out", words, &[AGAIN]);
        put(&mut answer, self.session.clear());
        answer
    }

    fn refused(&self, refusal: &LoginRefusal) -> Answer {
        let reason = refusal.reason();
        self.metrics.admin_login(reason);
        tracing::info!(event = "admin_login_refused", reason, why = %refusal, "a login was refused");
        let words = format!("You are not logged in: {refusal}.");
        screen(refusal.status(), "No login", &words, &[AGAIN, WITH_TOKEN])
    }

    /// What only the login of this state asks with.
    fn own(&self, state: &str) -> Own {
        Own {
            redirect_uri: format!("{}/login/callback", self.origin),
            state: state.to_owned(),
            nonce: self.seal.derive("nonce", state),
            verifier: self.seal.derive("pkce", state),
        }
    }
}

struct Own {
    redirect_uri: String,
    state: String,
    nonce: String,
    verifier: String,
}

impl Own {
    fn question(&self) -> Question<'_> {
        Question {
            redirect_uri: &self.redirect_uri,
            state: &self.state,
            nonce: &self.nonce,
            verifier: &self.verifier,
        }
    }
}

/// What the provider sends with a browser.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reply {
    state: String,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Reply {
    /// `None` without a state, or where something is said twice.
    fn read(query: &str) -> Option<Self> {
        let [mut state, mut code, mut error, mut issuer] = [const { None }; 4];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "state" => &mut state,
                "code" => &mut code,
                "error" => &mut error,
                "iss" => &mut issuer,
                _ => continue,
            };
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8().ok()?.into_owned();
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(Self {
            state: state?,
            code,
            error,
            issuer,
        })
    }
}

/// An error's code as it may be shown; providers say more to people on pages of their own.
fn word(error: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    error.chars().filter(|c| fits(*c)).take(64).collect()
}

fn put(answer: &mut Answer, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// As a browser writes it: lower case, without the scheme's own port.
fn origin(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("https");
    let own_port = if scheme == "https" { 443 } else { 80 };
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    match url.port_u16().filter(|port| *port != own_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// A change of any of these ends all sessions: whoever loses a role loses it at once, and a new
/// secret of the client logs everybody out.
fn what_sessions_rest_on(settings: &LoginSettings) -> String {
    let secret = settings.client_secret.as_ref().map(Secret::as_str);
    let who = (&settings.issuer, &settings.client_id, secret);
    let claims = [
        Some(&settings.roles_claim),
        settings.tenant_claim.as_ref(),
        Some(&settings.user_claim),
    ];
    format!("{who:?} {claims:?} {:?}", settings.roles)
}

fn random() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_add(ms))
}

const SESSION: &str = "session";
const TICKET: &str = "login";
const AGAIN: (&str, &str) = ("Log in", "/login");
const WITH_TOKEN: (&str, &str) = ("Use a token instead", "/?token");
/// From `/login` to the provider's answer.
const TICKET_TIME: Duration = Duration::from_mins(10);
/// Who may wait for the provider at once, of each kind: it must not be able to take all of this
/// listener's connections.
const WAITING_MAX: usize = 16;
/// For keys of the provider that are not here yet.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Role;
    use crate::admin::role::Login;
    use crate::domain::ManualClock;
    use crate::telemetry::KnownNames;

    /// A desk whose sessions last an hour, and its clock.
    fn desk(secret: &str, external_url: Option<&str>) -> (People, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        let known = KnownNames {
            tenants: Vec::new(),
        };
        let metrics = Metrics::new(&crate::telemetry::Settings::default(), &known);
        let people = People::new(PeopleParts {
            settings: &LoginSettings {
                issuer: Some("https://login.example".to_owned()),
                client_id: Some("meter".to_owned()),
                external_url: external_url.map(|url| url.parse().unwrap()),
                session_max: Duration::from_hours(1),
                ..LoginSettings::default()
            },
            listening: "127.0.0.1:8081".parse().unwrap(),
            secret: &Secret::new(secret),
            ring: &KeyRing::default(),
            upstream: &upstream::Settings::default(),
            metrics: Arc::new(metrics.unwrap()),
            clock: Arc::<ManualClock>::clone(&clock),
        });
        (people.unwrap(), clock)
    }

    fn ann() -> Person {
        Person {
            name: "Ann".to_owned(),
            login: Login {
                actor: "oidc:ann".to_owned(),
                role: Role::TeamLead,
                tenant: Some("research".parse().unwrap()),
            },
        }
    }

    /// The headers of a request that shows the cookie which an answer set.
    fn showing(answer: &Answer) -> HeaderMap {
        let set = answer.headers()[SET_COOKIE].to_str().unwrap();
        let pair = set.split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(http::header::COOKIE, pair.parse().unwrap());
        headers
    }

    #[test]
    fn a_session_is_shown_until_it_ends_and_counts_at_its_own_desk_alone() {
        let (people, clock) = desk("one", None);
        let headers = showing(&people.session_of(&ann()).unwrap());
        assert_eq!(people.in_session(&headers), Some(ann()));
        assert_eq!(desk("two", None).0.in_session(&headers), None);
        clock.set(Timestamp::from_unix_ms(3_599_999));
        assert_eq!(people.in_session(&headers), Some(ann()));
        clock.set(Timestamp::from_unix_ms(3_600_000));
        assert_eq!(people.in_session(&headers), None);
    }

    #[test]
    fn a_token_that_is_shown_counts_in_place_of_a_session() {
        let (people, _clock) = desk("one", None);
        let mut headers = showing(&people.session_of(&ann()).unwrap());
        headers.insert(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        assert_eq!(people.in_session(&headers), None);
    }

    #[test]
    fn only_our_own_page_is_our_own_page() {
        let check = |external: Option<&str>, origin: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, origin.parse().unwrap());
            assert_eq!(
                desk("one", external).0.is_own_page(&headers),
                expected,
                "{origin}"
            );
        };
        check(None, "http://127.0.0.1:8081", true);
        check(None, "http://127.0.0.1:8082", false);
        check(None, "null", false);
        let external = Some("https://meter.example");
        check(external, "https://meter.example", true);
        for other in [
            "http://meter.example",
            "https://meter.example.evil",
            "https://meter.example:8443",
        ] {
            check(external, other, false);
        }
        assert!(!desk("one", None).0.is_own_page(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn an_answer_to_no_login_of_this_browser_is_refused_and_one_counts_once() {
        let (people, clock) = desk("one", None);
        let ticket = |state: &str| Ticket {
            state: state.to_owned(),
            expires_ms: 600_000,
        };
        let cookie = |state: &str| {
            let sealed = people.seal.seal(TICKET, &ticket(state)).unwrap();
            let mut answer = go("/");
            put(&mut answer, people.ticket.set(&sealed, 600));
            showing(&answer)
        };
        let reason = async |query: &str, headers: &HeaderMap| {
            let refused = people.let_in(query, headers).await;
            refused.err().map(|refusal| refusal.reason())
        };
        let own = cookie("S");
        for (query, headers) in [
            ("state=S&code=c", &HeaderMap::new()),
            ("state=S&code=c", &cookie("T")),
            ("state=T&code=c", &own),
            ("state=&code=c", &own),
        ] {
            assert_eq!(reason(query, headers).await, Some("not_begun"), "{query}");
        }
        let denied = "state=S&error=access_denied&iss=https%3A%2F%2Flogin.example";
        assert_eq!(reason(denied, &own).await, Some("denied"));
        assert_eq!(reason("state=S&code=c", &own).await, Some("replayed"));
        let mixed_up = "state=U&code=c&iss=https%3A%2F%2Fother.example";
        assert_eq!(reason(mixed_up, &cookie("U")).await, Some("malformed"));
        let late = cookie("L");
        clock.set(Timestamp::from_unix_ms(600_000));
        assert_eq!(reason("state=L&code=c", &late).await, Some("not_begun"));
    }

    #[test]
    fn an_answer_says_everything_once() {
        let reply =
            Reply::read("code=a%2Bb+c&state=S&session_state=x&iss=https%3A%2F%2Fa").unwrap();
        assert_eq!(reply.code.as_deref(), Some("a+b c"));
        assert_eq!(
            (reply.state.as_str(), reply.issuer.as_deref()),
            ("S", Some("https://a"))
        );
        for query in [
            "",
            "code=a",
            "state=S&state=T",
            "code=a&code=b&state=S",
            "state=%ff",
        ] {
            assert_eq!(Reply::read(query), None, "{query}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        let check = |url: &str, expected: &str| {
            assert_eq!(origin(&url.parse().unwrap()), expected);
        };
        check("https://Meter.Example:443", "https://meter.example");
        check("https://meter.example:8443/", "https://meter.example:8443");
        check("http://127.0.0.1:8081", "http://127.0.0.1:8081");
        check("http://localhost:80", "http://localhost");
    }

    #[test]
    fn words_of_others_are_shown_as_a_word() {
        assert_eq!(word("access_denied"), "access_denied");
        assert_eq!(word("<b>no</b> \u{202e}"), "bnob");
    }
}
