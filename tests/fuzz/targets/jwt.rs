//! Tokens: whatever bytes come, none proves anybody that no issuer signed.

use bedrock_meter::domain::Timestamp;
use bedrock_meter::identity::{IssuerSettings, Issuers, KeyRing, KeySet, looks_like_jwt};

pub(super) fn run(data: &[u8]) {
    // The first line is the token, the rest a set of keys.
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let token = parts.next().unwrap_or_default();
    let now = Timestamp::from_unix_ms(1_790_000_000_000);
    let _keys = KeySet::read(parts.next().unwrap_or_default(), now);
    let Ok(token) = std::str::from_utf8(token) else {
        return;
    };
    let settings = IssuerSettings {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["bedrock-meter".to_owned()],
        ..IssuerSettings::named("login")
    };
    let issuers = Issuers::new(&[settings], &KeyRing::default());
    let refused = issuers.verify(token, now).unwrap_err();
    assert!(!refused.reason().is_empty());
    // What comes is words of ours, and nothing of the token.
    let said = refused.to_string();
    let own = token.split(['.', '\n']).filter(|part| part.len() > 12);
    for part in own {
        assert!(!said.contains(part));
    }
    let _looks = looks_like_jwt(token);
}
