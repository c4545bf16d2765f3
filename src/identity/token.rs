//! A caller proven by a bearer token that this proxy issued: `BMAT..._SECRET`.

use super::error::IdentityError;
use super::proof::{Means, Proof};
use crate::registry::{Callers, KeyId, KeyKind};

/// The id of a token of this proxy's form, and its secret.
pub(super) fn parts(token: &str) -> Option<(KeyId, &str)> {
    let (id, secret) = token.split_once('_')?;
    let id = KeyId::parse(id).filter(|id| id.kind() == KeyKind::Token)?;
    Some((id, secret))
}

/// The caller that the token belongs to.
///
/// # Errors
/// When nobody has it. An unknown id and a wrong secret are one answer.
pub(super) fn prove(id: KeyId, secret: &str, callers: &Callers) -> Result<Proof, IdentityError> {
    match callers.key(id) {
        Some(key) if key.is_token_secret(secret) => Ok(Proof::by_key(Means::Token, key)),
        Some(_) => Err(IdentityError::InvalidToken {
            reason: "wrong_secret",
        }),
        None => Err(IdentityError::InvalidToken {
            reason: "unknown_token",
        }),
    }
}

/// Whether a token is one of Amazon's own: an API key of Bedrock (bedrock.md 6.3).
pub(super) fn is_amazons(token: &str) -> bool {
    token.starts_with("ABSK") || token.starts_with("bedrock-api-key-")
}
