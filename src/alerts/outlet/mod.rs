//! How each kind of outlet wants to hear: a notice becomes HTTP requests. Nothing is sent here.

mod alertmanager;
mod slack;
mod sns;
mod webhook;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri, header};

use super::settings::{OutletKind, OutletSettings};
use super::{InvalidOutlet, Notice};
use crate::aws::Credentials;
use crate::domain::{Secret, Timestamp};
use alertmanager::Alertmanager;
use slack::Slack;
use sns::Sns;
use webhook::Webhook;

/// A POST that is to be sent, without its `host`.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to; not to be shown, it may hold a secret.
    pub url: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An outlet, ready to tell.
pub struct Outlet(Form);

enum Form {
    Webhook(Webhook),
    Slack(Slack),
    Sns(Box<Sns>),
    Alertmanager(Alertmanager),
}

impl Outlet {
    /// The outlet of these settings.
    ///
    /// # Errors
    /// When a key that its kind needs is missing or cannot be used, or one does not belong to it.
    pub fn new(settings: &OutletSettings) -> Result<Self, InvalidOutlet> {
        strays(settings)?;
        Ok(Self(match settings.kind {
            OutletKind::Webhook => Form::Webhook(Webhook::new(settings)?),
            OutletKind::Slack => Form::Slack(Slack::new(settings)?),
            OutletKind::Sns => Form::Sns(Box::new(Sns::new(settings)?)),
            OutletKind::Alertmanager => Form::Alertmanager(Alertmanager::new(settings)?),
        }))
    }

    /// Whether requests are signed with the proxy's own AWS credentials.
    pub const fn signs(&self) -> bool {
        matches!(self.0, Form::Sns(_))
    }

    /// Whether it wants to hear again and again while a notice stands.
    pub const fn hears_again(&self) -> bool {
        matches!(self.0, Form::Alertmanager(_))
    }

    /// The requests that tell of a notice; one that is taken is enough. None without credentials
    /// where they are needed.
    pub fn requests(
        &self,
        notice: &Notice,
        credentials: Option<&Credentials>,
        now: Timestamp,
    ) -> Vec<Outgoing> {
        match &self.0 {
            Form::Webhook(webhook) => vec![webhook.request(notice, now)],
            Form::Slack(slack) => vec![slack.request(notice)],
            Form::Sns(sns) => {
                let signed = credentials.map(|with| sns.request(notice, with, now));
                signed.into_iter().collect()
            }
            Form::Alertmanager(manager) => manager.requests(std::slice::from_ref(notice), now),
        }
    }

    /// The requests that tell again of all notices that stand, or stand no more.
    pub fn again(&self, notices: &[Notice], now: Timestamp) -> Vec<Outgoing> {
        match &self.0 {
            Form::Alertmanager(manager) => manager.requests(notices, now),
            Form::Webhook(_) | Form::Slack(_) | Form::Sns(_) => Vec::new(),
        }
    }
}

/// Refuses what does not belong to the kind: somebody meant something by it.
fn strays(settings: &OutletSettings) -> Result<(), InvalidOutlet> {
    use OutletKind::{Alertmanager, Slack, Sns, Webhook};
    let kind = settings.kind;
    let has_url = matches!(kind, Webhook | Slack);
    let given = [
        ("url", settings.url.is_some(), has_url),
        ("urls", !settings.urls.is_empty(), kind == Alertmanager),
        ("secret", settings.secret.is_some(), kind == Webhook),
        (
            "next_secret",
            settings.next_secret.is_some(),
            kind == Webhook,
        ),
        ("topic_arn", settings.topic_arn.is_some(), kind == Sns),
        ("endpoint", settings.endpoint.is_some(), kind == Sns),
        (
            "authorization",
            settings.authorization.is_some(),
            kind != Sns,
        ),
    ];
    let stray = given
        .into_iter()
        .find(|(_, given, belongs)| *given && !belongs);
    match stray {
        None => Ok(()),
        Some((key, _, _)) => Err(InvalidOutlet::new(
            key,
            "an outlet of this kind has no use for it",
            "remove it, or change kind",
        )),
    }
}

/// The URL of a webhook: `http` or `https`, a host, no user information.
fn web_url(settings: &OutletSettings) -> Result<Uri, InvalidOutlet> {
    let mend = "write a URL such as \"https://hooks.example.com/bedrock-meter\"";
    let missing = InvalidOutlet::new("url", "an outlet of this kind needs it", mend);
    let text = settings.url.as_ref().ok_or(missing)?;
    let invalid = InvalidOutlet::new("url", "it is no URL that can be called", mend);
    let url: Uri = text.as_str().parse().map_err(|_cause| invalid)?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority().ok_or(invalid)?;
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    if is_web && is_plain {
        Ok(url)
    } else {
        Err(invalid)
    }
}

/// Headers that every request has.
fn headers(
    settings: &OutletSettings,
    content_type: &'static str,
) -> Result<HeaderMap, InvalidOutlet> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(value) = &settings.authorization {
        headers.insert(header::AUTHORIZATION, secret(value)?);
    }
    Ok(headers)
}

fn secret(value: &Secret) -> Result<HeaderValue, InvalidOutlet> {
    let mend = "write visible ASCII characters, such as \"Bearer ...\"";
    let refused = InvalidOutlet::new("authorization", "it cannot be sent as a header", mend);
    let mut value = HeaderValue::from_str(value.as_str()).map_err(|_cause| refused)?;
    value.set_sensitive(true);
    Ok(value)
}

const JSON: &str = "application/json";
const USER_AGENT: &str = concat!("bedrock-meter/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlet_lacks_nothing_and_has_nothing_that_its_kind_does_not_use() {
        let full = || OutletSettings {
            url: Some(Secret::new("https://hooks.example.com/x?token=1")),
            secret: Some(Secret::new("s")),
            ..OutletSettings::named("ops")
        };
        let check = |settings: OutletSettings, expected: Option<&str>| {
            let found = Outlet::new(&settings).err().map(|problem| problem.key);
            assert_eq!(found, expected, "{settings:?}");
        };
        let of = |kind| OutletSettings { kind, ..full() };
        check(full(), None);
        check(
            OutletSettings {
                url: None,
                ..full()
            },
            Some("url"),
        );
        check(
            OutletSettings {
                secret: None,
                ..full()
            },
            Some("secret"),
        );
        check(of(OutletKind::Slack), Some("secret"));
        check(of(OutletKind::Sns), Some("url"));
        for url in ["ftp://x/", "/path", "https://u:p@h/", "nonsense"] {
            let url = Some(Secret::new(url));
            check(OutletSettings { url, ..full() }, Some("url"));
        }
        let plain = |kind| OutletSettings {
            kind,
            ..OutletSettings::named("ops")
        };
        check(plain(OutletKind::Alertmanager), Some("urls"));
        check(plain(OutletKind::Sns), Some("topic_arn"));
        let authorization = Some(Secret::new("a\nb"));
        check(
            OutletSettings {
                authorization,
                ..full()
            },
            Some("authorization"),
        );
    }
}
