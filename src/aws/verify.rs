//! Signature Version 4: what a client signed, and whether a secret makes the same signature.
//!
//! The canonical request is built from the bytes that arrived, in the order that the client
//! signed them: the path as it stands on the wire is encoded once more, `:authority` is a header
//! like any other (bedrock.md 1.6, 6.1, 6.2). Knows no keys, no clock and no callers.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::{HeaderMap, header};

use super::sigv4::{canonical_query, encode_path, hex};

/// An `Authorization` header of AWS Signature Version 4, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHead<'a> {
    /// The access key id.
    pub access_key_id: &'a str,
    /// The day of the scope, `YYYYMMDD`.
    pub day: &'a str,
    /// The region of the scope.
    pub region: &'a str,
    /// The service of the scope.
    pub service: &'a str,
    /// The names of the signed headers, in ascending order, joined by `;`.
    pub signed_headers: &'a str,
    /// The signature: 64 lower-case hex digits.
    pub signature: &'a str,
}

/// What is wrong with an `Authorization` header that claims to be a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSignature {
    /// A part is missing, repeated or of another form.
    #[error("the authorization header is not of the form that AWS Signature Version 4 has")]
    Form,
    /// The signed headers are not in ascending order.
    #[error("the signed headers are not sorted")]
    Unsorted,
}

impl<'a> SignedHead<'a> {
    /// Takes the request's signature apart; `None` where it bears none.
    ///
    /// # Errors
    /// When it claims to be one and is not.
    pub fn parse(headers: &'a HeaderMap) -> Option<Result<Self, MalformedSignature>> {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let line = lines
            .next()?
            .as_bytes()
            .strip_prefix(ALGORITHM.as_bytes())?;
        let mut read = || {
            let alone = lines.next().is_none();
            let line = str::from_utf8(line).map_err(|_cause| MalformedSignature::Form)?;
            let parsed = Self::read(line).filter(|_| alone);
            let parsed = parsed.ok_or(MalformedSignature::Form)?;
            if parsed.names().is_sorted_by(|a, b| a < b) {
                Ok(parsed)
            } else {
                Err(MalformedSignature::Unsorted)
            }
        };
        Some(read())
    }

    fn read(line: &'a str) -> Option<Self> {
        let [mut scope, mut signed, mut signature] = [None; 3];
        for part in line.strip_prefix(' ')?.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut scope,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        // From the right: an access key id of another issuer may hold a slash.
        let mut scope = scope?.rsplitn(5, '/');
        let is_scope = scope.next()? == "aws4_request";
        let service = scope.next().filter(|_| is_scope)?;
        let (region, day, access_key_id) = (scope.next()?, scope.next()?, scope.next()?);
        let signature = signature?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = day.len() == 8
            && day.bytes().all(|b| b.is_ascii_digit())
            && signature.len() == 64
            && signature.bytes().all(is_hex);
        fits.then_some(Self {
            access_key_id,
            day,
            region,
            service,
            signed_headers: signed?,
            signature,
        })
    }

    /// The names of the signed headers.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.signed_headers.split(';')
    }

    /// Whether a header was signed.
    pub fn signs(&self, name: &str) -> bool {
        self.names().any(|signed| signed == name)
    }
}

/// The request that was signed, as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// What a load balancer took off the path before this proxy saw it; usually empty.
    pub path_prefix: &'a str,
    /// The path exactly as it arrived, without the query.
    pub path: &'a str,
    /// The query exactly as it arrived, without `?`.
    pub query: &'a str,
    /// The value that the client signed as `host` or `:authority`.
    pub host: &'a str,
    /// The headers exactly as they arrived.
    pub headers: &'a HeaderMap,
    /// The hash of the body that was signed: lower-case hex, or a literal of AWS.
    pub payload_hash: &'a str,
    /// `x-amz-date`: `YYYYMMDDThhmmssZ`.
    pub date: &'a str,
}

/// Whether this secret signs this request so. Takes as long for a wrong secret as for a right one.
pub fn verify(head: &SignedHead<'_>, request: &Arrived<'_>, secret: &str) -> bool {
    let canonical = canonical_request(head, request);
    let hash = hex(digest(&SHA256, &canonical).as_ref());
    let SignedHead {
        day,
        region,
        service,
        ..
    } = head;
    let to_sign = [
        ALGORITHM,
        "\n",
        request.date,
        "\n",
        day,
        "/",
        region,
        "/",
        service,
        "/aws4_request\n",
        &hash,
    ]
    .concat();
    let key = signing_key(secret, head);
    let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    verify_slices_are_equal(signature.as_bytes(), head.signature.as_bytes()).is_ok()
}

/// The key of the scope (AWS general reference, "Calculate the signature"). It is made anew for
/// each request: a cache would tell by its speed which access key ids are known.
fn signing_key(secret: &str, head: &SignedHead<'_>) -> hmac::Key {
    let chain = [head.day, head.region, head.service, "aws4_request"];
    let first = hmac::Key::new(hmac::HMAC_SHA256, ["AWS4", secret].concat().as_bytes());
    chain.iter().fold(first, |key, part| {
        hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&key, part.as_bytes()).as_ref(),
        )
    })
}

fn canonical_request(head: &SignedHead<'_>, request: &Arrived<'_>) -> Vec<u8> {
    let mut path = String::with_capacity(256);
    encode_path(request.path_prefix, &mut path);
    encode_path(request.path, &mut path);
    let mut canonical = Vec::with_capacity(1024);
    for line in [request.method, &path, &canonical_query(request.query)] {
        canonical.extend_from_slice(line.as_bytes());
        canonical.push(b'\n');
    }
    for name in head.names() {
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        if matches!(name, "host" | ":authority") {
            push_trimmed(request.host.as_bytes(), &mut canonical);
        } else {
            push_values(request.headers, name, &mut canonical);
        }
        canonical.push(b'\n');
    }
    canonical.push(b'\n');
    canonical.extend_from_slice(head.signed_headers.as_bytes());
    canonical.push(b'\n');
    canonical.extend_from_slice(request.payload_hash.as_bytes());
    canonical
}

/// The values of a header, joined by commas. One that is not there signs as empty: then the
/// signature differs, as somebody took it away.
fn push_values(headers: &HeaderMap, name: &str, out: &mut Vec<u8>) {
    for (number, value) in headers.get_all(name).iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_trimmed(value.as_bytes(), out);
    }
}

/// A value without outer spaces, and runs of spaces inside it as one.
fn push_trimmed(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(|b| *b == b' ').filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::aws::{Credentials, Scope, Signable, Signer};
    use crate::domain::Timestamp;

    /// The key of the published signature test suite ("Signature Version 4 test suite").
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const PUBLISHED: &str = include_str!("../../tests/sigv4/published.tsv");

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn authorization(signed: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={signed}, Signature={signature}"
        )
    }

    #[test]
    fn the_published_vectors_verify_and_no_other_signature_does() {
        let lines = PUBLISHED.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, method, target, own, payload_hash, signature] = fields[..] else {
                panic!("{line}");
            };
            count += 1;
            let own = own.split(" | ").filter_map(|header| header.split_once(':'));
            let mut pairs = vec![
                ("host", "example.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ];
            pairs.extend(own);
            let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            let line = authorization(&names.join(";"), signature);
            pairs.push(("authorization", &line));
            let headers = map(&pairs);
            let head = SignedHead::parse(&headers).unwrap().unwrap();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let request = Arrived {
                method,
                path_prefix: "",
                path,
                query,
                host: "example.amazonaws.com",
                headers: &headers,
                payload_hash,
                date: "20150830T123600Z",
            };
            assert!(verify(&head, &request, SECRET), "{name}");
            assert!(!verify(&head, &request, "another"), "{name}");
            let moved = Arrived {
                host: "evil.example",
                ..request
            };
            assert!(!verify(&head, &moved, SECRET), "{name}");
        }
        assert_eq!(count, 12);
    }

    #[test]
    fn an_authorization_header_comes_apart_or_is_refused() {
        let signature = "a".repeat(64);
        let parse = |value: &str| {
            let headers = map(&[("authorization", value)]);
            SignedHead::parse(&headers).map(|read| {
                read.map(|head| [head.access_key_id, head.day, head.region, head.service].join(" "))
            })
        };
        let whole = authorization("host;x-amz-date", &signature);
        let expected = "AKIDEXAMPLE 20150830 us-east-1 service".to_owned();
        assert_eq!(parse(&whole), Some(Ok(expected.clone())));
        assert_eq!(
            parse(&whole.replace(", ", ",")),
            Some(Ok(expected)),
            "as some clients write it"
        );
        assert_eq!(parse("Bearer x"), None);
        assert_eq!(parse(""), None);
        let unsorted = authorization("x-amz-date;host", &signature);
        assert_eq!(parse(&unsorted), Some(Err(MalformedSignature::Unsorted)));
        let twice = authorization("host;host", &signature);
        assert_eq!(parse(&twice), Some(Err(MalformedSignature::Unsorted)));
        for wrong in [
            "AWS4-HMAC-SHA256".to_owned(),
            "AWS4-HMAC-SHA256 ".to_owned(),
            whole.replace("Credential", "credential"),
            whole.replace("aws4_request", "aws5_request"),
            whole.replace("20150830", "2015083"),
            whole.replace("20150830", "2015083x"),
            whole.replace(&signature, &signature.to_uppercase()),
            whole.replace(&signature, "aa"),
            whole.replace("SignedHeaders=host;x-amz-date, ", ""),
            format!("{whole}, Signature={signature}"),
            format!("{whole}, Extra=1"),
        ] {
            assert_eq!(
                parse(&wrong),
                Some(Err(MalformedSignature::Form)),
                "{wrong}"
            );
        }
        let headers = map(&[("authorization", &whole), ("authorization", &whole)]);
        assert!(
            SignedHead::parse(&headers).unwrap().is_err(),
            "one header, not two"
        );
    }

    proptest! {
        /// What our signer signs verifies, whatever stands in it; and no flipped bit does.
        #[test]
        fn what_was_signed_verifies_and_a_changed_bit_does_not(
            path in "/[a-z0-9:%/._~ -]{0,30}",
            query in "([a-z]{1,3}=[a-z0-9%+ ]{0,4}&?){0,3}",
            value in "[ -~]{0,30}",
            body in prop::collection::vec(any::<u8>(), 0..20),
            bit in 0_usize..512,
        ) {
            let hash = hex(digest(&SHA256, &body).as_ref());
            let mut headers = map(&[("content-type", value.trim()), ("x-amzn-bedrock-trace", "ENABLED")]);
            let credentials = Credentials {
                access_key_id: "AKIDEXAMPLE".into(),
                secret_access_key: SECRET.into(),
                session_token: None,
                expires_at: None,
            };
            let signable = Signable { method: "POST", path: &path, query: &query, host: "h:80", body_sha256: &hash };
            let scope = Scope { region: "eu-west-1", service: "bedrock" };
            let now = Timestamp::from_unix_ms(1_790_000_000_000);
            Signer::default().sign(signable, &mut headers, scope, &credentials, now);
            let date = headers["x-amz-date"].to_str().unwrap().to_owned();
            let head = SignedHead::parse(&headers).unwrap().unwrap();
            let request = Arrived {
                method: "POST", path_prefix: "", path: &path, query: &query, host: "h:80",
                headers: &headers, payload_hash: &hash, date: &date,
            };
            prop_assert!(verify(&head, &request, SECRET));
            let mut changed = body;
            changed.push(0);
            if let Some(byte) = changed.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let changed = hex(digest(&SHA256, &changed).as_ref());
            let altered = Arrived { payload_hash: &changed, ..request };
            prop_assert!(!verify(&head, &altered, SECRET));
            let longer = format!("{path}x");
            let altered = Arrived { path: &longer, ..request };
            prop_assert!(!verify(&head, &altered, SECRET));
            let split = Arrived { path_prefix: "/", path: path.strip_prefix('/').unwrap(), ..request };
            prop_assert!(verify(&head, &split, SECRET), "the prefix that was taken off is put back");
        }
    }
}
