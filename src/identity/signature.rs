//! A caller proven by a signature with a pair that this proxy issued.
//!
//! Until the signature holds, nothing tells whether the access key id is known: an unknown one
//! goes the whole way with a secret that nobody has, and ends in the same answer.

use std::sync::Arc;

use http::HeaderName;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::error::IdentityError;
use super::head::Head;
use super::proof::{Means, Proof};
use super::session;
use super::settings::Settings;
use crate::aws::{Arrived, SignedHead, hex, verify};
use crate::domain::Timestamp;
use crate::registry::{Callers, Key, KeyId, KeyKind};

/// A signature whose form, scope and time are right.
#[derive(Debug)]
pub struct Signed<'a> {
    head: Head<'a>,
    signature: SignedHead<'a>,
    date: &'a str,
    payload: Payload<'a>,
    signer: Signer,
}

/// What the client says of the body's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload<'a> {
    /// `x-amz-content-sha256` has it: the signature can be checked before the body is read.
    Declared(&'a str),
    /// It is signed without being sent.
    Hashed,
    /// `UNSIGNED-PAYLOAD`, where the settings allow that.
    Unsigned,
}

/// Whose secret has to make the signature.
#[derive(Debug)]
struct Signer {
    secret: String,
    /// Whom a right signature proves; `None` for an id that nobody has.
    proof: Option<Proof>,
}

impl<'a> Signed<'a> {
    /// Reads what can be read before the body, and checks what needs no secret.
    ///
    /// # Errors
    /// When the signature is malformed, of another service, or too old.
    pub(super) fn read(
        head: Head<'a>,
        signature: SignedHead<'a>,
        id: KeyId,
        settings: &Settings,
        callers: &Callers,
    ) -> Result<Self, IdentityError> {
        let date = head
            .text(&AMZ_DATE)
            .filter(|_| signature.signs("x-amz-date"));
        let date = date.ok_or_else(|| refused("date_not_signed"))?;
        let signed_at = instant(date).ok_or_else(|| refused("malformed_date"))?;
        let skew_ms = signed_at.unix_ms().abs_diff(head.now.unix_ms());
        if u128::from(skew_ms) > settings.clock_skew_max.as_millis() {
            return Err(IdentityError::ClockSkew {
                skew_seconds: skew_ms.div_euclid(1000),
            });
        }
        if !date.starts_with(signature.day) || !SERVICES.contains(&signature.service) {
            return Err(refused("wrong_scope"));
        }
        if !signature.signs("host") && !signature.signs(":authority") {
            return Err(refused("host_not_signed"));
        }
        let mut names = head.headers.keys().map(HeaderName::as_str);
        if names.any(|name| must_be_signed(name) && !signature.signs(name)) {
            return Err(refused("header_not_signed"));
        }
        let payload = payload(&head, settings)?;
        let signer = signer(&head, id, callers)?;
        Ok(Self {
            head,
            signature,
            date,
            payload,
            signer,
        })
    }

    /// The signature itself, which differs for every request.
    pub fn as_str(&self) -> &'a str {
        self.signature.signature
    }

    /// Whether the body's hash is signed, so that it has to be made.
    pub fn needs_hash(&self) -> bool {
        self.payload != Payload::Unsigned
    }

    /// Checks the signature where the head alone allows that, so that the body of a stranger is
    /// never held.
    ///
    /// # Errors
    /// When it does not hold.
    pub(super) fn check_head(&self, settings: &Settings) -> Result<(), IdentityError> {
        match self.payload {
            Payload::Declared(hash) => self.check(hash, settings),
            Payload::Unsigned => self.check(UNSIGNED, settings),
            Payload::Hashed => Ok(()),
        }
    }

    /// The caller, once the body is here.
    ///
    /// # Errors
    /// When the signature does not hold, is of another body, or the key does not work any more.
    pub(super) fn prove(
        self,
        body_sha256: &[u8; 32],
        settings: &Settings,
    ) -> Result<Proof, IdentityError> {
        match self.payload {
            Payload::Declared(hash) if hash != hex(body_sha256) => {
                return Err(refused("wrong_body"));
            }
            Payload::Hashed => self.check(&hex(body_sha256), settings)?,
            Payload::Declared(_) | Payload::Unsigned => {}
        }
        self.signer.proof.ok_or_else(|| refused("unknown_key"))
    }

    fn check(&self, payload_hash: &str, settings: &Settings) -> Result<(), IdentityError> {
        let arrived = Arrived {
            method: self.head.method,
            path_prefix: settings.external_path_prefix.as_deref().unwrap_or_default(),
            path: self.head.uri.path(),
            query: self.head.uri.query().unwrap_or_default(),
            host: self.head.host(),
            headers: self.head.headers,
            payload_hash,
            date: self.date,
        };
        let holds = |host| {
            let arrived = Arrived { host, ..arrived };
            verify(&self.signature, &arrived, &self.signer.secret)
        };
        // A load balancer may call this proxy by another name than its clients do.
        let names = settings.external_names.iter().map(String::as_str);
        let mut names = std::iter::once(arrived.host).chain(names);
        match (names.any(holds), &self.signer.proof) {
            (true, Some(_)) => Ok(()),
            (_, None) => Err(refused("unknown_key")),
            (false, Some(_)) => Err(refused("bad_signature")),
        }
    }
}

fn refused(reason: &'static str) -> IdentityError {
    IdentityError::InvalidSignature { reason }
}

/// Headers that change what a call costs or who makes it: on the way, nobody may add one.
fn must_be_signed(name: &str) -> bool {
    name.starts_with("x-amzn-bedrock-")
        || matches!(name, "x-amz-security-token" | "x-amz-content-sha256")
}

fn payload<'a>(head: &Head<'a>, settings: &Settings) -> Result<Payload<'a>, IdentityError> {
    match head.text(&CONTENT_SHA256) {
        None if head.headers.contains_key(CONTENT_SHA256) => Err(refused("malformed_hash")),
        None => Ok(Payload::Hashed),
        Some(UNSIGNED) if settings.allow_unsigned_payload => Ok(Payload::Unsigned),
        Some(UNSIGNED) => Err(refused("unsigned_payload")),
        Some(hash) if hash.len() == 64 => Ok(Payload::Declared(hash)),
        Some(_) => Err(refused("malformed_hash")),
    }
}

/// Whose secret has to make the signature. An unknown id costs as many hashes as a known one.
fn signer(head: &Head<'_>, id: KeyId, callers: &Callers) -> Result<Signer, IdentityError> {
    let masters = callers.masters();
    let token = head.text(&SECURITY_TOKEN);
    if id.kind() == KeyKind::Session {
        let token = token.unwrap_or_default();
        let ticket = session::Ticket::read(token);
        let secret = ticket
            .as_ref()
            .and_then(|ticket| masters.session_secret(ticket.master_version, id, token));
        let proof = ticket.filter(|_| secret.is_some());
        let proof = proof.and_then(|ticket| ticket.into_proof(callers));
        let secret = secret.unwrap_or_else(|| masters.secret_of_nobody(id.as_str()));
        return Ok(Signer { secret, proof });
    }
    if token.is_some() {
        return Err(refused("session_token_of_another"));
    }
    let key = callers.key(id);
    let secret = key.and_then(|key: &Arc<Key>| masters.pair_secret(key.master_version(), id));
    let proof = key.filter(|_| secret.is_some());
    Ok(Signer {
        proof: proof.map(|key| Proof::by_key(Means::Signature, key)),
        secret: secret.unwrap_or_else(|| masters.secret_of_nobody(id.as_str())),
    })
}

/// The instant of `YYYYMMDDThhmmssZ`.
fn instant(date: &str) -> Option<Timestamp> {
    let plain = date.strip_suffix('Z').filter(|plain| plain.len() == 15)?;
    let digits = |range: std::ops::Range<usize>| plain.get(range)?.parse::<i8>().ok();
    let year: i16 = plain.get(..4)?.parse().ok()?;
    if plain.as_bytes().get(8) != Some(&b'T')
        || !plain.bytes().all(|b| b == b'T' || b.is_ascii_digit())
    {
        return None;
    }
    let at = DateTime::new(
        year,
        digits(4..6)?,
        digits(6..8)?,
        digits(9..11)?,
        digits(11..13)?,
        digits(13..15)?,
        0,
    );
    let at = Offset::UTC.to_timestamp(at.ok()?).ok()?;
    Some(Timestamp::from_unix_ms(at.as_millisecond()))
}

/// What a signature of a request with this `Authorization` header would be of, whoever signed.
pub(super) fn shown<'a>(head: &Head<'a>) -> Option<Shown<'a>> {
    let parsed = SignedHead::parse(head.headers)?;
    Some(match parsed {
        Ok(signature) => match KeyId::parse(signature.access_key_id) {
            Some(id) => Shown::Ours(id, signature),
            None => Shown::Foreign(signature.access_key_id),
        },
        Err(_malformed) => Shown::Malformed,
    })
}

/// Whose signature a request bears.
pub(super) enum Shown<'a> {
    /// One with an id of the form that this proxy issues.
    Ours(KeyId, SignedHead<'a>),
    /// One with another's id, such as a real AWS key.
    Foreign(&'a str),
    /// None that can be read.
    Malformed,
}

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// What clients sign for: bedrock-runtime, and Bedrock's second host (bedrock.md 1.7).
const SERVICES: [&str; 2] = ["bedrock", "bedrock-mantle"];
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
