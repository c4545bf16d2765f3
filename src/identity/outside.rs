//! What others than this proxy prove of a caller: the issuer of a token, the authority of a
//! certificate. Found before the head is judged, as it may have to wait for an issuer's keys.

use std::sync::Arc;

use super::certificates::CertificateCaller;
use super::error::IdentityError;
use super::jwt::{TokenCaller, TokenRefusal};
use super::proof::{Means, Proof};

/// What others prove of a caller.
#[derive(Debug, Default)]
pub struct Outside {
    /// What became of its token, where it shows one of an issuer's form and issuers are configured.
    pub token: Option<Result<Arc<TokenCaller>, TokenRefusal>>,
    /// Whom its certificate proves.
    pub certificate: Option<CertificateCaller>,
}

impl Outside {
    /// The proof that its token gives; `None` where it shows none that an issuer of ours made.
    ///
    /// # Errors
    /// When the token is of such an issuer and proves nobody.
    pub(super) fn by_token(&self) -> Option<Result<Proof, IdentityError>> {
        match self.token.as_ref()? {
            Ok(caller) => Some(Ok(Proof {
                means: Means::Jwt,
                tenant: caller.tenant.clone(),
                application: caller.application.clone(),
                user: caller.user.clone(),
                key: None,
                // Judged with the token, leeway included.
                expires_at: None,
            })),
            Err(TokenRefusal::UnknownIssuer | TokenRefusal::Malformed) => None,
            Err(TokenRefusal::KeysUnavailable) => Some(Err(IdentityError::IssuerUnavailable)),
            Err(refusal) => Some(Err(IdentityError::InvalidToken {
                reason: refusal.reason(),
            })),
        }
    }

    /// The proof that its certificate gives.
    pub(super) fn by_certificate(&self) -> Option<Proof> {
        let certificate = self.certificate.as_ref()?;
        Some(Proof {
            means: Means::Certificate,
            tenant: certificate.tenant.clone(),
            application: certificate.application.clone(),
            user: None,
            key: None,
            expires_at: None,
        })
    }
}
