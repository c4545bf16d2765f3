//! Assumed roles (STS `AssumeRole`): what is issued, and what a session token says.
//!
//! A token carries its session, sealed with the simulator's secret, and the secret of its key
//! follows from it: any simulator with the same secret accepts what another has issued.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Settings;
use super::refusal::Refusal;

/// A role that was assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    role_arn: String,
    name: String,
    /// The session tags.
    pub(super) tags: Map<String, Value>,
    /// Seconds since 1970.
    expires_at: i64,
}

/// What `AssumeRole` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assumption {
    role_arn: String,
    name: String,
    tags: Map<String, Value>,
    seconds: i64,
}

/// The temporary key of a session.
pub(super) struct TemporaryKey {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: String,
}

impl Assumption {
    /// Reads the form, and refuses what STS refuses.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let form = Form::read(body);
        let role_arn = form.get("RoleArn").unwrap_or_default();
        if role_name(&role_arn).is_none() {
            return Err(Refusal::validation(format!("{role_arn} is invalid")));
        }
        let name = form.get("RoleSessionName").unwrap_or_default();
        if !(2..=64).contains(&name.len()) || !name.bytes().all(|b| is_word(b, b"=,.@-")) {
            return Err(Refusal::validation(
                "Member must satisfy regular expression pattern: [\\w+=,.@-]*",
            ));
        }
        let seconds = form
            .get("DurationSeconds")
            .unwrap_or_else(|| "3600".to_owned());
        let seconds: i64 = seconds.parse().unwrap_or_default();
        if !(900..=43_200).contains(&seconds) {
            return Err(Refusal::validation(
                "Member must have value between 900 and 43200",
            ));
        }
        Ok(Self {
            tags: form.tags()?,
            role_arn,
            name,
            seconds,
        })
    }

    /// The name of the role, without its path.
    pub(super) fn role_name(&self) -> &str {
        role_name(&self.role_arn).unwrap_or_default()
    }

    /// Whether it passes tags, which needs a permission of its own.
    pub(super) fn tags_the_session(&self) -> bool {
        !self.tags.is_empty()
    }

    /// The session that begins.
    pub(super) fn begin(self, settings: &Settings, now: Timestamp) -> Session {
        let seconds = settings.session_seconds.map_or(self.seconds, i64::from);
        Session {
            role_arn: self.role_arn,
            name: self.name,
            tags: self.tags,
            expires_at: now.as_second().saturating_add(seconds),
        }
    }
}

impl Session {
    /// Who it is: the ARN under which calls are logged and billed.
    pub(super) fn arn(&self) -> String {
        let account = self.role_arn.split(':').nth(4).unwrap_or_default();
        let role = role_name(&self.role_arn).unwrap_or_default();
        let name = &self.name;
        format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now.as_second()
    }

    /// Its key.
    pub(super) fn key(&self, settings: &Settings) -> TemporaryKey {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let text = BASE64_URL_SAFE_NO_PAD.encode(text);
        let seal = derived(settings, "seal", &text);
        TemporaryKey::of(settings, format!("{text}.{seal}"))
    }

    /// The session of a token that was issued here.
    pub(super) fn of_token(settings: &Settings, token: &str) -> Option<Self> {
        let (text, seal) = token.split_once('.')?;
        if derived(settings, "seal", text) != seal {
            return None;
        }
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }

    /// The answer of `AssumeRole`, in the XML of STS.
    pub(super) fn answer(&self, settings: &Settings, request_id: &str) -> Value {
        let TemporaryKey {
            access_key_id,
            secret_access_key,
            session_token,
        } = self.key(settings);
        let arn = self.arn();
        let expires_at = Timestamp::from_second(self.expires_at).unwrap_or_default();
        let name = &self.name;
        Value::String(format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:{name}</AssumedRoleId>\
             <Arn>{arn}</Arn></AssumedRoleUser><Credentials>\
             <AccessKeyId>{access_key_id}</AccessKeyId>\
             <SecretAccessKey>{secret_access_key}</SecretAccessKey>\
             <SessionToken>{session_token}</SessionToken>\
             <Expiration>{expires_at:.0}</Expiration>\
             </Credentials></AssumeRoleResult>\
             <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
             </AssumeRoleResponse>"
        ))
    }
}

impl TemporaryKey {
    /// The key of a token; it follows from it.
    pub(super) fn of(settings: &Settings, session_token: String) -> Self {
        let id = derived(settings, "id", &session_token).to_ascii_uppercase();
        let id: String = id.chars().take(16).collect();
        Self {
            access_key_id: format!("ASIA{id}"),
            secret_access_key: derived(settings, "secret", &session_token),
            session_token,
        }
    }
}

/// `role` of `arn:aws:iam::123456789012:role/path/role`.
fn role_name(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [
        "arn",
        "aws" | "aws-us-gov" | "aws-cn",
        "iam",
        "",
        account,
        resource,
    ] = parts.as_slice()
    else {
        return None;
    };
    let whole = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
    let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| is_word(b, b"=,.@-"));
    (whole && fits).then_some(name)
}

fn is_word(byte: u8, more: &[u8]) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'+' || more.contains(&byte)
}

fn derived(settings: &Settings, purpose: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, settings.secret_access_key.as_bytes());
    let tag = hmac::sign(&key, format!("{purpose}\n{text}").as_bytes());
    let digits = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// A form that was posted.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn read(body: &[u8]) -> Self {
        let decoded = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let text = String::from_utf8_lossy(body);
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect(),
        )
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.clone())
    }

    /// `Tags.member.N.Key` and `.Value`, counted from 1.
    fn tags(&self) -> Result<Map<String, Value>, Refusal> {
        let mut tags = Map::new();
        for number in 1..=50 {
            let member = |part: &str| self.get(&format!("Tags.member.{number}.{part}"));
            let (Some(key), Some(value)) = (member("Key"), member("Value")) else {
                break;
            };
            let fits = |text: &str| text.bytes().all(|b| is_word(b, b" =,.@-:/"));
            if key.is_empty()
                || key.len() > 128
                || value.len() > 256
                || !fits(&key)
                || !fits(&value)
            {
                return Err(Refusal::validation("A session tag is invalid."));
            }
            tags.insert(key, value.into());
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900\
         &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteams%2Fbedrock-red\
         &RoleSessionName=red%3D1&Tags.member.1.Key=tenant&Tags.member.1.Value=red%3A1";

    #[test]
    fn a_token_tells_its_session_and_no_other_secret_reads_it() {
        let settings = Settings::default();
        let assumption = Assumption::read(FORM.as_bytes()).unwrap();
        assert_eq!(assumption.role_name(), "bedrock-red");
        let session = assumption.begin(&settings, "2026-11-22T12:00:00Z".parse().unwrap());
        let key = session.key(&settings);
        let read = Session::of_token(&settings, &key.session_token).unwrap();
        assert_eq!(read, session);
        assert_eq!(
            read.arn(),
            "arn:aws:sts::123456789012:assumed-role/bedrock-red/red=1"
        );
        assert_eq!(read.tags["tenant"], "red:1");
        assert!(!read.is_over("2026-11-22T12:14:59Z".parse().unwrap()));
        assert!(read.is_over("2026-11-22T12:15:00Z".parse().unwrap()));
        let other = Settings {
            secret_access_key: "other".to_owned(),
            ..Settings::default()
        };
        assert!(Session::of_token(&other, &key.session_token).is_none());
    }

    #[test]
    fn what_sts_refuses_is_refused() {
        for (from, to) in [
            (
                "arn%3Aaws%3Aiam%3A%3A123456789012",
                "arn%3Aaws%3Aiam%3A%3A12",
            ),
            ("red%3D1&", "red%3A1&"),
            ("Seconds=900", "Seconds=60"),
            ("Value=red%3A1", "Value=red%21"),
        ] {
            assert!(FORM.contains(from), "{from}");
            assert!(
                Assumption::read(FORM.replace(from, to).as_bytes()).is_err(),
                "{to}"
            );
        }
    }
}
