//! Tokens: whatever bytes come, none proves anybody that no issuer signed.

use std::sync::LazyLock;

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
    let issuers = &*ISSUERS;
    let refused = issuers.verify(token, now).unwrap_err();
    assert!(!refused.reason().is_empty());
    // What comes is words of ours, and nothing of the token; a token that is such words is no token.
    let said = refused.to_string();
    let is_own = |part: &&str| part.len() > 12 && !part.contains(' ');
    for part in token.split(['.', '\n']).filter(is_own) {
        assert!(!said.contains(part));
    }
    let _looks = looks_like_jwt(token);
}

/// Made once: what they remember takes longer to make than a token to judge.
static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
    let settings = IssuerSettings {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["bedrock-meter".to_owned()],
        ..IssuerSettings::named("login")
    };
    Issuers::new(&[settings], &KeyRing::default())
});
