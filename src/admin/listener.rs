//! Accepts admin connections: few, short-lived, and none that can hold the others up.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::service::Admin;

/// Connections at once; more wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 256;
/// For the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is closed after this time, between two requests: a scraper simply connects again.
const CONNECTION_TIME_MAX: Duration = Duration::from_mins(5);
/// For the last answer of a connection that is being closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// After an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is cancelled; then ends the open connections and returns.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ended = connections.join_next(), if connections.len() >= CONNECTIONS_MAX => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection(stream, admin.clone(), shutdown.clone()));
                }
                Err(cause) => {
                    tracing::warn!(%cause, "the admin listener could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, admin: Admin, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // A connection that fails is the client's affair: nothing is logged for it.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        () = sleep(CONNECTION_TIME_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = timeout(CLOSE_TIMEOUT, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Check, Done, PageError, Pages, Settings, State, View, Work};
    use crate::domain::{CallId, Secret};
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    struct Fake(State);

    impl Pages for Fake {
        fn readiness(&self) -> Vec<Check> {
            vec![Check {
                name: "ledger",
                state: self.0,
                detail: "as told".to_owned(),
            }]
        }

        fn metrics(&self) -> Result<String, PageError> {
            Ok("up 1\n".to_owned())
        }

        fn report(&self, query: &str, _view: &View) -> Result<Vec<u8>, PageError> {
            match query {
                "by=tenant" => Ok(b"[]".to_vec()),
                "panic" => panic!("as asked"),
                other => Err(PageError::BadQuestion(format!("unknown: {other}"))),
            }
        }

        fn call(&self, id: CallId, _view: &View) -> Result<Vec<u8>, PageError> {
            Err(PageError::NotFound(id.to_string()))
        }

        fn live(&self, _view: &View) -> Result<Vec<u8>, PageError> {
            Ok(b"{}".to_vec())
        }

        fn budgets(&self, _view: &View) -> Result<Vec<u8>, PageError> {
            Ok(b"{}".to_vec())
        }

        fn office(&self, _work: Work<'_>) -> Result<Done, PageError> {
            Err(PageError::Failed("no registry here".to_owned()))
        }
    }

    struct Running {
        at: std::net::SocketAddr,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    /// Starts a listener on loopback that believes to listen on `listening`.
    async fn start(state: State, listening: IpAddr) -> Running {
        let token = (!listening.is_loopback()).then(|| Secret::new("t"));
        let settings = Settings {
            token,
            ..Settings::default()
        };
        let admin = Admin::new(&settings, listening, Arc::new(Fake(state)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, admin, shutdown.clone()));
        Running { at, shutdown, task }
    }

    /// The status and the body of an answer.
    async fn ask(running: &Running, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(running.at).await.unwrap();
        let request = format!("{head}\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    #[tokio::test]
    async fn pages_are_served_on_loopback() {
        let running = start(State::Ok, Ipv4Addr::LOCALHOST.into()).await;
        let rows = [
            ("GET /healthz HTTP/1.1", 200, r#"{"status":"ok"}"#),
            ("HEAD /healthz HTTP/1.1", 200, ""),
            ("GET /metrics HTTP/1.1", 200, "up 1\n"),
            ("GET /api/v1/report?by=tenant HTTP/1.1", 200, "[]"),
            (
                "GET /api/v1/report?by=moon HTTP/1.1",
                400,
                r#"{"error":"unknown: by=moon"}"#,
            ),
            (
                "GET /api/v1/report?panic HTTP/1.1",
                500,
                r#"{"error":"the page failed"}"#,
            ),
            (
                "GET /api/v1/calls/x HTTP/1.1",
                400,
                r#"{"error":"not a call id: x"}"#,
            ),
            (
                "GET /nowhere HTTP/1.1",
                404,
                r#"{"error":"there is no such page"}"#,
            ),
            (
                "POST /healthz HTTP/1.1",
                405,
                r#"{"error":"only GET and HEAD are served here"}"#,
            ),
        ];
        for (head, status, body) in rows {
            assert_eq!(
                ask(&running, head).await,
                (status, body.to_owned()),
                "{head}"
            );
        }
        let unknown = "GET /api/v1/calls/0190a5a0-0000-7000-8000-000000000000 HTTP/1.1";
        assert_eq!(ask(&running, unknown).await.0, 404);
    }

    #[tokio::test]
    async fn trouble_shows_in_the_body_and_only_blocking_makes_unready() {
        for (state, status, word) in [
            (State::Ok, 200, "ok"),
            (State::Trouble, 200, "trouble"),
            (State::Blocking, 503, "blocking"),
        ] {
            let running = start(state, Ipv4Addr::UNSPECIFIED.into()).await;
            let (answered, body) = ask(&running, "GET /readyz HTTP/1.1").await;
            assert_eq!(answered, status);
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["ready"], status == 200);
            assert_eq!(body["checks"][0]["state"], word);
        }
    }

    #[tokio::test]
    async fn off_loopback_only_health_is_free() {
        let running = start(State::Ok, Ipv4Addr::UNSPECIFIED.into()).await;
        for path in ["/metrics", "/api/v1/report?by=tenant", "/nowhere"] {
            let head = format!("GET {path} HTTP/1.1");
            assert_eq!(ask(&running, &head).await.0, 401, "{path}");
            let shown = format!("{head}\r\nauthorization: Bearer t");
            assert_ne!(ask(&running, &shown).await.0, 401, "{path}");
        }
        for path in ["/healthz", "/", "/page.css", "/page.js"] {
            let head = format!("GET {path} HTTP/1.1");
            assert_eq!(ask(&running, &head).await.0, 200, "{path}");
        }
    }

    #[tokio::test]
    async fn garbage_is_answered_and_shutdown_ends_idle_connections() {
        let running = start(State::Ok, Ipv4Addr::LOCALHOST.into()).await;
        let _idle = TcpStream::connect(running.at).await.unwrap();
        assert_eq!(ask(&running, "\0garbage").await.0, 400);
        assert_eq!(ask(&running, "GET /healthz HTTP/1.1").await.0, 200);
        running.shutdown.cancel();
        running.task.await.unwrap();
    }
}
