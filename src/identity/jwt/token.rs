//! A token taken apart (RFC 7515 section 7.1, RFC 7519). Nothing here is proven yet.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::refusal::TokenRefusal;
use crate::domain::Timestamp;

/// The parts of a token.
pub(super) struct Token<'a> {
    pub(super) header: Header,
    pub(super) claims: Value,
    /// What is signed: header and claims as they were sent.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

/// The header's members that matter here. A key or certificate that comes with the token (`jwk`,
/// `jku`, `x5c`) is not read: whoever forges a token brings a key that fits.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    crit: Option<Value>,
}

/// Whether a bearer token looks like a JWT: three parts of base64url, the first one of an object.
pub fn looks_like_jwt(token: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    token.starts_with("ey")
        && token.bytes().filter(|b| *b == b'.').count() == 2
        && token.bytes().all(is_inner)
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(super) fn read(token: &'a str) -> Result<Self, TokenRefusal> {
        if token.len() > BYTES_MAX {
            return Err(TokenRefusal::TooLong);
        }
        Self::parts(token).ok_or(TokenRefusal::Malformed)
    }

    fn parts(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = json(header)?;
        // An extension that must be understood, and none is (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return None;
        }
        let claims: Value = json(claims)?;
        claims.is_object().then_some(Self {
            header,
            claims,
            signed,
            signature: BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Who claims to have issued it.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Whether it is for one of these.
    pub(super) fn is_for(&self, audiences: &[String]) -> bool {
        let is_one = |named: &Value| audiences.iter().any(|own| named.as_str() == Some(own));
        match self.claims.get("aud") {
            Some(Value::Array(named)) => named.iter().any(is_one),
            Some(named) => is_one(named),
            None => false,
        }
    }

    /// An instant that a claim holds; `Err` when it holds something else.
    pub(super) fn instant(&self, claim: &str) -> Result<Option<Timestamp>, TokenRefusal> {
        let Some(value) = self.claims.get(claim) else {
            return Ok(None);
        };
        let Value::Number(number) = value else {
            return Err(TokenRefusal::Malformed);
        };
        // Seconds since 1970; fractions are allowed (RFC 7519 section 2) and do not matter.
        let whole = number.to_string();
        let whole = whole.split('.').next().unwrap_or_default();
        let seconds: i64 = whole.parse().map_err(|_cause| TokenRefusal::Malformed)?;
        Ok(Some(Timestamp::from_unix_ms(seconds.saturating_mul(1000))))
    }
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Far above what issuers make (a Kubernetes token has one KiB), far below a header's limit.
const BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(header: &str, claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn a_jwt_is_told_from_other_bearer_tokens() {
        let check = |token: &str, expected| assert_eq!(looks_like_jwt(token), expected, "{token}");
        check(&encoded("{\"alg\":\"RS256\"}", "{}"), true);
        check("eyJhbGciOiJub25lIn0.e30.", true);
        check("", false);
        check("bedrock-api-key-YmVkcm9jaw==", false);
        check("eyJhbGciOiJub25lIn0.e30", false);
        check("eyJhbGciOiJub25lIn0.e30.a.b", false);
        check("ey a.b.c", false);
    }

    #[test]
    fn a_token_that_is_not_whole_is_malformed() {
        let check = |token: &str, expected: TokenRefusal| {
            let refused = Token::read(token).err();
            assert_eq!(refused, Some(expected), "{token}");
        };
        let malformed = TokenRefusal::Malformed;
        for token in ["", ".", "..", "a.b.c", "e30.e30.c2ln", "e30.e30"] {
            check(token, malformed);
        }
        let header = "{\"alg\":\"RS256\"}";
        check(&encoded(header, "[]"), malformed);
        check(&encoded(header, "\"sub\""), malformed);
        check(&encoded("{\"kid\":\"a\"}", "{}"), malformed);
        check(&encoded("{\"alg\":256}", "{}"), malformed);
        check(
            &encoded("{\"alg\":\"RS256\",\"crit\":[\"b64\"]}", "{}"),
            malformed,
        );
        let padded = format!("{}=", encoded(header, "{}"));
        check(&padded, malformed);
        let four_parts = format!("{}.e30", encoded(header, "{}"));
        check(&four_parts, malformed);
        let long = encoded(header, &format!("{{\"a\":\"{}\"}}", "a".repeat(BYTES_MAX)));
        check(&long, TokenRefusal::TooLong);
    }

    #[test]
    fn instants_are_whole_seconds_and_nothing_else() {
        let check = |claims: &str, expected: Result<Option<i64>, TokenRefusal>| {
            let token = encoded("{\"alg\":\"RS256\"}", claims);
            let instant = Token::read(&token).unwrap().instant("exp");
            assert_eq!(
                instant.map(|at| at.map(Timestamp::unix_ms)),
                expected,
                "{claims}"
            );
        };
        check("{}", Ok(None));
        check("{\"exp\":1700000000}", Ok(Some(1_700_000_000_000)));
        check("{\"exp\":1700000000.9}", Ok(Some(1_700_000_000_000)));
        check("{\"exp\":-1}", Ok(Some(-1000)));
        check("{\"exp\":9223372036854775807}", Ok(Some(i64::MAX)));
        for wrong in ["\"1700000000\"", "1e300", "null", "[1700000000]", "true"] {
            check(
                &format!("{{\"exp\":{wrong}}}"),
                Err(TokenRefusal::Malformed),
            );
        }
    }

    #[test]
    fn one_of_the_audiences_must_be_named() {
        let own = ["meter".to_owned(), "other".to_owned()];
        let check = |claims: &str, expected| {
            let token = encoded("{\"alg\":\"RS256\"}", claims);
            assert_eq!(
                Token::read(&token).unwrap().is_for(&own),
                expected,
                "{claims}"
            );
        };
        check("{\"aud\":\"meter\"}", true);
        check("{\"aud\":[\"x\",\"other\"]}", true);
        check("{\"aud\":\"Meter\"}", false);
        check("{\"aud\":\"meter other\"}", false);
        check("{\"aud\":[]}", false);
        check("{\"aud\":{\"meter\":true}}", false);
        check("{}", false);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(header in ".{0,40}", rest in ".{0,60}", raw in ".{0,80}") {
            drop(Token::read(&raw));
            drop(Token::read(&encoded(&header, &rest)));
            let _is_jwt = looks_like_jwt(&raw);
        }
    }
}
