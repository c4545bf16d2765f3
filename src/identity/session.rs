//! Pairs of one hour: what a workload is given for another proof, and what its session token says.
//!
//! Nothing of them is stored. The session token names tenant, application and end; the secret is
//! derived from the whole token, so whoever signs with it was given this token.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::proof::{Means, Proof};
use crate::domain::{ApplicationId, Secret, TenantId, Timestamp};
use crate::registry::{Callers, KeyId, KeyKind, MasterKeys};

/// A pair of one hour, with its session token.
#[derive(Clone, Debug)]
pub struct Session {
    /// The access key id.
    pub id: KeyId,
    /// The secret access key.
    pub secret: Secret,
    /// The session token, which goes with every request.
    pub token: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a session token says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    /// The master key of its secret.
    #[serde(rename = "m")]
    pub(super) master_version: u32,
    #[serde(rename = "t")]
    tenant: String,
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    application: Option<String>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The key that it was given for: its policy and its end hold for the session too.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(rename = "e")]
    expires_ms: i64,
}

impl Session {
    /// A new pair for a proven caller. `None` when the system has no randomness to give.
    pub(super) fn issue(
        proof: &Proof,
        masters: &MasterKeys,
        expires_at: Timestamp,
    ) -> Option<Self> {
        let ticket = Ticket {
            master_version: masters.newest(),
            tenant: proof.tenant.to_string(),
            application: proof.application.as_ref().map(ToString::to_string),
            user: proof.user.as_ref().map(ToString::to_string),
            key: proof.key.as_ref().map(|key| key.id.to_string()),
            expires_ms: expires_at.unix_ms(),
        };
        let token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&ticket).ok()?);
        let id = KeyId::generate(KeyKind::Session)?;
        let secret = masters.session_secret(masters.newest(), id, &token)?;
        Some(Self {
            id,
            secret: Secret::new(&secret),
            token: Secret::new(&token),
            expires_at,
        })
    }
}

impl Ticket {
    /// What a token says; nothing of it is believed before a signature holds.
    pub(super) fn read(token: &str) -> Option<Self> {
        if token.len() > TOKEN_LENGTH_MAX {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
    }

    /// Whom it proves, once the signature holds; `None` where its key is gone.
    pub(super) fn into_proof(self, callers: &Callers) -> Option<Proof> {
        let key = match &self.key {
            Some(id) => Some(Arc::clone(callers.key(KeyId::parse(id)?)?)),
            None => None,
        };
        let application = self.application.as_deref().map(ApplicationId::new);
        Some(Proof {
            means: Means::Session,
            tenant: TenantId::new(&self.tenant).ok()?,
            application: application.transpose().ok()?,
            user: self.user.map(Arc::from),
            key,
            expires_at: Some(Timestamp::from_unix_ms(self.expires_ms)),
        })
    }
}

const TOKEN_LENGTH_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reads_back_and_its_secret_follows_from_the_whole_token() {
        let masters = MasterKeys::parse("3:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let callers = Callers::nobody(masters.clone());
        let proof = Proof {
            means: Means::Token,
            tenant: TenantId::new("acme").unwrap(),
            application: ApplicationId::new("chat").ok(),
            user: Some("ann".into()),
            key: None,
            expires_at: None,
        };
        let until = Timestamp::from_unix_ms(1_800_000_000_000);
        let session = Session::issue(&proof, &masters, until).unwrap();
        let token = session.token.as_str();
        let secret = |token: &str| masters.session_secret(3, session.id, token).unwrap();
        assert_eq!(secret(token), session.secret.as_str());
        let ticket = Ticket::read(token).unwrap();
        assert_eq!(ticket.master_version, 3);
        let read = ticket.into_proof(&callers).unwrap();
        assert_eq!(
            (read.tenant, read.application),
            (proof.tenant, proof.application)
        );
        assert_eq!((read.user, read.expires_at), (proof.user, Some(until)));
        let forged = URL_SAFE_NO_PAD.encode(r#"{"m":3,"t":"evil","e":9999999999999}"#);
        assert!(Ticket::read(&forged).is_some(), "anybody can write one");
        assert_ne!(
            secret(&forged),
            session.secret.as_str(),
            "and nobody has its secret"
        );
        for text in ["", "!", "e30", &"A".repeat(5000)] {
            assert!(Ticket::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_session_of_a_key_that_is_gone_proves_nobody() {
        let masters = MasterKeys::parse("3:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let text = r#"{"m":3,"t":"acme","k":"BMATABCDEFGHIJKLMNOP","e":1}"#;
        let ticket = Ticket::read(&URL_SAFE_NO_PAD.encode(text)).unwrap();
        assert!(ticket.into_proof(&Callers::nobody(masters)).is_none());
    }
}
