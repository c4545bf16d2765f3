//! Signature Version 4: signs what we send upstream.
//!
//! The canonical request is ours, the signing key the AWS crate's, and tests cross the two. A
//! signing key (four HMACs) is made once per credential, day, region and service and then kept,
//! with the part of the HMAC and the texts that depend on it alone.
//! Bedrock signs like every service but S3: the path as it stands on the wire is encoded once
//! more (AWS general reference, "Create a canonical request").

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::generate_signing_key;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::Timestamp;

/// An AWS credential. Prints without its secrets.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id, such as `AKIA...`.
    pub access_key_id: Arc<str>,
    /// The secret access key.
    pub secret_access_key: Arc<str>,
    /// The session token of a temporary credential.
    pub session_token: Option<Arc<str>>,
    /// When it stops working; `None` for a lasting one.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What is signed: the request as it will stand on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path exactly as sent, without the query.
    pub path: &'a str,
    /// The query exactly as sent, without `?`; empty for none.
    pub query: &'a str,
    /// The `Host` header that will be sent.
    pub host: &'a str,
    /// Lower-case hex SHA-256 of the body.
    pub body_sha256: &'a str,
}

/// Where a signature is valid.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region of the host that is called.
    pub region: &'a str,
    /// The signing name of the service: `bedrock`.
    pub service: &'a str,
}

/// Signs requests, keeping the signing keys of the scopes it has seen.
#[derive(Default)]
pub struct Signer {
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    keys: Vec<CachedKey>,
    /// Holds the canonical request, then the string to sign: its room serves every call.
    text: String,
}

/// A signing key, and the texts that depend on nothing else.
struct CachedKey {
    access_key_id: Arc<str>,
    day: [u8; 8],
    region: Box<str>,
    service: Box<str>,
    key: hmac::Key,
    /// `DAY/REGION/SERVICE/aws4_request`.
    scope: String,
    /// The `authorization` header up to the names of the signed headers.
    authorization: String,
}

impl Signer {
    /// Signs: sets `x-amz-date`, `x-amz-security-token` where there is one, and `authorization`.
    ///
    /// Signed are `host`, `content-type`, and the `x-amz-*` and `x-amzn-*` headers present: as
    /// few as Bedrock needs, so that nothing on the way breaks the signature. A header value
    /// that is not visible ASCII is left unsigned.
    pub fn sign(
        &self,
        request: Signable<'_>,
        headers: &mut HeaderMap,
        scope: Scope<'_>,
        credentials: &Credentials,
        now: Timestamp,
    ) {
        let date = amz_date(now);
        insert(headers, AMZ_DATE, &date);
        if let Some(token) = &credentials.session_token {
            insert(headers, AMZ_SECURITY_TOKEN, token);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { keys, text } = &mut *memory;
        let Some(cached) = cached_key(keys, credentials, &date, scope, now) else {
            return; // never: one is made when there is none
        };

        text.clear();
        let names = write_canonical_request(request, headers, text);
        let hash = digest(&SHA256, text.as_bytes());
        let names = text.get(names).unwrap_or_default();
        let length = cached.authorization.len() + names.len() + SIGNATURE.len() + 2 * 32;
        let mut authorization = String::with_capacity(length);
        for part in [&cached.authorization, names, SIGNATURE] {
            authorization.push_str(part);
        }

        text.clear();
        for part in ["AWS4-HMAC-SHA256\n", &date, "\n", &cached.scope, "\n"] {
            text.push_str(part);
        }
        push_hex(hash.as_ref(), text);
        let signature = hmac::sign(&cached.key, text.as_bytes());
        push_hex(signature.as_ref(), &mut authorization);
        if let Ok(authorization) = HeaderValue::try_from(authorization) {
            headers.insert(header::AUTHORIZATION, authorization);
        }
    }
}

/// The key of the scope, which is made when there is none.
fn cached_key<'k>(
    keys: &'k mut Vec<CachedKey>,
    credentials: &Credentials,
    date: &str,
    scope: Scope<'_>,
    now: Timestamp,
) -> Option<&'k CachedKey> {
    let (day, _time) = date.as_bytes().split_first_chunk::<8>()?;
    let found = keys.iter().position(|cached| {
        cached.day == *day
            && *cached.region == *scope.region
            && *cached.service == *scope.service
            && cached.access_key_id == credentials.access_key_id
    });
    if let Some(found) = found {
        return keys.get(found);
    }
    if keys.len() >= CACHED_KEYS_MAX {
        keys.clear();
    }
    keys.push(CachedKey::new(credentials, *day, scope, now));
    keys.last()
}

impl CachedKey {
    fn new(credentials: &Credentials, day: [u8; 8], scope: Scope<'_>, now: Timestamp) -> Self {
        let Scope { region, service } = scope;
        let since = Duration::from_millis(u64::try_from(now.unix_ms()).unwrap_or(0));
        let secret = &credentials.secret_access_key;
        let key = generate_signing_key(secret, UNIX_EPOCH + since, region, service);
        let day_text = str::from_utf8(&day).unwrap_or_default();
        let scope = format!("{day_text}/{region}/{service}/aws4_request");
        let id = &credentials.access_key_id;
        Self {
            access_key_id: Arc::clone(id),
            day,
            region: region.into(),
            service: service.into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            authorization: format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders="),
            scope,
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `20261122T235959Z`, the form of `x-amz-date`. Written by hand: every call needs it, and the
/// formatting machinery takes ten times as long.
fn amz_date(now: Timestamp) -> String {
    let instant = jiff::Timestamp::from_millisecond(now.unix_ms()).unwrap_or_default();
    let t = jiff::tz::Offset::UTC.to_datetime(instant);
    let year = t.year();
    let century = i8::try_from(year / 100).unwrap_or(0);
    let of_century = i8::try_from(year % 100).unwrap_or(0);
    let mut date = String::with_capacity(16);
    for number in [century, of_century, t.month(), t.day()] {
        push_two_digits(number, &mut date);
    }
    date.push('T');
    for number in [t.hour(), t.minute(), t.second()] {
        push_two_digits(number, &mut date);
    }
    date.push('Z');
    date
}

fn push_two_digits(number: i8, out: &mut String) {
    let number = number.unsigned_abs();
    out.push(char::from(b'0' + number / 10 % 10));
    out.push(char::from(b'0' + number % 10));
}

/// Writes the canonical request; where in it the list of signed headers stands.
fn write_canonical_request(
    request: Signable<'_>,
    headers: &HeaderMap,
    canonical: &mut String,
) -> Range<usize> {
    let mut signed: Vec<(&str, &str)> = Vec::with_capacity(SIGNED_HEADERS_USUAL);
    signed.push(("host", request.host));
    let present = headers.iter().filter(|(name, _)| is_signed(name));
    signed.extend(present.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))));
    signed.sort_by_key(|(name, _)| *name);

    canonical.push_str(request.method);
    canonical.push('\n');
    encode_path(request.path, canonical);
    canonical.push('\n');
    canonical.push_str(&canonical_query(request.query));
    canonical.push('\n');
    let mut last = "";
    for (name, value) in &signed {
        if *name == last {
            canonical.pop();
            canonical.push(',');
        } else {
            canonical.push_str(name);
            canonical.push(':');
        }
        push_trimmed(value, canonical);
        canonical.push('\n');
        last = name;
    }
    canonical.push('\n');
    let begin = canonical.len();
    signed.dedup_by_key(|(name, _)| *name);
    for (name, _) in signed {
        if canonical.len() > begin {
            canonical.push(';');
        }
        canonical.push_str(name);
    }
    let names = begin..canonical.len();
    canonical.push('\n');
    canonical.push_str(request.body_sha256);
    names
}

fn is_signed(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "content-type" || name.starts_with("x-amz-") || name.starts_with("x-amzn-")
}

/// A header value without outer spaces, and runs of spaces inside it as one.
fn push_trimmed(value: &str, out: &mut String) {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.push_str(first);
    }
    for word in words {
        out.push(' ');
        out.push_str(word);
    }
}

/// The wire path encoded once more, `/` kept. What needs no encoding is copied in runs.
pub(super) fn encode_path(path: &str, out: &mut String) {
    let mut rest = path;
    let is_encoded = |byte: u8| byte != b'/' && !is_unreserved(byte);
    // Every byte before the first encoded one is ASCII: it begins a character.
    while let Some((plain, tail)) = rest
        .bytes()
        .position(is_encoded)
        .and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(plain);
        let mut characters = tail.chars();
        if let Some(character) = characters.next() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                push_percent(byte, out);
            }
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// Parameters decoded, encoded strictly, and sorted by name then value.
pub(super) fn canonical_query(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let canonical = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for byte in percent_encoding::percent_decode_str(text) {
            if is_unreserved(byte) {
                out.push(char::from(byte));
            } else {
                push_percent(byte, &mut out);
            }
        }
        out
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (canonical(name), canonical(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn push_percent(byte: u8, out: &mut String) {
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from(hex_digit(nibble).to_ascii_uppercase()));
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    push_hex(bytes, &mut out);
    out
}

fn push_hex(bytes: &[u8], out: &mut String) {
    for hash in bytes.chunks(32) {
        let mut digits = [0; 64];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(hash) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
        }
        let digits = digits.get(..2 * hash.len()).unwrap_or_default();
        // Digits are UTF-8.
        out.push_str(str::from_utf8(digits).unwrap_or_default());
    }
}

/// Arithmetic is many times as fast as the formatting machinery, and every call needs 64 digits
/// three times.
const fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        10.. => b'a' - 10 + nibble,
    }
}

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const SIGNATURE: &str = ", Signature=";
/// `host`, `content-type`, `x-amz-date` and a token; more are rare.
const SIGNED_HEADERS_USUAL: usize = 8;
/// A few accounts in every region: more means a mistake, and the cache starts anew.
const CACHED_KEYS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials as CrateCredentials;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4::SigningParams;

    use super::*;

    const BODY: &[u8] = br#"{"messages":[]}"#;

    /// The Authorization header that the AWS crate makes for the same request.
    fn by_the_aws_crate(path_and_query: &str, headers: &[(&str, &str)], token: bool) -> String {
        let token = token.then(|| "TOKEN/with+chars==".to_owned());
        let identity = CrateCredentials::new("AKIDEXAMPLE", "SECRET", token, None, "test").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("bedrock")
            .time(UNIX_EPOCH + Duration::from_secs(1_790_000_000))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("https://bedrock-runtime.eu-west-1.amazonaws.com{path_and_query}");
        let body = SignableBody::Bytes(BODY);
        let request = SignableRequest::new("POST", uri, headers.iter().copied(), body).unwrap();
        let mut signed = http::Request::builder().body(()).unwrap();
        sign(request, &params)
            .unwrap()
            .into_parts()
            .0
            .apply_to_request_http1x(&mut signed);
        signed.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn by_us(path_and_query: &str, pairs: &[(&str, &str)], token: bool) -> String {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "SECRET".into(),
            session_token: token.then(|| "TOKEN/with+chars==".into()),
            expires_at: None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let body_sha256 = hex(digest(&SHA256, BODY).as_ref());
        let request = Signable {
            method: "POST",
            path,
            query,
            host: "bedrock-runtime.eu-west-1.amazonaws.com",
            body_sha256: &body_sha256,
        };
        let scope = Scope {
            region: "eu-west-1",
            service: "bedrock",
        };
        let now = Timestamp::from_unix_ms(1_790_000_000_000);
        let signer = Signer::default();
        signer.sign(request, &mut headers, scope, &credentials, now);
        let first = headers["authorization"].clone();
        headers.remove("authorization");
        signer.sign(request, &mut headers, scope, &credentials, now);
        assert_eq!(
            headers["authorization"], first,
            "the cached key signs like the first"
        );
        first.to_str().unwrap().to_owned()
    }

    #[test]
    fn signatures_equal_those_of_the_aws_crate() {
        let headers = [
            ("content-type", "application/json"),
            ("x-amzn-bedrock-service-tier", "priority"),
            ("x-amz-user-agent", "aws-sdk-js/3.1   os/linux"),
        ];
        let paths = [
            "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse",
            "/model/anthropic.claude-3-5-sonnet-20241022-v2:0/invoke",
            "/model/arn:aws:bedrock:us-east-1:123456789012:inference-profile%2Fabc/invoke",
            "/async-invoke?statusEquals=Completed&maxResults=5&a=b%20c&a=B",
            "/async-invoke?submitTimeAfter=2026-01-01T00%3A00%3A00Z",
        ];
        for path in paths {
            for token in [false, true] {
                assert_eq!(
                    by_us(path, &headers, token),
                    by_the_aws_crate(path, &headers, token)
                );
                assert_eq!(
                    by_us(path, &[], token),
                    by_the_aws_crate(path, &[], token),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn dates_and_digits_are_written_in_full() {
        // 2026-01-02T03:04:05Z, by `date -u -d @1767323045`.
        let date = amz_date(Timestamp::from_unix_ms(1_767_323_045_999));
        assert_eq!(date, "20260102T030405Z");
        assert_eq!(hex(&[0x00, 0x09, 0x0a, 0xf0, 0xff]), "00090af0ff");
        let mut path = String::new();
        encode_path("/model/\u{e9}%3A~/x", &mut path);
        assert_eq!(path, "/model/%C3%A9%253A~/x");
    }

    #[test]
    fn a_credential_prints_without_its_secret() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "TOPSECRET".into(),
            session_token: Some("TOKEN".into()),
            expires_at: None,
        };
        let printed = format!("{credentials:?}");
        assert!(!printed.contains("TOPSECRET") && !printed.contains("TOKEN"));
    }
}
