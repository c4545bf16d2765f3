//! Are there credentials, and until when?

use super::finding::Finding;
use super::visit::Patient;
use crate::aws::Credentials;
use crate::upstream::{Authority, CredentialSettings, load_authority};

const CHECK: &str = "credentials";

pub(super) async fn check(patient: &Patient<'_>) -> (Finding, Option<Authority>) {
    let settings = &patient.upstream.credentials;
    match load_authority(settings).await {
        Ok(Authority::SigV4(credentials)) => check_expiry(patient, credentials),
        Ok(key @ Authority::Bearer(_)) => {
            let seen = "a Bedrock API key, whose end is not known";
            (Finding::ok(CHECK, seen), Some(key))
        }
        Err(why) => {
            let finding = Finding::failed(CHECK, first_line(&why), mend(settings));
            (finding, None)
        }
    }
}

fn check_expiry(patient: &Patient<'_>, credentials: Credentials) -> (Finding, Option<Authority>) {
    let name = shortened(&credentials.access_key_id);
    let Some(expires_at) = credentials.expires_at else {
        return (
            Finding::ok(CHECK, format!("access key {name}")),
            Some(Authority::SigV4(credentials)),
        );
    };
    let seen = format!("access key {name}, valid until {expires_at}");
    if expires_at <= patient.clock.now() {
        let seen = format!("access key {name} expired at {expires_at}");
        return (Finding::failed(CHECK, seen, RENEW), None);
    }
    (
        Finding::ok(CHECK, seen),
        Some(Authority::SigV4(credentials)),
    )
}

fn mend(settings: &CredentialSettings) -> String {
    let profile = match settings {
        CredentialSettings::DefaultChain { profile } => profile.as_deref(),
        CredentialSettings::Static { .. } => None,
        CredentialSettings::Bearer(_) => return NEW_KEY.to_owned(),
    };
    match profile {
        Some(profile) => format!(
            "check the profile {profile}: `aws sts get-caller-identity --profile {profile}`; for \
             single sign-on run `aws sso login --profile {profile}`"
        ),
        None => "give the process a role (instance profile, task role, service account), or set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or \
                 upstream.credentials in the configuration"
            .to_owned(),
    }
}

/// Enough of an access key id to recognise it.
fn shortened(id: &str) -> String {
    let head: String = id.chars().take(4).collect();
    let length = id.chars().count();
    let tail: String = id.chars().skip(length.saturating_sub(4).max(4)).collect();
    format!("{head}...{tail}")
}

/// What the SDK says at length, to its first line and at most so many characters.
fn first_line(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let line = line.trim_end_matches("Attempted:").trim_end_matches(". ");
    let said: String = line.chars().take(SAID_CHARACTERS_MAX).collect();
    format!("none found: {said}")
}

const SAID_CHARACTERS_MAX: usize = 200;
const NEW_KEY: &str = "set upstream.credentials.bearer_key or bearer_key_file to a Bedrock API key";
const RENEW: &str = "renew them: log in again (`aws sso login`), or let a role give them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_is_recognised_but_not_shown() {
        assert_eq!(shortened("AKIASIMULATOREXAMPLE"), "AKIA...MPLE");
        assert_eq!(shortened("short"), "shor...t");
        assert_eq!(shortened(""), "...");
    }
}
