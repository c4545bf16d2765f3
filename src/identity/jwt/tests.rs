//! Tokens that another implementation signed (`tests/jwt/make.py`), and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::domain::{Keyword as _, TenantId, Timestamp};

/// The issuers of the fixture, their keys and its instant.
struct Scene {
    fixture: Value,
    ring: KeyRing,
    settings: Vec<IssuerSettings>,
    issuers: Issuers,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../tests/jwt/tokens.json")).unwrap();
        let login = IssuerSettings {
            issuer: fixture["issuer"].as_str().unwrap().to_owned(),
            audiences: vec!["bedrock-meter".to_owned()],
            algorithms: Algorithm::ALL.to_vec(),
            tenant_claim: Some("https://example.com/team".parse().unwrap()),
            user_claim: Some("email".parse().unwrap()),
            ..IssuerSettings::named("login")
        };
        let cluster = IssuerSettings {
            issuer: fixture["cluster"]["issuer"].as_str().unwrap().to_owned(),
            audiences: vec!["bedrock-meter".to_owned()],
            rules: vec![MatchRule {
                namespace: Some("search-*".parse().unwrap()),
                service_account: Some("*".parse().unwrap()),
                tenant: Some("search".parse().unwrap()),
                application: Some("{service_account}".parse().unwrap()),
                ..MatchRule::named("search")
            }],
            ..IssuerSettings::named("cluster")
        };
        let ring = KeyRing::default();
        let settings = vec![login, cluster];
        let issuers = Issuers::new(&settings, &ring);
        let now = Timestamp::from_unix_ms(fixture["now"].as_i64().unwrap() * 1000);
        let scene = Self {
            fixture,
            ring,
            settings,
            issuers,
            now,
        };
        scene.publish("/jwks", now);
        let keys = scene.ring.keys(&scene.settings[1]);
        keys.read(scene.fixture["cluster"]["jwks"].to_string().as_bytes(), now)
            .unwrap();
        scene
    }

    /// Puts keys of the fixture in force for the first issuer.
    fn publish(&self, pointer: &str, now: Timestamp) {
        let text = self.fixture.pointer(pointer).unwrap().to_string();
        let keys = self.ring.keys(&self.settings[0]);
        keys.read(text.as_bytes(), now).unwrap();
    }

    fn token(&self, list: &str, name: &str) -> &str {
        let mut cases = self.fixture[list].as_array().unwrap().iter();
        let case = cases.find(|case| case["name"] == name).unwrap();
        case["token"].as_str().unwrap()
    }

    fn reason(&self, token: &str, now: Timestamp) -> &'static str {
        let verified = self.issuers.verify(token, now);
        verified.map_or_else(TokenRefusal::reason, |_caller| "accepted")
    }

    fn later(&self, by: Duration) -> Timestamp {
        Timestamp::from_unix_ms(self.now.unix_ms() + i64::try_from(by.as_millis()).unwrap())
    }
}

#[test]
fn tokens_of_another_implementation_prove_their_caller() {
    let scene = Scene::new();
    let cases = scene.fixture["accepted"].as_array().unwrap();
    assert!(cases.len() >= 15);
    for case in cases {
        let token = case["token"].as_str().unwrap();
        assert!(looks_like_jwt(token), "{case}");
        // Once verified, once remembered.
        for _ in 0..2 {
            let caller = scene.issuers.verify(token, scene.now);
            let caller = caller.unwrap_or_else(|refusal| panic!("{}: {refusal}", case["name"]));
            assert_eq!(caller.tenant, TenantId::new("search").unwrap());
            assert_eq!(caller.application, None);
            assert_eq!(caller.user.as_deref(), Some("ann@example.com"));
            assert_eq!(&*caller.issuer, "login");
        }
    }
}

#[test]
fn every_forgery_is_refused_for_its_reason() {
    let scene = Scene::new();
    let cases = scene.fixture["refused"].as_array().unwrap();
    assert!(cases.len() >= 45);
    for case in cases {
        let token = case["token"].as_str().unwrap();
        for _ in 0..2 {
            let reason = scene.reason(token, scene.now);
            assert_eq!(reason, case["reason"].as_str().unwrap(), "{}", case["name"]);
        }
    }
}

#[test]
fn every_reason_has_a_forgery_but_the_one_of_missing_keys() {
    let scene = Scene::new();
    let cases = scene.fixture["refused"].as_array().unwrap();
    for reason in TokenRefusal::REASONS {
        let shown = cases.iter().any(|case| case["reason"] == reason);
        assert_eq!(shown, reason != "keys_unavailable", "{reason}");
    }
}

#[test]
fn a_changed_character_anywhere_breaks_a_token() {
    let scene = Scene::new();
    for name in ["RS256", "ES256"] {
        let good = scene.token("accepted", name);
        assert_eq!(scene.reason(good, scene.now), "accepted");
        for at in (0..good.len()).step_by(3) {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_ne!(scene.reason(&changed, scene.now), "accepted", "{at}");
        }
    }
}

#[test]
fn a_projected_service_account_token_proves_its_pod() {
    let scene = Scene::new();
    let token = scene.fixture["cluster"]["token"].as_str().unwrap();
    let caller = scene.issuers.verify(token, scene.now).unwrap();
    assert_eq!(caller.tenant.as_str(), "search");
    assert_eq!(caller.application.as_ref().unwrap().as_str(), "api");
    assert_eq!(&*caller.issuer, "cluster");
    let expires_at = scene.later(Duration::from_hours(1));
    assert_eq!(caller.expires_at, expires_at);
}

#[test]
fn an_algorithm_that_the_issuer_may_not_use_is_refused_though_the_signature_is_right() {
    let mut scene = Scene::new();
    scene.settings[0].algorithms = vec![Algorithm::Es256];
    scene.issuers = Issuers::new(&scene.settings, &scene.ring);
    let check = |name, expected| {
        let token = scene.token("accepted", name);
        assert_eq!(scene.reason(token, scene.now), expected, "{name}");
    };
    check("ES256", "accepted");
    check("RS256", "algorithm_not_allowed");
    check("EdDSA", "algorithm_not_allowed");
}

#[test]
fn a_remembered_token_ends_when_it_expires() {
    let scene = Scene::new();
    let token = scene.token("accepted", "RS256");
    let minute = Duration::from_mins(1);
    let check = |by, expected| assert_eq!(scene.reason(token, scene.later(by)), expected, "{by:?}");
    check(Duration::ZERO, "accepted");
    check(
        Duration::from_hours(1) + Duration::from_millis(59_999),
        "accepted",
    );
    check(Duration::from_hours(1) + minute, "expired");
}

#[test]
fn a_rotated_key_ends_its_tokens_and_begins_the_next() {
    let scene = Scene::new();
    let old = scene.token("accepted", "RS256");
    let new = scene.fixture["signed_with_the_next_key"].as_str().unwrap();
    assert_eq!(scene.reason(old, scene.now), "accepted");
    assert_eq!(scene.reason(new, scene.now), "unknown_signing_key");
    scene.publish("/jwks_rotated", scene.now);
    assert_eq!(scene.reason(old, scene.now), "unknown_signing_key");
    assert_eq!(scene.reason(new, scene.now), "accepted");
}

#[test]
fn keys_serve_while_the_issuer_is_away_and_no_longer_than_their_age() {
    let mut scene = Scene::new();
    scene.settings[0].keys_max_age = Duration::from_mins(30);
    scene.issuers = Issuers::new(&scene.settings, &scene.ring);
    let token = scene.token("accepted", "RS256");
    let check = |by, expected| assert_eq!(scene.reason(token, scene.later(by)), expected, "{by:?}");
    check(Duration::ZERO, "accepted");
    check(Duration::from_mins(30), "accepted");
    check(Duration::from_mins(31), "keys_unavailable");
    scene.publish("/jwks", scene.later(Duration::from_mins(31)));
    check(Duration::from_mins(31), "accepted");
}

#[test]
fn a_reload_keeps_the_keys_and_what_nobody_uses_is_forgotten() {
    let scene = Scene::new();
    let token = scene.token("accepted", "RS256");
    let again = Issuers::new(&scene.settings, &scene.ring);
    assert!(again.verify(token, scene.now).is_ok());
    let mut moved = scene.settings.clone();
    moved[0].jwks_url = JwksUrl::read("https://elsewhere.example.com/keys");
    let elsewhere = Issuers::new(&moved, &scene.ring);
    let refused = elsewhere.verify(token, scene.now).err();
    assert_eq!(refused, Some(TokenRefusal::KeysUnavailable));
    let token = token.to_owned();
    drop((again, elsewhere, scene.issuers));
    let forgotten = Issuers::new(&scene.settings, &scene.ring);
    let refused = forgotten.verify(&token, scene.now).err();
    assert_eq!(refused, Some(TokenRefusal::KeysUnavailable));
}

#[test]
fn no_refusal_repeats_a_part_of_the_token() {
    let scene = Scene::new();
    for case in scene.fixture["refused"].as_array().unwrap() {
        let token = case["token"].as_str().unwrap();
        let refusal = scene.issuers.verify(token, scene.now).unwrap_err();
        let shown = format!("{refusal} {refusal:?} {:?}", scene.issuers);
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!shown.contains(part), "{shown}");
        }
    }
}

#[tokio::test]
async fn who_comes_with_a_new_key_is_answered_when_the_keys_were_read() {
    let scene = Arc::new(Scene::new());
    let reader = Arc::clone(&scene);
    let reading = tokio::spawn(async move {
        let keys = reader.ring.keys(&reader.settings[0]);
        keys.wanted().await;
        reader.publish("/jwks_rotated", reader.now);
        keys.attempted();
    });
    let token = scene.fixture["signed_with_the_next_key"].as_str().unwrap();
    let patience = Duration::from_mins(1);
    let verified = scene.issuers.verify_patiently(token, scene.now, patience);
    assert!(verified.await.is_ok());
    reading.await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_keys_that_are_not_read_soon() {
    let scene = Scene::new();
    scene.ring.keys(&scene.settings[0]).set_resting(true);
    let patience = Duration::from_hours(1);
    for (list, name) in [
        ("refused", "an unknown kid"),
        ("refused", "another issuer"),
        ("accepted", "RS256"),
    ] {
        let token = scene.token(list, name);
        let patient = scene.issuers.verify_patiently(token, scene.now, patience);
        assert_eq!(patient.await, scene.issuers.verify(token, scene.now));
    }
}
