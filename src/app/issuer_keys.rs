//! Keeps the keys of all issuers of tokens: reads them at the start, now and then, and when a token
//! is signed with a strange one. Keys that cannot be read leave those of before in use.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::key_source::{Failure, KeySource};
use crate::domain::Clock;
use crate::identity::{IssuerKeys, IssuerSettings, KeyRing};
use crate::telemetry::Metrics;
use crate::upstream;

/// Reads the keys of the issuers that are configured at the time, until dropped.
pub(super) struct KeyKeeper {
    pub(super) issuers: watch::Receiver<Vec<IssuerSettings>>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) upstream: upstream::Settings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

impl KeyKeeper {
    /// Follows each issuer in a task of its own, so that a slow one delays no other. A reload that
    /// changes issuers begins anew; the keys that were read stay in the ring.
    pub(super) async fn run(mut self) {
        loop {
            let issuers = self.issuers.borrow_and_update().clone();
            let mut followed = JoinSet::new();
            for issuer in &issuers {
                followed.spawn(self.follower(issuer).run());
            }
            if self.issuers.changed().await.is_err() {
                return;
            }
        }
    }

    fn follower(&self, issuer: &IssuerSettings) -> Follower {
        let source = KeySource::new(issuer, &self.upstream);
        Follower {
            name: issuer.name.clone(),
            interval: source.interval(issuer.refresh_interval),
            keys: self.ring.keys(issuer),
            source,
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// Follows the keys of one issuer.
struct Follower {
    name: String,
    source: KeySource,
    interval: Duration,
    keys: Arc<IssuerKeys>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Follower {
    async fn run(self) {
        let mut pause_after_failure = FAILURE_PAUSE_MIN;
        loop {
            self.keys.set_resting(false);
            let read = self.read().await;
            self.keys.set_resting(true);
            self.keys.attempted();
            let pause = match read {
                Ok(()) => {
                    pause_after_failure = FAILURE_PAUSE_MIN;
                    self.interval
                }
                Err(failure) => {
                    self.report(&failure);
                    let pause = pause_after_failure.min(self.interval);
                    pause_after_failure = (pause_after_failure * 2).min(REST);
                    pause
                }
            };
            self.pause(pause).await;
        }
    }

    /// Waits for so long, or until somebody wants newer keys; but a minute for these, lest forged
    /// tokens make us a nuisance to the issuer.
    async fn pause(&self, pause: Duration) {
        let rest = pause.min(REST);
        tokio::time::sleep(rest).await;
        self.keys.set_resting(false);
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_sub(rest)) => {}
            () = self.keys.wanted() => {}
        }
    }

    async fn read(&self) -> Result<(), Failure> {
        let text = self.source.read().await?;
        let now = self.clock.now();
        let changed = self.keys.read(&text, now).map_err(Failure::invalid)?;
        self.metrics.issuer_keys_read(&self.name, now);
        if changed {
            let issuer = &self.name;
            tracing::info!(event = "issuer_keys_read", issuer, "keys of an issuer");
        }
        Ok(())
    }

    fn report(&self, failure: &Failure) {
        let Failure { reason, why } = failure;
        self.metrics.issuer_keys_failed(&self.name, reason);
        tracing::warn!(
            event = "issuer_keys_failed",
            issuer = self.name,
            reason,
            why,
            "the keys of an issuer cannot be read; those of before serve on"
        );
    }
}

const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long strange keys leave an issuer alone; also the longest pause after a failure.
const REST: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc::{Receiver, sync_channel};

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{ManualClock, Timestamp};
    use crate::identity::{Issuers, JwksUrl, TokenRefusal};
    use crate::telemetry::{KnownNames, Observed};

    const PATIENCE: Duration = Duration::from_mins(1);

    /// Tokens and keys of `tests/jwt/make.py`.
    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../tests/jwt/tokens.json")).unwrap()
    }

    fn issuer(issuer: &str, url: Option<String>) -> IssuerSettings {
        IssuerSettings {
            issuer: issuer.to_owned(),
            jwks_url: url.map(|url| JwksUrl::read(&url).unwrap()),
            audiences: vec!["bedrock-meter".to_owned()],
            tenant_claim: Some("https://example.com/team".parse().unwrap()),
            ..IssuerSettings::named("login")
        }
    }

    /// Answers each request by its head with a status and a body, and passes the head on.
    fn serve(
        answer: impl Fn(&str) -> (&'static str, String) + Send + 'static,
    ) -> (SocketAddr, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, heads) = sync_channel(64);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut head) = (stream.unwrap(), Vec::new());
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let (status, body) = answer(&head);
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                // Whoever refuses a long answer does not wait for its end.
                drop(stream.write_all(answer.as_bytes()));
                drop(seen.try_send(head));
            }
        });
        (address, heads)
    }

    struct Scene {
        ring: Arc<KeyRing>,
        metrics: Arc<Metrics>,
        clock: Arc<ManualClock>,
    }

    impl Scene {
        fn new() -> Self {
            let known = KnownNames {
                tenants: Vec::new(),
            };
            let clock = Arc::new(ManualClock::default());
            clock.set(now());
            Self {
                ring: Arc::default(),
                metrics: Arc::new(
                    Metrics::new(&crate::telemetry::Settings::default(), &known).unwrap(),
                ),
                clock,
            }
        }

        fn keeper(&self, issuers: watch::Receiver<Vec<IssuerSettings>>) -> KeyKeeper {
            KeyKeeper {
                issuers,
                ring: Arc::clone(&self.ring),
                upstream: upstream::Settings::default(),
                metrics: Arc::clone(&self.metrics),
                clock: Arc::<ManualClock>::clone(&self.clock),
            }
        }

        /// One attempt to read the keys.
        async fn read(&self, issuer: &IssuerSettings) -> Result<(), Failure> {
            let (_send, issuers) = watch::channel(Vec::new());
            let follower = self.keeper(issuers).follower(issuer);
            let read = follower.read().await;
            if let Err(failure) = &read {
                follower.report(failure);
            }
            read
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_unix_ms(fixture()["now"].as_i64().unwrap() * 1000)
    }

    fn good_token() -> String {
        fixture()["accepted"][0]["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[tokio::test]
    async fn keys_are_read_from_their_url_with_path_and_query() {
        let (address, heads) = serve(|_head| ("200 OK", fixture()["jwks"].to_string()));
        let scene = Scene::new();
        let url = format!("http://{address}/keys?p=policy");
        let issuer = issuer("https://login.example.com/", Some(url));
        let issuers = Issuers::new(std::slice::from_ref(&issuer), &scene.ring);
        assert_eq!(scene.read(&issuer).await, Ok(()));
        assert!(issuers.verify(&good_token(), now()).is_ok());
        let head = heads.recv().unwrap();
        assert!(
            head.starts_with("GET /keys?p=policy HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
        assert!(!head.contains("authorization"), "{head}");
    }

    #[tokio::test]
    async fn the_discovery_document_names_the_place_of_the_keys() {
        let (keys, key_heads) = serve(|_head| ("200 OK", fixture()["jwks"].to_string()));
        let (address, heads) = serve(move |head| {
            let host = head.split("host: ").nth(1).unwrap().split("\r\n").next();
            let issuer = format!("http://{}/realm", host.unwrap());
            let jwks_uri = format!("http://{keys}/keys");
            let document = json!({"issuer": issuer, "jwks_uri": jwks_uri});
            ("200 OK", document.to_string())
        });
        let scene = Scene::new();
        let directory = tempfile::TempDir::new().unwrap();
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, "own-token\n").unwrap();
        let mut issuer = issuer(&format!("http://{address}/realm"), None);
        issuer.jwks_token_file = Some(token_file);
        assert_eq!(scene.read(&issuer).await, Ok(()));
        let head = heads.recv().unwrap();
        assert!(
            head.starts_with("GET /realm/.well-known/openid-configuration HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(
            head.contains("authorization: Bearer own-token\r\n"),
            "{head}"
        );
        // Another host than the one that the token was given for.
        let head = key_heads.recv().unwrap();
        assert!(!head.contains("own-token"), "{head}");
        issuer.issuer.push('/');
        let refused = scene.read(&issuer).await.unwrap_err();
        assert_eq!(refused.reason, "invalid");
        assert!(refused.why.contains("another issuer"), "{}", refused.why);
    }

    #[tokio::test]
    async fn keys_that_are_not_named_safely_are_not_read() {
        let (address, _heads) = serve(|head| {
            let host = head.split("host: ").nth(1).unwrap().split("\r\n").next();
            let issuer = format!("http://{}", host.unwrap());
            let jwks_uri = "http://keys.example.com/keys";
            let document = json!({"issuer": issuer, "jwks_uri": jwks_uri});
            ("200 OK", document.to_string())
        });
        let issuer = issuer(&format!("http://{address}"), None);
        let refused = Scene::new().read(&issuer).await.unwrap_err();
        assert_eq!(refused.reason, "invalid");
        assert!(
            refused.why.contains("not an https:// URL"),
            "{}",
            refused.why
        );
    }

    #[tokio::test]
    async fn what_is_not_the_keys_leaves_those_of_before() {
        let (swap, next) = sync_channel(8);
        let next = std::sync::Mutex::new(next);
        let (address, _heads) = serve(move |_head| next.lock().unwrap().recv().unwrap());
        let scene = Scene::new();
        let url = format!("http://{address}/keys");
        let issuer = issuer("https://login.example.com/", Some(url));
        let issuers = Issuers::new(std::slice::from_ref(&issuer), &scene.ring);
        swap.send(("200 OK", fixture()["jwks"].to_string()))
            .unwrap();
        scene.read(&issuer).await.unwrap();
        for (status, body, reason) in [
            ("500 Oops", String::new(), "refused"),
            ("302 Found", String::new(), "refused"),
            ("200 OK", "<html>".to_owned(), "invalid"),
            ("200 OK", "{\"keys\":[]}".to_owned(), "invalid"),
            ("200 OK", " ".repeat(2 << 20), "invalid"),
        ] {
            swap.send((status, body)).unwrap();
            let failure = scene.read(&issuer).await.unwrap_err();
            assert_eq!(failure.reason, reason, "{status} {}", failure.why);
            assert!(issuers.verify(&good_token(), now()).is_ok());
        }
        let page = scene.metrics.render(&Observed::default()).unwrap();
        for expected in [
            "issuer_keys_failed_total{issuer=\"login\",reason=\"refused\"} 2",
            "issuer_keys_failed_total{issuer=\"login\",reason=\"invalid\"} 3",
            "issuer_keys_read_timestamp_seconds{issuer=\"login\"} 1800000000",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }

    #[tokio::test]
    async fn a_file_of_keys_is_read_again() {
        let scene = Scene::new();
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("jwks.json");
        let mut issuer = issuer("https://login.example.com/", None);
        issuer.jwks_file = Some(file.clone());
        let issuers = Issuers::new(std::slice::from_ref(&issuer), &scene.ring);
        let failure = scene.read(&issuer).await.unwrap_err();
        assert_eq!(failure.reason, "unreachable");
        let new = fixture()["signed_with_the_next_key"]
            .as_str()
            .unwrap()
            .to_owned();
        let reasons = || {
            [good_token(), new.clone()].map(|token| {
                issuers
                    .verify(&token, now())
                    .err()
                    .map(TokenRefusal::reason)
            })
        };
        std::fs::write(&file, fixture()["jwks"].to_string()).unwrap();
        scene.read(&issuer).await.unwrap();
        assert_eq!(reasons(), [None, Some("unknown_signing_key")]);
        std::fs::write(&file, fixture()["jwks_rotated"].to_string()).unwrap();
        scene.read(&issuer).await.unwrap();
        assert_eq!(reasons(), [Some("unknown_signing_key"), None]);
    }

    #[tokio::test]
    async fn an_issuer_that_nobody_answers_for_is_unreachable() {
        let unused = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let url = format!("http://{unused}/keys");
        let issuer = issuer("https://login.example.com/", Some(url));
        let failure = Scene::new().read(&issuer).await.unwrap_err();
        assert_eq!(failure.reason, "unreachable", "{}", failure.why);
    }

    #[tokio::test]
    async fn the_first_call_waits_for_the_first_keys_and_a_reload_brings_further_issuers() {
        let (address, _heads) = serve(|head| {
            let place = if head.contains("/cluster") {
                "/cluster/jwks"
            } else {
                "/jwks"
            };
            ("200 OK", fixture().pointer(place).unwrap().to_string())
        });
        let scene = Scene::new();
        let login = issuer(
            "https://login.example.com/",
            Some(format!("http://{address}/keys")),
        );
        let cluster = IssuerSettings {
            issuer: fixture()["cluster"]["issuer"].as_str().unwrap().to_owned(),
            tenant_claim: Some("/kubernetes.io/namespace".parse().unwrap()),
            jwks_url: JwksUrl::read(&format!("http://{address}/cluster")),
            ..login.clone()
        };
        let both = [login.clone(), cluster];
        let issuers = Issuers::new(&both, &scene.ring);
        let (change, followed) = watch::channel(vec![login]);
        let mut tasks = JoinSet::new();
        tasks.spawn(scene.keeper(followed).run());
        let token = good_token();
        let verified = issuers.verify_patiently(&token, now(), PATIENCE);
        assert!(verified.await.is_ok());
        let pod = fixture()["cluster"]["token"].as_str().unwrap().to_owned();
        let waiting = issuers.verify_patiently(&pod, now(), PATIENCE);
        change.send(both.to_vec()).unwrap();
        assert_eq!(waiting.await.unwrap().tenant.as_str(), "search-prod");
    }
}
