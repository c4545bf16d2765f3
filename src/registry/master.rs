//! The master keys: what the secrets of issued key pairs are derived from.
//!
//! They never lie in the registry's file, so that a stolen copy of it signs nothing. Each has a
//! version; new pairs take the highest, and a pair remembers which one made it, so that a new
//! master key logs nobody out as long as the old one is still listed.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::id::KeyId;
use crate::domain::Secret;

/// The master keys by version; at least one.
#[derive(Clone)]
pub struct MasterKeys {
    keys: BTreeMap<u32, hmac::Key>,
    newest: u32,
}

/// Why a text holds no master keys. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMasterKey {
    /// A word is not VERSION:KEY.
    #[error("expected words of the form VERSION:KEY, such as `1:` and 43 characters of base64url")]
    Form,
    /// The key has fewer than 32 bytes.
    #[error("a master key is shorter than 32 bytes")]
    Short,
    /// Two keys have one version.
    #[error("two master keys have the same version")]
    Repeated,
    /// There is none.
    #[error("there is no master key")]
    Empty,
}

impl MasterKeys {
    /// Reads keys as `VERSION:BASE64URL`, separated by spaces, commas or line breaks.
    ///
    /// # Errors
    /// When a word has another form, a key is too short, or there is none.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let mut keys = BTreeMap::new();
        let words = text.split([' ', ',', '\n', '\r', '\t']);
        for word in words.filter(|word| !word.is_empty()) {
            let (version, key) = word.split_once(':').ok_or(InvalidMasterKey::Form)?;
            let version: u32 = version.parse().map_err(|_cause| InvalidMasterKey::Form)?;
            let key = URL_SAFE_NO_PAD
                .decode(key.trim_end_matches('='))
                .map_err(|_cause| InvalidMasterKey::Form)?;
            if key.len() < KEY_BYTES {
                return Err(InvalidMasterKey::Short);
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            if keys.insert(version, key).is_some() {
                return Err(InvalidMasterKey::Repeated);
            }
        }
        let newest = keys.keys().next_back().copied();
        let newest = newest.ok_or(InvalidMasterKey::Empty)?;
        Ok(Self { keys, newest })
    }

    /// A new random key of that version, as [`MasterKeys::parse`] reads it. `None` when the
    /// system has no randomness to give.
    pub fn generate(version: u32) -> Option<Secret> {
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).ok()?;
        Some(Secret::new(&format!(
            "{version}:{}",
            URL_SAFE_NO_PAD.encode(key)
        )))
    }

    /// The version that new pairs are made with.
    pub const fn newest(&self) -> u32 {
        self.newest
    }

    /// The secret access key of a pair: 40 characters, as long as AWS's. `None` where that
    /// version is no longer listed.
    pub fn pair_secret(&self, version: u32, id: KeyId) -> Option<String> {
        Some(derive(
            self.keys.get(&version)?,
            PAIR,
            &[id.as_str().as_bytes()],
        ))
    }

    /// The secret access key of a session: it depends on the whole session token, so a token that
    /// was changed, or made up, goes with a secret that nobody has.
    pub fn session_secret(&self, version: u32, id: KeyId, token: &str) -> Option<String> {
        let parts = [id.as_str().as_bytes(), token.as_bytes()];
        Some(derive(self.keys.get(&version)?, SESSION, &parts))
    }

    /// What the sessions of people at the admin listener are signed with.
    pub fn login_secret(&self) -> Option<Secret> {
        let key = self.keys.get(&self.newest)?;
        Some(Secret::new(&derive(key, LOGIN, &[])))
    }

    /// The secret that a request with an unknown id is checked against: as costly as a real one.
    pub fn secret_of_nobody(&self, id: &str) -> String {
        let key = self.keys.get(&self.newest);
        key.map(|key| derive(key, NOBODY, &[id.as_bytes()]))
            .unwrap_or_default()
    }
}

/// 30 bytes of HMAC-SHA256 (RFC 2104) over purpose and parts, each part with its length before
/// it, so that no two lists of parts read the same.
fn derive(key: &hmac::Key, purpose: &str, parts: &[&[u8]]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(purpose.as_bytes());
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        context.update(&length.to_be_bytes());
        context.update(part);
    }
    let tag = context.sign();
    STANDARD.encode(tag.as_ref().get(..30).unwrap_or_default())
}

impl std::fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

const KEY_BYTES: usize = 32;
/// What a derived secret is for: one master key never makes the same secret twice.
const PAIR: &str = "bedrock-meter pair 1";
const SESSION: &str = "bedrock-meter session 1";
const LOGIN: &str = "bedrock-meter login 1";
const NOBODY: &str = "bedrock-meter nobody 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KeyKind;

    /// 32 zero bytes.
    const ZERO: &str = "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_secret_is_the_hmac_that_another_implementation_makes() {
        let keys = MasterKeys::parse(ZERO).unwrap();
        let id = KeyId::parse("BMAKABCDEFGHIJKLMNOP").unwrap();
        // python3: base64.b64encode(hmac.digest(bytes(32), b"bedrock-meter pair 1"
        //     + (20).to_bytes(4, "big") + b"BMAKABCDEFGHIJKLMNOP", "sha256")[:30])
        let expected = "nXiG7PCSRQ9kHS6OtTmc44PkVk4yXdfouE/1Sya9";
        assert_eq!(keys.pair_secret(1, id).as_deref(), Some(expected));
        // ... b"bedrock-meter session 1" + (20)... + id + (1).to_bytes(4, "big") + b"t"
        let expected = "+VYR7Bd5qeGNmlHUdmOLWFE41mR5/Ye9PaM5DXwq";
        assert_eq!(keys.session_secret(1, id, "t").as_deref(), Some(expected));
        assert_eq!(keys.pair_secret(2, id), None);
    }

    #[test]
    fn the_highest_version_makes_new_pairs_and_the_others_still_verify() {
        let second = MasterKeys::generate(2).unwrap();
        let both = format!("{}\n{ZERO}", second.as_str());
        let keys = MasterKeys::parse(&both).unwrap();
        assert_eq!(keys.newest(), 2);
        let id = KeyId::generate(KeyKind::Pair).unwrap();
        assert_ne!(keys.pair_secret(1, id), keys.pair_secret(2, id));
        assert_eq!(keys.pair_secret(2, id).unwrap().len(), 40);
        assert_eq!(format!("{keys:?}"), "{1, 2}");
    }

    #[test]
    fn what_is_no_master_key_is_refused_without_repeating_it() {
        let check = |text: &str, expected: InvalidMasterKey| {
            assert_eq!(MasterKeys::parse(text).unwrap_err(), expected, "{text}");
        };
        check("", InvalidMasterKey::Empty);
        check(" \n", InvalidMasterKey::Empty);
        check("AAAA", InvalidMasterKey::Form);
        check("x:AAAA", InvalidMasterKey::Form);
        check("1:!!", InvalidMasterKey::Form);
        check("1:c2hvcnQ", InvalidMasterKey::Short);
        check(&format!("{ZERO},{ZERO}"), InvalidMasterKey::Repeated);
    }
}
