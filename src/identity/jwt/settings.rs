//! Whose tokens are believed, and what they say (`[identity.issuers.NAME]`).

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::claim_name::ClaimName;
use crate::domain::{TenantId, keywords};
use crate::identity::pattern::Pattern;
use crate::identity::template::Template;

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What the configuration calls it; a label of metrics.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are; absent, and without a file: where its discovery document says.
    pub jwks_url: Option<JwksUrl>,
    /// The file that holds its keys.
    pub jwks_file: Option<PathBuf>,
    /// A PEM file with the authorities of that place, besides the system's.
    pub jwks_ca_file: Option<PathBuf>,
    /// A file with a bearer token for that place, read again for each request.
    pub jwks_token_file: Option<PathBuf>,
    /// Whether the way there leads through `upstream.proxy`.
    pub jwks_through_proxy: bool,
    /// How often the keys are read.
    pub refresh_interval: Duration,
    /// How long keys serve while they cannot be read.
    pub keys_max_age: Duration,
    /// The audiences of which a token must name one; never empty.
    pub audiences: Vec<String>,
    /// The algorithms that it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock may be from ours.
    pub leeway: Duration,
    /// The claim that names the tenant.
    pub tenant_claim: Option<ClaimName>,
    /// The claim that names the application.
    pub application_claim: Option<ClaimName>,
    /// The claim that names the user.
    pub user_claim: Option<ClaimName>,
    /// The tenant of tokens for which nothing else finds one.
    pub tenant: Option<TenantId>,
    /// Rules that find the tenant; the first that matches holds.
    pub rules: Vec<MatchRule>,
}

impl IssuerSettings {
    /// An issuer of that name, with nothing else said about it.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            issuer: String::new(),
            jwks_url: None,
            jwks_file: None,
            jwks_ca_file: None,
            jwks_token_file: None,
            jwks_through_proxy: true,
            refresh_interval: Duration::from_mins(10),
            keys_max_age: Duration::from_hours(24),
            audiences: Vec::new(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            leeway: Duration::from_mins(1),
            tenant_claim: None,
            application_claim: None,
            user_claim: None,
            tenant: None,
            rules: Vec::new(),
        }
    }
}

/// A rule from claims to a tenant (`[identity.issuers.NAME.match.RULE]`). All its conditions must
/// hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchRule {
    /// What the configuration calls it; rules are tried in the order of their names.
    pub name: String,
    /// Condition: the Kubernetes namespace.
    pub namespace: Option<Pattern>,
    /// Condition: the Kubernetes service account.
    pub service_account: Option<Pattern>,
    /// Condition: this claim has `value`.
    pub claim: Option<ClaimName>,
    /// What the claim must match.
    pub value: Option<Pattern>,
    /// The tenant.
    pub tenant: Option<Template>,
    /// The application.
    pub application: Option<Template>,
}

impl MatchRule {
    /// A rule of that name, with nothing else said about it.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: None,
            service_account: None,
            claim: None,
            value: None,
            tenant: None,
            application: None,
        }
    }
}

keywords!(
    /// A signature algorithm (RFC 7518 section 3.1, RFC 8037). There is no word for `none` or for
    /// HMAC: a token can ask for them, and no configuration can allow it.
    Algorithm {
        /// RSA PKCS #1 v1.5 with SHA-256.
        Rs256 = "RS256",
        /// RSA PKCS #1 v1.5 with SHA-384.
        Rs384 = "RS384",
        /// RSA PKCS #1 v1.5 with SHA-512.
        Rs512 = "RS512",
        /// RSA PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
);

/// Where a key set is: scheme, host and path, without user info.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(Uri);

impl JwksUrl {
    /// Reads an `http://` or `https://` URL.
    pub fn read(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority()?;
        let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
        (is_web && is_plain).then_some(Self(uri))
    }

    /// The URL.
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether nobody on the way can change what comes from there: TLS, or this machine.
    pub fn is_safe(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address = address.parse::<std::net::IpAddr>();
        let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        self.0.scheme_str() == Some("https") || is_local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        let check = |url: &str, expected| {
            let safe = JwksUrl::read(url).map(|url| url.is_safe());
            assert_eq!(safe, expected, "{url}");
        };
        check("https://issuer.example/keys?p=1", Some(true));
        check("http://127.0.0.1:9000/keys", Some(true));
        check("http://[::1]/keys", Some(true));
        check("http://localhost/keys", Some(true));
        check("http://issuer.example/keys", Some(false));
        check("http://localhost.example/keys", Some(false));
        check("https://user@issuer.example/", None);
        check("ftp://issuer.example/", None);
        check("/keys", None);
    }
}
