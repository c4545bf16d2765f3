//! A webhook of ours: the notice as JSON, signed over the time and the body.

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{JSON, Outgoing, headers, web_url};
use crate::alerts::settings::OutletSettings;
use crate::alerts::{InvalidOutlet, Notice};
use crate::aws::hex;
use crate::domain::Timestamp;

pub(super) struct Webhook {
    url: Uri,
    headers: HeaderMap,
    /// The secret, and the one that takes its place.
    keys: Vec<hmac::Key>,
}

impl Webhook {
    pub(super) fn new(settings: &OutletSettings) -> Result<Self, InvalidOutlet> {
        let url = web_url(settings)?;
        let mend = "draw one (openssl rand -hex 32), and give it to the receiver";
        let missing = InvalidOutlet::new("secret", "an outlet of this kind needs it", mend);
        let secret = settings.secret.as_ref().ok_or(missing)?;
        let secrets = [Some(secret), settings.next_secret.as_ref()];
        let key = |secret: &crate::domain::Secret| {
            hmac::Key::new(hmac::HMAC_SHA256, secret.as_str().as_bytes())
        };
        Ok(Self {
            url,
            headers: headers(settings, JSON)?,
            keys: secrets.into_iter().flatten().map(key).collect(),
        })
    }

    pub(super) fn request(&self, notice: &Notice, now: Timestamp) -> Outgoing {
        let body = notice.json();
        let mut headers = self.headers.clone();
        let signature = HeaderValue::try_from(self.signature(&body, now));
        if let (Ok(signature), Ok(id)) = (signature, HeaderValue::from_str(&notice.id)) {
            headers.insert(SIGNATURE, signature);
            headers.insert(IDEMPOTENCY_KEY, id);
        }
        Outgoing {
            url: self.url.clone(),
            headers,
            body: Bytes::from(body),
        }
    }

    /// `t=SECONDS,v1=HEX`, and one `v1` more while two secrets are valid.
    fn signature(&self, body: &str, now: Timestamp) -> String {
        let seconds = now.unix_ms().div_euclid(1000);
        let signed = format!("{seconds}.{body}");
        let mut signature = format!("t={seconds}");
        for key in &self.keys {
            let tag = hmac::sign(key, signed.as_bytes());
            signature.extend([",v1=", &hex(tag.as_ref())]);
        }
        signature
    }
}

const SIGNATURE: HeaderName = HeaderName::from_static("x-bedrock-meter-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn webhook(next_secret: Option<&str>) -> Webhook {
        let settings = OutletSettings {
            url: Some(Secret::new("https://hooks.example.com/x")),
            secret: Some(Secret::new("first")),
            next_secret: next_secret.map(Secret::new),
            ..OutletSettings::named("ops")
        };
        Webhook::new(&settings).unwrap()
    }

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body_and_two_secrets_make_two() {
        let now = Timestamp::from_unix_ms(1_790_000_000_999);
        // hmac.new(b"first", b"1790000000.{}", "sha256").hexdigest() in Python.
        let first = "e41b57f1ef7ed23d89f42aa2943dfe43742e4abee227ae6b3a5aa5a4dc394ad6";
        let next = "1a8ac544ac1e1441a1562a63a9a2181b675fb8755582db2fb4965243f36a48aa";
        let signature = webhook(None).signature("{}", now);
        assert_eq!(signature, format!("t=1790000000,v1={first}"));
        let signature = webhook(Some("next")).signature("{}", now);
        assert_eq!(signature, format!("t=1790000000,v1={first},v1={next}"));
    }

    #[test]
    fn the_request_carries_the_id_of_its_notice() {
        let now = Timestamp::from_unix_ms(0);
        let notice = Notice::test(None, now);
        let request = webhook(None).request(&notice, now);
        assert_eq!(request.headers["idempotency-key"], notice.id.as_str());
        assert_eq!(request.body, notice.json());
    }
}
