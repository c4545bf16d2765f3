//! A topic of Amazon SNS: `Publish`, signed with the proxy's own credentials (SNS API reference).

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{Outgoing, headers};
use crate::alerts::settings::OutletSettings;
use crate::alerts::{InvalidOutlet, Notice};
use crate::aws::{Arn, Credentials, Scope, Signable, Signer, hex, sns_url};
use crate::domain::{Keyword as _, Region, Timestamp};

pub(super) struct Sns {
    url: Uri,
    host: String,
    headers: HeaderMap,
    topic_arn: String,
    region: Region,
    signer: Signer,
}

impl Sns {
    pub(super) fn new(settings: &OutletSettings) -> Result<Self, InvalidOutlet> {
        let mend = "write one such as \"arn:aws:sns:us-east-1:123456789012:budgets\"";
        let missing = InvalidOutlet::new("topic_arn", "an outlet of this kind needs it", mend);
        let invalid = InvalidOutlet::new("topic_arn", "it is no ARN of a topic", mend);
        let topic_arn = settings.topic_arn.as_ref().ok_or(missing)?;
        let arn = Arn::parse(topic_arn).filter(|arn| arn.service == "sns");
        let arn = arn.filter(|arn| !arn.resource.is_empty()).ok_or(invalid)?;
        let region = Region::new(arn.region).map_err(|_cause| invalid)?;
        let url = match &settings.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => sns_url(&region).parse().map_err(|_cause| invalid)?,
        };
        Ok(Self {
            host: host(&url),
            url,
            headers: headers(settings, FORM)?,
            topic_arn: topic_arn.clone(),
            region,
            signer: Signer::default(),
        })
    }

    pub(super) fn request(
        &self,
        notice: &Notice,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Outgoing {
        let body = Bytes::from(self.form(notice));
        let mut headers = self.headers.clone();
        let signable = Signable {
            method: "POST",
            path: "/",
            query: "",
            host: &self.host,
            body_sha256: &hex(digest(&SHA256, &body).as_ref()),
        };
        let scope = Scope {
            region: self.region.as_str(),
            service: "sns",
        };
        self.signer
            .sign(signable, &mut headers, scope, credentials, now);
        Outgoing {
            url: self.url.clone(),
            headers,
            body,
        }
    }

    /// The name of such a topic ends so, in this spelling.
    fn is_fifo(&self) -> bool {
        self.topic_arn.strip_suffix(".fifo").is_some()
    }

    fn form(&self, notice: &Notice) -> String {
        // Programs get the payload, people a sentence.
        let message =
            json!({ "default": notice.json(), "email": email(notice), "sms": notice.summary });
        let mut form = String::from("Action=Publish&Version=2010-03-31&MessageStructure=json");
        let mut field = |name: &str, value: &str| {
            let value = utf8_percent_encode(value, ENCODED).to_string();
            form.extend(["&", name, "=", &value]);
        };
        field("TopicArn", &self.topic_arn);
        field("Subject", &subject(&notice.summary));
        field("Message", &message.to_string());
        let attributes = [
            ("id", notice.id.as_str()),
            ("kind", notice.kind.name()),
            ("severity", &notice.severity),
        ];
        let budget = notice.budget.as_deref().map(|budget| ("budget", budget));
        for (number, (name, value)) in (1..).zip(attributes.into_iter().chain(budget)) {
            let entry = format!("MessageAttributes.entry.{number}");
            field(&format!("{entry}.Name"), name);
            field(&format!("{entry}.Value.DataType"), "String");
            field(&format!("{entry}.Value.StringValue"), value);
        }
        if self.is_fifo() {
            field("MessageDeduplicationId", &notice.id);
            field("MessageGroupId", GROUP);
        }
        form
    }
}

/// The host as it will be sent: without the port that the scheme has anyway.
fn host(url: &Uri) -> String {
    let default = match url.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    match (url.host(), url.port_u16()) {
        (Some(host), Some(port)) if port != default => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// SNS takes a subject of fewer than 100 printable ASCII characters.
fn subject(summary: &str) -> String {
    let printable = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    let short = summary.chars().take(SUBJECT_CHARACTERS_MAX);
    short.map(printable).collect()
}

fn email(notice: &Notice) -> String {
    let owner = notice.owner.as_deref().unwrap_or("not named");
    let (summary, id, at) = (&notice.summary, &notice.id, notice.at);
    format!("{summary}\n\nNoticed: {at}\nOwner: {owner}\nId: {id}\n")
}

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Notices of one topic keep their order.
const GROUP: &str = "bedrock-meter";
const SUBJECT_CHARACTERS_MAX: usize = 99;

#[cfg(test)]
mod tests {
    use super::*;

    fn sns(topic: &str) -> Sns {
        let settings = OutletSettings {
            topic_arn: Some(format!("arn:aws:sns:eu-west-1:123456789012:{topic}")),
            ..OutletSettings::named("ops")
        };
        Sns::new(&settings).unwrap()
    }

    #[test]
    fn the_topic_decides_the_host_and_the_region() {
        let sns = sns("budgets");
        assert_eq!(sns.url, "https://sns.eu-west-1.amazonaws.com/");
        assert_eq!(sns.host, "sns.eu-west-1.amazonaws.com");
        assert_eq!(
            host(&Uri::from_static("http://127.0.0.1:99")),
            "127.0.0.1:99"
        );
        assert_eq!(host(&Uri::from_static("https://h:443")), "h");
    }

    #[test]
    fn only_a_fifo_topic_is_given_an_id_to_deduplicate_by() {
        let notice = Notice::test(None, Timestamp::default());
        let dedup = format!("&MessageDeduplicationId={}&MessageGroupId=", notice.id);
        assert!(!sns("budgets").form(&notice).contains("Deduplication"));
        assert!(sns("budgets.fifo").form(&notice).contains(&dedup));
    }

    #[test]
    fn a_subject_is_short_and_plain() {
        assert_eq!(subject("a\nb é"), "a?b ?");
        assert_eq!(subject(&"x".repeat(500)).len(), 99);
    }
}
