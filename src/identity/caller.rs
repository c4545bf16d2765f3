//! From the head of a request to a caller: proven, trusted, or waiting for the body's hash.

use std::time::Duration;

use http::header::AUTHORIZATION;

use super::error::IdentityError;
use super::head::Head;
use super::identify::Identity;
use super::proof::Proof;
use super::session::Session;
use super::settings::{Mode, Settings};
use super::signature::{self, Shown, Signed};
use super::token;
use crate::domain::{BasePath, Region, Timestamp};
use crate::registry::Callers;

/// Who calls, as far as the head tells.
#[derive(Debug)]
pub enum Caller<'a> {
    /// Nobody is proven; its network is trusted.
    Trusted,
    /// The head alone proves it.
    Proven(Proof),
    /// A signature; whom it proves is known with the body's hash.
    Signed(Box<Signed<'a>>),
}

impl Caller<'_> {
    /// Whether the proof needs the body's hash.
    pub fn needs_hash(&self) -> bool {
        matches!(self, Self::Signed(signed) if signed.needs_hash())
    }

    /// The signature, where there is one.
    pub fn signature(&self) -> Option<&str> {
        match self {
            Self::Signed(signed) => Some(signed.as_str()),
            Self::Trusted | Self::Proven(_) => None,
        }
    }

    /// The region of its key, for calls that name none. A signature always names one.
    pub fn region(&self) -> Option<&Region> {
        match self {
            Self::Proven(proof) => proof.key.as_ref()?.policy.region.as_ref(),
            Self::Trusted | Self::Signed(_) => None,
        }
    }
}

impl Identity {
    /// Looks at what a request's head shows, and refuses before anything of its body is read
    /// whoever is not trusted, or shows something that cannot hold.
    ///
    /// # Errors
    /// Why the caller is refused.
    pub fn caller<'a>(
        &self,
        head: Head<'a>,
        base: &BasePath,
        callers: &Callers,
    ) -> Result<Caller<'a>, IdentityError> {
        match signature::shown(&head) {
            Some(Shown::Ours(id, signature)) => {
                let signed = Signed::read(head, signature, id, &self.settings, callers)?;
                signed.check_head(&self.settings)?;
                return Ok(Caller::Signed(Box::new(signed)));
            }
            Some(Shown::Foreign(access_key_id)) => {
                return self.unless_proven(&head, base, foreign(access_key_id));
            }
            Some(Shown::Malformed) => {
                let reason = "malformed";
                let refused = IdentityError::InvalidSignature { reason };
                return self.unless_proven(&head, base, refused);
            }
            None => {}
        }
        let Some(shown) = head.bearer() else {
            return self.unless_proven(&head, base, IdentityError::CredentialsMissing);
        };
        match by_token(&head, shown, callers) {
            Some(proof) => proof.map(Caller::Proven),
            None if token::is_amazons(shown) => {
                let issuer = "an API key of Bedrock";
                self.unless_proven(&head, base, IdentityError::ForeignKey { issuer })
            }
            None => self.unless_proven(&head, base, MALFORMED_TOKEN),
        }
    }

    /// The proof of a caller, once the body is here; `None` where it is trusted without.
    ///
    /// # Errors
    /// When its signature does not hold, or its key does not work any more.
    pub fn prove(
        &self,
        caller: Caller<'_>,
        head: &Head<'_>,
        body_sha256: impl FnOnce() -> [u8; 32],
    ) -> Result<Option<Proof>, IdentityError> {
        match caller {
            Caller::Trusted => Ok(None),
            Caller::Proven(proof) => Ok(Some(proof)),
            Caller::Signed(signed) => {
                let hash = if signed.needs_hash() {
                    body_sha256()
                } else {
                    [0; 32]
                };
                let proof = signed.prove(&hash, &self.settings)?;
                proof.demand_standing(head.now)?;
                Ok(Some(proof))
            }
        }
    }

    /// A pair of some time for a caller that proves itself by a token. The token stands in
    /// `authorization`, with or without `Bearer` before it.
    ///
    /// # Errors
    /// When the token proves nobody.
    pub fn session_for(
        &self,
        head: &Head<'_>,
        callers: &Callers,
        expires_at: Timestamp,
    ) -> Result<Session, IdentityError> {
        let shown = head.bearer().or_else(|| head.text(&AUTHORIZATION));
        let shown = shown.ok_or(IdentityError::CredentialsMissing)?;
        let proof = by_token(head, shown.trim(), callers);
        let proof = proof.unwrap_or(Err(MALFORMED_TOKEN))?;
        // Without randomness no id can be made: as if there were no key to give.
        Session::issue(&proof, callers.masters(), expires_at)
            .ok_or(IdentityError::CredentialsMissing)
    }

    /// How long a signature is valid, where each is taken only once.
    pub fn refuses_replays(&self) -> Option<Duration> {
        let Settings {
            refuse_replays,
            clock_skew_max,
            ..
        } = self.settings;
        refuse_replays.then_some(clock_skew_max)
    }

    /// A caller that shows nothing of ours: its certificate decides, else it is refused where a
    /// proof is demanded, else it is as trusted as its network.
    fn unless_proven(
        &self,
        head: &Head<'_>,
        base: &BasePath,
        refused: IdentityError,
    ) -> Result<Caller<'static>, IdentityError> {
        if let Some(proof) = head.outside.by_certificate() {
            return Ok(Caller::Proven(proof));
        }
        match self.settings.mode {
            Mode::Proven => Err(refused),
            Mode::TrustedHeaders => self.demand_trust(head, base),
        }
    }
}

/// The proof that a token gives; `None` for one that neither this proxy nor an issuer of its
/// settings made.
fn by_token(
    head: &Head<'_>,
    shown: &str,
    callers: &Callers,
) -> Option<Result<Proof, IdentityError>> {
    let Some((id, secret)) = token::parts(shown) else {
        return head.outside.by_token();
    };
    let proof = token::prove(id, secret, callers);
    Some(proof.and_then(|proof| proof.demand_standing(head.now).map(|()| proof)))
}

const MALFORMED_TOKEN: IdentityError = IdentityError::InvalidToken {
    reason: "malformed",
};

/// Words for a signature with another issuer's key. The id itself is not repeated.
fn foreign(access_key_id: &str) -> IdentityError {
    let issuer = match access_key_id.get(..4) {
        Some("AKIA") => "a long-term AWS access key (AKIA...)",
        Some("ASIA") => "temporary AWS credentials (ASIA...)",
        _ => "an access key that this proxy did not issue",
    };
    IdentityError::ForeignKey { issuer }
}
