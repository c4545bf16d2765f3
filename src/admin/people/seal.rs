//! Texts that come back as they left: signed with HMAC-SHA256 (RFC 2104), each for one purpose.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Signs and verifies.
#[derive(Debug)]
pub(super) struct Seal(hmac::Key);

impl Seal {
    /// A seal that only these parts make. The first is the secret one.
    pub(super) fn new(secret: &str, parts: &[&str]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = sign(&secret, "key", parts);
        Self(hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()))
    }

    /// The value, readable, with its signature behind it. `None` when it is no JSON value.
    pub(super) fn seal<T: Serialize>(&self, purpose: &str, value: &T) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).ok()?);
        let tag = sign(&self.0, purpose, &[&payload]);
        Some(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// The value of a text that was sealed for this purpose; compared in constant time.
    pub(super) fn open<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        if text.len() > LENGTH_MAX {
            return None;
        }
        let (payload, tag) = text.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, &message(purpose, &[payload]), &tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// 43 characters that follow from purpose and text, and that nobody else can tell.
    pub(super) fn derive(&self, purpose: &str, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(sign(&self.0, purpose, &[text]))
    }
}

fn sign(key: &hmac::Key, purpose: &str, parts: &[&str]) -> hmac::Tag {
    hmac::sign(key, &message(purpose, parts))
}

/// Each part with its length before it, so that no two lists read the same.
fn message(purpose: &str, parts: &[&str]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in [purpose].iter().chain(parts) {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part.as_bytes());
    }
    message
}

/// Browsers keep no longer cookie.
const LENGTH_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_a_purpose_opens_for_it() {
        let seal = Seal::new("secret", &["a", "b"]);
        let sealed = seal.seal("session", &("ann", 7)).unwrap();
        let open = |seal: &Seal, purpose: &str, text: &str| {
            seal.open::<(String, u8)>(purpose, text)
                .map(|(name, _)| name)
        };
        assert_eq!(open(&seal, "session", &sealed).as_deref(), Some("ann"));
        assert_eq!(open(&seal, "login", &sealed), None);
        for parts in [&["ab", ""][..], &["a"], &["b", "a"]] {
            let other = Seal::new("secret", parts);
            assert_eq!(open(&other, "session", &sealed), None, "{parts:?}");
        }
        assert_eq!(
            open(&Seal::new("other", &["a", "b"]), "session", &sealed),
            None
        );
    }

    #[test]
    fn no_changed_character_opens() {
        let seal = Seal::new("secret", &[]);
        let sealed = seal.seal("session", &"ann").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of base64url may have bits that say nothing; those are refused.
            assert_eq!(seal.open::<String>("session", &changed), None, "{at}");
        }
        let mut cut = sealed;
        cut.pop();
        for text in ["", ".", "a", "a.", ".a", &cut] {
            assert_eq!(seal.open::<String>("session", text), None, "{text}");
        }
    }

    #[test]
    fn what_is_derived_can_be_a_verifier_of_pkce() {
        // RFC 7636 section 4.1: 43 to 128 unreserved characters.
        let derived = Seal::new("secret", &[]).derive("pkce", "state");
        assert_eq!(derived.len(), 43);
        assert!(
            derived
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert_ne!(derived, Seal::new("secret", &[]).derive("nonce", "state"));
    }
}
