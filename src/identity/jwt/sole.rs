//! One issuer whose tokens are asked for their claims, as those of a login provider are. What the
//! claims mean is the asker's to say.

use std::time::Duration;

use serde_json::Value;

use super::claim_name::ClaimName;
use super::issuers::{Issuer, patiently};
use super::refusal::TokenRefusal;
use super::ring::KeyRing;
use super::settings::IssuerSettings;
use super::token::Token;
use crate::domain::Timestamp;

/// An issuer by itself.
pub struct SoleIssuer(Issuer);

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    claims: Value,
    /// When the token ends, leeway not included.
    pub expires_at: Timestamp,
}

impl TokenClaims {
    /// What a token with these claims says.
    #[cfg(test)]
    pub(crate) const fn of(claims: Value, expires_at: Timestamp) -> Self {
        Self { claims, expires_at }
    }

    /// The claim as one text: a text, a list of exactly one, a number or a switch.
    pub fn text(&self, claim: &ClaimName) -> Option<String> {
        claim.text(&self.claims)
    }

    /// Whether the claim, or an item of a list, satisfies the condition.
    pub fn any(&self, claim: &ClaimName, fits: impl Fn(&str) -> bool) -> bool {
        claim.any(&self.claims, fits)
    }

    /// A claim of the token itself that is a text, by its whole name.
    pub fn named(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

impl SoleIssuer {
    /// The issuer of these settings, with its keys out of the ring.
    pub fn new(settings: &IssuerSettings, ring: &KeyRing) -> Self {
        Self(Issuer::new(settings, ring))
    }

    /// What a token of this issuer says, its signature, time and audience being right.
    ///
    /// # Errors
    /// Why it proves nobody.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<TokenClaims, TokenRefusal> {
        let token = Token::read(token)?;
        if token.issuer() != Some(self.0.settings.issuer.as_str()) {
            return Err(TokenRefusal::UnknownIssuer);
        }
        let checked = self.0.check(&token, now)?;
        Ok(TokenClaims {
            claims: token.claims,
            expires_at: checked.expires_at,
        })
    }

    /// As [`SoleIssuer::verify`], and where newer keys might help waits for them, for so long; see
    /// [`super::Issuers::verify_patiently`].
    ///
    /// # Errors
    /// Why it proves nobody.
    pub async fn verify_patiently(
        &self,
        token: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Result<TokenClaims, TokenRefusal> {
        patiently(&self.0.keys, patience, || self.verify(token, now)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_its_claims_once_it_is_verified() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../tests/jwt/tokens.json")).unwrap();
        let now = Timestamp::from_unix_ms(fixture["now"].as_i64().unwrap() * 1000);
        let token = fixture["accepted"][0]["token"].as_str().unwrap();
        let ring = KeyRing::default();
        let settings = |issuer: &str, audience: &str| IssuerSettings {
            issuer: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            ..IssuerSettings::named("login")
        };
        let asked = |issuer: &str, audience: &str| {
            let settings = settings(issuer, audience);
            let keys = ring.keys(&settings);
            keys.read(fixture["jwks"].to_string().as_bytes(), now)
                .unwrap();
            SoleIssuer::new(&settings, &ring).verify(token, now)
        };
        let claims = asked("https://login.example.com/", "bedrock-meter").unwrap();
        let team = "https://example.com/team".parse().unwrap();
        assert!(claims.text(&team).is_some());
        assert_eq!(claims.named("iss"), Some("https://login.example.com/"));
        assert!(claims.expires_at > now);
        for (issuer, audience, expected) in [
            (
                "https://login.example.com/",
                "another",
                TokenRefusal::WrongAudience,
            ),
            (
                "https://login.example.com",
                "bedrock-meter",
                TokenRefusal::UnknownIssuer,
            ),
        ] {
            assert_eq!(
                asked(issuer, audience),
                Err(expected),
                "{issuer} {audience}"
            );
        }
    }
}
