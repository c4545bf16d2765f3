//! The public keys of an issuer (RFC 7517), and signatures checked with them.
//!
//! The checking itself is done by `aws-lc-rs`; this file decides which key may check which
//! signature. A key never serves an algorithm of another kind, so that a token cannot have an RSA
//! key taken for an HMAC secret: no code here makes an HMAC.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::settings::Algorithm;
use crate::domain::{Keyword as _, Timestamp};

/// The usable keys of one issuer, as read at one moment.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<SigningKey>,
    /// Tells two versions of the keys apart.
    pub(super) fingerprint: [u8; 32],
    pub(super) read_at: Timestamp,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// It is longer than a mebibyte.
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// It is no JSON object with a list of keys.
    #[error("it is no JSON Web Key Set")]
    Malformed,
    /// It holds more than a hundred keys.
    #[error("it holds more than 100 keys")]
    TooMany,
    /// It holds no key for a signature that can be checked here.
    #[error("it holds no RSA (2048 bits or more), P-256, P-384 or Ed25519 key for signatures")]
    NoneUsable,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// A key as it is written.
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// One key.
pub(super) struct SigningKey {
    kid: Option<String>,
    /// The one algorithm that the issuer uses it with, where it says so.
    alg: Option<String>,
    material: Material,
}

enum Material {
    Rsa(PublicKeyComponents<Vec<u8>>),
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("alg", &self.alg)
            .finish_non_exhaustive()
    }
}

impl KeySet {
    /// Most bytes of a key set.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Reads a key set. Keys of kinds or uses that are not for us are passed over, as RFC 7517
    /// section 5 asks.
    ///
    /// # Errors
    /// When it holds nothing that could check a signature, or too much.
    pub fn read(text: &[u8], read_at: Timestamp) -> Result<Self, InvalidKeySet> {
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidKeySet::TooLong);
        }
        let document = serde_json::from_slice(text);
        let Document { keys } = document.map_err(|_cause| InvalidKeySet::Malformed)?;
        if keys.len() > KEYS_MAX {
            return Err(InvalidKeySet::TooMany);
        }
        let keys: Vec<_> = keys.into_iter().filter_map(SigningKey::read).collect();
        if keys.is_empty() {
            return Err(InvalidKeySet::NoneUsable);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, text).as_ref());
        Ok(Self {
            keys,
            fingerprint,
            read_at,
        })
    }

    /// The key of that id for that algorithm. A token without an id is served where only one key
    /// comes into question.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&SigningKey> {
        let fits = |key: &&SigningKey| {
            key.serves(algorithm) && (kid.is_none() || key.kid.as_deref() == kid)
        };
        let mut fitting = self.keys.iter().filter(fits);
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}

impl SigningKey {
    /// Whether it made this signature of that message.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, rsa_parameters(algorithm)) {
            (Material::Rsa(key), Some(parameters)) => {
                key.verify(parameters, message, signature).is_ok()
            }
            (Material::P256(key) | Material::P384(key) | Material::Ed25519(key), None) => {
                self.serves(algorithm) && key.verify_sig(message, signature).is_ok()
            }
            (Material::Rsa(_), None)
            | (Material::P256(_) | Material::P384(_) | Material::Ed25519(_), Some(_)) => false,
        }
    }

    fn read(value: Value) -> Option<Self> {
        let written: Written = serde_json::from_value(value).ok()?;
        let signs = written.purpose.as_deref().is_none_or(|used| used == "sig");
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        let material = material(&written)?;
        (signs && written.key_ops.as_ref().is_none_or(verifies)).then_some(Self {
            kid: written.kid,
            alg: written.alg,
            material,
        })
    }

    /// Whether it is a key of that algorithm, and its issuer does not use it with another.
    fn serves(&self, algorithm: Algorithm) -> bool {
        let is_of_kind = match &self.material {
            Material::Rsa(_) => rsa_parameters(algorithm).is_some(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        let alg = self.alg.as_deref();
        is_of_kind && alg.is_none_or(|alg| alg == algorithm.name())
    }
}

fn material(written: &Written) -> Option<Material> {
    match (written.kty.as_str(), written.crv.as_deref()) {
        ("RSA", _) => rsa(written),
        ("EC", Some("P-256")) => {
            let point = point(written, 32)?;
            parsed(&signature::ECDSA_P256_SHA256_FIXED, &point).map(Material::P256)
        }
        ("EC", Some("P-384")) => {
            let point = point(written, 48)?;
            parsed(&signature::ECDSA_P384_SHA384_FIXED, &point).map(Material::P384)
        }
        ("OKP", Some("Ed25519")) => {
            let key = decoded(written.x.as_deref())?;
            parsed(&signature::ED25519, &key).map(Material::Ed25519)
        }
        _ => None,
    }
}

fn rsa(written: &Written) -> Option<Material> {
    let number = |text: Option<&str>| {
        let bytes = decoded(text)?;
        // Leading zeros are forbidden and seen (RFC 7518 section 6.3.1.1).
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).map(<[u8]>::to_vec)
    };
    let key = PublicKeyComponents {
        n: number(written.n.as_deref())?,
        e: number(written.e.as_deref())?,
    };
    let parameters = &signature::RSA_PKCS1_2048_8192_SHA256;
    let is_long_enough = key.n.len() >= RSA_BYTES_MIN;
    (is_long_enough && key.to_parsed_public_key(parameters).is_ok()).then_some(Material::Rsa(key))
}

/// The uncompressed point of these coordinates (SEC 1 section 2.3.3).
fn point(written: &Written, bytes: usize) -> Option<Vec<u8>> {
    let [x, y] = [&written.x, &written.y].map(|coordinate| decoded(coordinate.as_deref()));
    let point = [vec![4], x?, y?].concat();
    (point.len() == 1 + 2 * bytes).then_some(point)
}

fn parsed(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(algorithm, key).ok()
}

fn decoded(text: Option<&str>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text?).ok()
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}

const KEYS_MAX: usize = 100;
const RSA_BYTES_MIN: usize = 2048 / 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515 appendix A.2 (RSA) and A.3 (P-256), RFC 8037 appendix A (Ed25519).
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    fn rsa_key() -> Value {
        json!({"kty": "RSA", "kid": "r", "n": N, "e": "AQAB"})
    }

    fn p256_key() -> Value {
        json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": X, "y": Y})
    }

    fn set(keys: &[Value]) -> Result<KeySet, InvalidKeySet> {
        let text = json!({ "keys": keys }).to_string();
        KeySet::read(text.as_bytes(), Timestamp::default())
    }

    fn verifies(keys: &[Value], algorithm: Algorithm, message: &str, signature: &str) -> bool {
        let set = set(keys).unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = set.find(None, algorithm).unwrap();
        key.verifies(algorithm, message.as_bytes(), &signature)
    }

    #[test]
    fn the_signatures_of_the_rfcs_are_right() {
        let rs256 = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}");
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        assert!(verifies(&[rsa_key()], Algorithm::Rs256, &rs256, signature));
        let tampered = rs256.replace("eyJpc3", "eyJpc4");
        assert!(!verifies(
            &[rsa_key()],
            Algorithm::Rs256,
            &tampered,
            signature
        ));
        assert!(!verifies(&[rsa_key()], Algorithm::Ps256, &rs256, signature));

        let es256 = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}");
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        assert!(verifies(&[p256_key()], Algorithm::Es256, &es256, signature));
        assert!(!verifies(
            &[p256_key()],
            Algorithm::Es256,
            &rs256,
            signature
        ));

        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": ED});
        let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert!(verifies(&[key], Algorithm::EdDsa, eddsa, signature));
    }

    #[test]
    fn a_key_is_found_by_id_and_kind() {
        let set = set(&[rsa_key(), p256_key()]).unwrap();
        let check = |kid: Option<&str>, algorithm, expected| {
            let found = set.find(kid, algorithm).is_some();
            assert_eq!(found, expected, "{kid:?} {algorithm:?}");
        };
        check(Some("r"), Algorithm::Rs256, true);
        check(Some("r"), Algorithm::Ps512, true);
        check(Some("r"), Algorithm::Es256, false);
        check(Some("e"), Algorithm::Es256, true);
        check(Some("e"), Algorithm::Es384, false);
        check(Some("e"), Algorithm::Rs256, false);
        check(Some("x"), Algorithm::Rs256, false);
        check(Some(""), Algorithm::Rs256, false);
        check(None, Algorithm::Rs256, true);
    }

    #[test]
    fn without_an_id_only_one_key_may_fit() {
        let mut other = rsa_key();
        other["kid"] = json!("s");
        let two = set(&[rsa_key(), other]).unwrap();
        assert!(two.find(None, Algorithm::Rs256).is_none());
        assert!(two.find(Some("s"), Algorithm::Rs256).is_some());
    }

    #[test]
    fn keys_for_other_uses_are_passed_over() {
        let usable = |changes: &Value| {
            let mut key = rsa_key();
            for (name, value) in changes.as_object().unwrap() {
                key[name] = value.clone();
            }
            set(&[key]).is_ok_and(|set| set.find(None, Algorithm::Rs256).is_some())
        };
        assert!(usable(
            &json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"]})
        ));
        assert!(usable(&json!({"n": format!("AAAA{N}")})));
        for changes in [
            json!({"use": "enc"}),
            json!({"alg": "RS512"}),
            json!({"alg": "HS256"}),
            json!({"key_ops": ["encrypt"]}),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!({"n": "AQAB"}),
            json!({"n": "not base64!"}),
            json!({"e": ""}),
            json!({"kid": 7}),
        ] {
            assert!(!usable(&changes), "{changes}");
        }
        let off_the_curve = json!({"kty": "EC", "crv": "P-256", "x": X, "y": X});
        assert_eq!(set(&[off_the_curve]).err(), Some(InvalidKeySet::NoneUsable));
        let cut = json!({"kty": "EC", "crv": "P-256", "x": "AQAB", "y": Y});
        assert_eq!(set(&[cut]).err(), Some(InvalidKeySet::NoneUsable));
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let check = |text: &[u8], expected: InvalidKeySet| {
            let read = KeySet::read(text, Timestamp::default());
            assert_eq!(read.err(), Some(expected));
        };
        check(b"", InvalidKeySet::Malformed);
        check(b"<html>", InvalidKeySet::Malformed);
        check(b"{\"keys\":{}}", InvalidKeySet::Malformed);
        check(b"{\"keys\":[]}", InvalidKeySet::NoneUsable);
        check(b"{\"keys\":[1,{}]}", InvalidKeySet::NoneUsable);
        check(&vec![b' '; KeySet::BYTES_MAX + 1], InvalidKeySet::TooLong);
        assert!(set(&vec![rsa_key(); 100]).is_ok());
        assert_eq!(
            set(&vec![rsa_key(); 101]).err(),
            Some(InvalidKeySet::TooMany)
        );
    }
}
