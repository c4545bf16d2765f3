//! How a user's name is kept: as a keyed hash, as it is, or not at all.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::hmac;

use super::settings::UserPolicy;
use crate::domain::Secret;

/// Turns a user's name into what the ledger may keep.
pub(super) struct UserNames {
    policy: UserPolicy,
    key: hmac::Key,
}

impl UserNames {
    pub(super) fn new(policy: UserPolicy, key: &Secret) -> Self {
        Self {
            policy,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_str().as_bytes()),
        }
    }

    /// What may be kept of a user's name.
    pub(super) fn keep(&self, user: &str) -> Option<Arc<str>> {
        match self.policy {
            UserPolicy::Pseudonym => Some(self.pseudonym(user)),
            UserPolicy::Store => bounded(user),
            UserPolicy::Drop => None,
        }
    }

    /// The first 16 bytes of HMAC-SHA256, in hexadecimal: among a million million users two share
    /// a pseudonym with a chance below 10^-14 (n^2 / 2^129).
    fn pseudonym(&self, user: &str) -> Arc<str> {
        let tag = hmac::sign(&self.key, user.as_bytes());
        let mut text = String::with_capacity(2 * PSEUDONYM_BYTES);
        for byte in tag.as_ref().iter().take(PSEUDONYM_BYTES) {
            // Writing to a string cannot fail.
            let _ok = write!(text, "{byte:02x}");
        }
        text.into()
    }
}

impl fmt::Debug for UserNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserNames")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A caller's text as the ledger keeps it: printable, and at most 256 characters. Empty is none.
pub(super) fn bounded(text: &str) -> Option<Arc<str>> {
    let printable = text.trim().chars().filter(|c| !c.is_control());
    let kept: String = printable.take(TEXT_LENGTH_MAX).collect();
    (!kept.is_empty()).then(|| kept.into())
}

const PSEUDONYM_BYTES: usize = 16;
const TEXT_LENGTH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_the_start_of_the_keyed_hash() {
        // RFC 4231, test case 2.
        let names = UserNames::new(UserPolicy::Pseudonym, &Secret::new("Jefe"));
        assert_eq!(
            names.keep("what do ya want for nothing?").as_deref(),
            Some("5bdcc146bf60754e6a042426089575c7")
        );
    }

    #[test]
    fn the_policy_decides_what_is_kept() {
        let keep = |policy, user: &str| {
            let names = UserNames::new(policy, &Secret::new("k"));
            names.keep(user).map(|kept| kept.to_string())
        };
        assert_eq!(
            keep(UserPolicy::Store, " ann\u{7} "),
            Some("ann".to_owned())
        );
        assert_eq!(keep(UserPolicy::Store, "\u{7}"), None);
        assert_eq!(
            keep(UserPolicy::Store, &"é".repeat(300)),
            Some("é".repeat(256))
        );
        assert_eq!(keep(UserPolicy::Drop, "ann"), None);
        assert_ne!(keep(UserPolicy::Pseudonym, "ann"), Some("ann".to_owned()));
    }
}
