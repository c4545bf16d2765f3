//! Checks a SigV4 signature: the request is signed again by the AWS crate and compared. Or a
//! Bedrock API key, which takes the place of all that: such a request may carry nothing signed.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::HeaderMap;
use jiff::{Timestamp, civil, tz::TimeZone};

use super::Settings;
use super::refusal::Refusal;
use super::request::Request;
use super::sessions::{Session, TemporaryKey};

/// How far the signer's clock may be off, in seconds.
const SKEW_MAX: i64 = 300;

/// The parts of an `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// Whose signature it is said to be.
    pub(super) access_key_id: &'a str,
    date: &'a str,
    /// The region that the request is signed for.
    pub(super) region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    /// Reads `AWS4-HMAC-SHA256 Credential=.., SignedHeaders=.., Signature=..`.
    pub(super) fn read(headers: &'a HeaderMap) -> Option<Self> {
        let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let fields = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let field = |name: &str| {
            let mut fields = fields.split(',').map(str::trim);
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let mut scope = field("Credential")?.split('/');
        Some(Self {
            access_key_id: scope.next()?,
            date: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed_headers: field("SignedHeaders")?.split(';').collect(),
            signature: field("Signature")?,
        })
    }
}

/// The key that a request has to be signed with.
struct Key {
    access_key_id: String,
    secret_access_key: String,
}

/// Refuses a request that is neither signed as it must be nor carries the API key.
pub(super) fn verify(settings: &Settings, request: &Request) -> Result<(), Refusal> {
    if let Some(key) = bearer(request) {
        return check_key(settings, request, key);
    }
    let Some(claim) = Claim::read(&request.headers) else {
        let message = "Missing Authentication Token";
        return Err(Refusal::new(
            403,
            "MissingAuthenticationTokenException",
            message,
        ));
    };
    let key = key_of(settings, request)?;
    check_claim(settings, &key, &claim, service_of(request))?;
    let date = request.header("x-amz-date").unwrap_or_default();
    let signed_at = check_date(&claim, date, request.received_at)?;
    let expected = signature_of(&key, request, &claim, signed_at);
    if expected.as_deref() == Some(claim.signature) {
        Ok(())
    } else {
        Err(Refusal::signature(
            "The request signature we calculated does not match the signature you provided.",
        ))
    }
}

/// The signing name of the service that is called: STS has all its operations at `/`.
fn service_of(request: &Request) -> &'static str {
    if request.path() == "/" {
        "sts"
    } else {
        "bedrock"
    }
}

fn bearer(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

fn check_key(settings: &Settings, request: &Request, key: &str) -> Result<(), Refusal> {
    let signed = ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];
    if signed.iter().any(|name| request.header(name).is_some()) {
        return Err(Refusal::signature(
            "A request with an API key is not signed.",
        ));
    }
    if key != settings.bearer_key {
        let message = "Authentication failed: Please make sure your API Key is valid.";
        return Err(Refusal::new(403, "AccessDeniedException", message));
    }
    Ok(())
}

/// The account's own key, or the temporary one of the session that the request shows.
fn key_of(settings: &Settings, request: &Request) -> Result<Key, Refusal> {
    let Some(token) = request.header("x-amz-security-token") else {
        return Ok(Key {
            access_key_id: settings.access_key_id.clone(),
            secret_access_key: settings.secret_access_key.clone(),
        });
    };
    let Some(session) = Session::of_token(settings, token) else {
        let message = "The security token included in the request is invalid.";
        return Err(Refusal::new(403, "UnrecognizedClientException", message));
    };
    if session.is_over(request.received_at) {
        let message = "The security token included in the request is expired";
        return Err(Refusal::new(403, "ExpiredTokenException", message));
    }
    let key = TemporaryKey::of(settings, token.to_owned());
    Ok(Key {
        access_key_id: key.access_key_id,
        secret_access_key: key.secret_access_key,
    })
}

fn check_claim(
    settings: &Settings,
    key: &Key,
    claim: &Claim<'_>,
    service: &str,
) -> Result<(), Refusal> {
    if claim.access_key_id != key.access_key_id {
        let message = "The security token included in the request is invalid.";
        return Err(Refusal::new(403, "UnrecognizedClientException", message));
    }
    let region_served =
        settings.regions.is_empty() || settings.regions.iter().any(|region| region == claim.region);
    if claim.service != service || !region_served {
        return Err(Refusal::signature(&format!(
            "Credential should be scoped to a valid region and to service: '{service}'."
        )));
    }
    if !claim.signed_headers.contains(&"host") {
        return Err(Refusal::signature("'Host' must be a 'SignedHeader'."));
    }
    Ok(())
}

fn check_date(claim: &Claim<'_>, date: &str, now: Timestamp) -> Result<SystemTime, Refusal> {
    let parsed = civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok();
    let zoned = parsed.and_then(|parsed| parsed.to_zoned(TimeZone::UTC).ok());
    let Some(signed_at) = zoned.map(|zoned| zoned.timestamp()) else {
        return Err(Refusal::signature(
            "Date must be in ISO-8601 'basic format'.",
        ));
    };
    if !date.starts_with(claim.date) {
        return Err(Refusal::signature(
            "Date in Credential scope does not match X-Amz-Date.",
        ));
    }
    if (now.as_second() - signed_at.as_second()).abs() > SKEW_MAX {
        return Err(Refusal::signature("Signature expired."));
    }
    Ok(signed_at.into())
}

/// The signature that the request should carry; `None` when it cannot be signed at all.
fn signature_of(
    key: &Key,
    request: &Request,
    claim: &Claim<'_>,
    signed_at: SystemTime,
) -> Option<String> {
    let identity = Credentials::builder()
        .access_key_id(&key.access_key_id)
        .secret_access_key(&key.secret_access_key)
        .provider_name("simulator")
        .build()
        .into();
    let mut signing = SigningSettings::default();
    signing.excluded_headers = None;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(claim.region)
        .name(claim.service)
        .time(signed_at)
        .settings(signing)
        .build()
        .ok()?
        .into();
    let headers: Option<Vec<(&str, String)>> = claim
        .signed_headers
        .iter()
        .map(|name| Some((*name, request.header_values(name)?)))
        .collect();
    let headers = headers?;
    let signable = SignableRequest::new(
        request.method.as_str(),
        format!("http://{}{}", request.host(), request.target),
        headers.iter().map(|(name, value)| (*name, value.as_str())),
        SignableBody::Precomputed(request.body_sha256.clone()),
    )
    .ok()?;
    Some(sign(signable, &parameters).ok()?.into_parts().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;

    const PATH: &str = "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/invoke";

    /// Signed by botocore 1.43 for `Settings::default()` at 2026-11-22T12:00:00Z.
    async fn signed(change: impl FnOnce(&mut Request)) -> Result<(), Refusal> {
        let parts = http::Request::post(PATH)
            .header("Content-Type", "application/json")
            .header("Host", "127.0.0.1:9999")
            .header("X-Simulate", "input=1")
            .header("X-Amz-Date", "20261122T120000Z")
            .header(
                "Authorization",
                "AWS4-HMAC-SHA256 \
                 Credential=AKIASIMULATOREXAMPLE/20261122/us-west-2/bedrock/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-simulate, \
                 Signature=30b5b14539c294d5e81c070de94fee45a248e5c0baa01ae415a816b4431d6777",
            )
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let body = Full::new(Bytes::from_static(b"{\"a\":1}"));
        let mut request = Request::read(parts, body).await.unwrap();
        request.received_at = "2026-11-22T12:04:59Z".parse().unwrap();
        change(&mut request);
        verify(&Settings::default(), &request)
    }

    #[tokio::test]
    async fn a_signature_made_by_botocore_is_accepted() {
        assert_eq!(signed(|_| {}).await, Ok(()));
    }

    #[tokio::test]
    async fn any_change_of_what_was_signed_is_refused() {
        let changes: [fn(&mut Request); 6] = [
            |request| request.target = PATH.replace("%3A", ":"),
            |request| request.target.push_str("?a=b"),
            |request| request.body_sha256 = "0".repeat(64),
            |request| drop(request.headers.remove("x-simulate")),
            |request| drop(request.headers.insert("host", "other".parse().unwrap())),
            |request| request.received_at = "2026-11-22T12:05:01Z".parse().unwrap(),
        ];
        for (row, change) in changes.into_iter().enumerate() {
            let refused = signed(change).await.unwrap_err();
            let class = refused.class.as_str();
            assert_eq!((row, class), (row, "InvalidSignatureException"));
        }
    }
}
