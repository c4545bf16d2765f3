//! Keys, tenants and acts as JSON: what commands print, and what the admin API sends. A command
//! that asks a server reads them back, so each is here once and in both directions.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::audit::{Act, AuditEvent};
use super::document::{PolicyDocument, TenantDocument};
use super::error::RegistryError;
use super::id::{KeyId, KeyKind};
use super::key::{Issued, KeyRecord};
use crate::domain::{Keyword as _, Secret, TenantId, Timestamp};

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// Its public id.
    pub id: String,
    /// `pair` or `token`.
    pub kind: String,
    /// Whose.
    pub tenant: String,
    /// Its name for people.
    pub name: Option<String>,
    /// `good`, `expired` or `revoked`.
    pub state: String,
    /// When it was made, RFC 3339 like all instants here.
    pub created_at: String,
    /// When it stops working.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// When a call last used it, to the minute or so.
    pub last_used_at: Option<String>,
    /// What it may do.
    pub policy: PolicyDocument,
}

impl ListedKey {
    /// The key as it stands at that instant.
    pub fn new(key: &KeyRecord, now: Timestamp) -> Self {
        Self {
            id: key.id.to_string(),
            kind: key.kind.name().to_owned(),
            tenant: key.tenant.to_string(),
            name: key.name.clone(),
            state: key.standing(now).name().to_owned(),
            created_at: key.created_at.to_string(),
            expires_at: text(key.expires_at),
            revoked_at: text(key.revoked_at),
            last_used_at: text(key.last_used_at),
            policy: key.policy.clone(),
        }
    }

    /// The key that was listed.
    ///
    /// # Errors
    /// When a text does not fit: another version wrote it.
    pub fn read(self) -> Result<KeyRecord, RegistryError> {
        Ok(KeyRecord {
            id: key_id(&self.id)?,
            kind: kind(&self.kind)?,
            tenant: parsed(&self.tenant)?,
            name: self.name,
            policy: self.policy,
            created_at: parsed(&self.created_at)?,
            expires_at: optional(self.expires_at.as_deref())?,
            revoked_at: optional(self.revoked_at.as_deref())?,
            last_used_at: optional(self.last_used_at.as_deref())?,
        })
    }
}

/// A tenant as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTenant {
    /// Its name.
    pub tenant: String,
    /// `active`, `suspended` or `outside its dates`.
    pub state: String,
    /// Since when it is suspended.
    pub suspended_at: Option<String>,
    /// As a file would describe it.
    pub described: TenantDocument,
}

impl ListedTenant {
    /// The tenant as it stands at that instant.
    ///
    /// # Errors
    /// When the document does not fit.
    pub fn new(
        name: &TenantId,
        document: TenantDocument,
        suspended_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, RegistryError> {
        let mut tenant = document.check(name)?;
        tenant.suspended_at = suspended_at;
        let state = match (tenant.is_active(now), suspended_at) {
            (true, _) => "active",
            (false, Some(_)) => "suspended",
            (false, None) => "outside its dates",
        };
        Ok(Self {
            tenant: name.to_string(),
            state: state.to_owned(),
            suspended_at: text(suspended_at),
            described: document,
        })
    }
}

/// An administrative act as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAct {
    /// When.
    pub at: String,
    /// Who.
    pub actor: String,
    /// What.
    pub act: String,
    /// The key's id or the tenant's name.
    pub subject: String,
    /// Whose.
    pub tenant: String,
    /// What changed.
    pub detail: String,
}

impl From<AuditEvent> for ListedAct {
    fn from(event: AuditEvent) -> Self {
        Self {
            at: event.at.to_string(),
            actor: event.actor,
            act: event.act.name().to_owned(),
            subject: event.subject,
            tenant: event.tenant,
            detail: event.detail,
        }
    }
}

/// A key as it is handed out, this once. It holds a secret: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct HandedOut {
    /// Its public id: the access key id of a pair.
    pub id: String,
    /// `pair` or `token`.
    pub kind: String,
    /// Whose.
    pub tenant: String,
    /// When it stops working.
    pub expires_at: Option<String>,
    /// The URL that clients reach the proxy by.
    pub endpoint_url: String,
    /// Of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// Of a token: the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl HandedOut {
    /// The key and the URL that it is for.
    pub fn new(issued: &Issued, endpoint_url: &str) -> Self {
        let secret = Some(issued.secret.as_str().to_owned());
        let (secret_access_key, token) = match issued.id.kind() {
            KeyKind::Token => (None, secret),
            KeyKind::Pair | KeyKind::Session => (secret, None),
        };
        Self {
            id: issued.id.to_string(),
            kind: issued.id.kind().name().to_owned(),
            tenant: issued.tenant.to_string(),
            expires_at: text(issued.expires_at),
            endpoint_url: endpoint_url.to_owned(),
            secret_access_key,
            token,
        }
    }

    /// The key that was handed out.
    ///
    /// # Errors
    /// When a text does not fit: another version wrote it.
    pub fn read(self) -> Result<(Issued, String), RegistryError> {
        let secret = self.secret_access_key.or(self.token);
        let secret = secret.ok_or_else(|| RegistryError::Stored("a key without secret".into()))?;
        let issued = Issued {
            id: key_id(&self.id)?,
            tenant: parsed(&self.tenant)?,
            secret: Secret::new(&secret),
            expires_at: optional(self.expires_at.as_deref())?,
        };
        Ok((issued, self.endpoint_url))
    }
}

impl ListedTenant {
    /// The tenant that was listed.
    ///
    /// # Errors
    /// When a text does not fit: another version wrote it.
    pub fn read(self) -> Result<(TenantId, TenantDocument, Option<Timestamp>), RegistryError> {
        let suspended_at = optional(self.suspended_at.as_deref())?;
        Ok((parsed(&self.tenant)?, self.described, suspended_at))
    }
}

impl ListedAct {
    /// The act that was listed.
    ///
    /// # Errors
    /// When a text does not fit: another version wrote it.
    pub fn read(self) -> Result<AuditEvent, RegistryError> {
        let unknown = || RegistryError::Stored(format!("act {}", self.act));
        Ok(AuditEvent {
            at: parsed(&self.at)?,
            act: Act::from_name(&self.act).ok_or_else(unknown)?,
            actor: self.actor,
            subject: self.subject,
            tenant: self.tenant,
            detail: self.detail,
        })
    }
}

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn key_id(text: &str) -> Result<KeyId, RegistryError> {
    KeyId::parse(text).ok_or_else(|| RegistryError::Stored(format!("key id {text}")))
}

fn kind(text: &str) -> Result<KeyKind, RegistryError> {
    KeyKind::from_name(text).ok_or_else(|| RegistryError::Stored(format!("kind {text}")))
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, RegistryError> {
    let refuse = |cause: T::Err| RegistryError::Stored(format!("{text}: {cause}"));
    text.parse().map_err(refuse)
}

fn optional<T: FromStr<Err: Display>>(text: Option<&str>) -> Result<Option<T>, RegistryError> {
    text.map(parsed).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    /// Through JSON and back.
    fn again<T: Serialize + for<'a> Deserialize<'a>>(listed: &T) -> T {
        serde_json::from_str(&serde_json::to_string(listed).unwrap()).unwrap()
    }

    #[test]
    fn what_is_listed_reads_back_as_what_it_was() {
        let key = KeyRecord {
            id: KeyId::generate(KeyKind::Pair).unwrap(),
            kind: KeyKind::Pair,
            tenant: "acme/eu".parse().unwrap(),
            name: Some("ci".to_owned()),
            policy: PolicyDocument::default(),
            created_at: NOW,
            expires_at: None,
            revoked_at: Some(NOW),
            last_used_at: None,
        };
        let listed = ListedKey::new(&key, NOW);
        assert_eq!(listed.state, "revoked");
        assert_eq!(again(&listed).read().unwrap(), key);
        let name: TenantId = "acme".parse().unwrap();
        let document = TenantDocument {
            ends: Some("2026-01-01".to_owned()),
            ..TenantDocument::default()
        };
        let listed = ListedTenant::new(&name, document.clone(), None, NOW).unwrap();
        assert_eq!(listed.state, "outside its dates");
        assert_eq!(again(&listed).read().unwrap(), (name, document, None));
        let event = AuditEvent {
            at: NOW,
            actor: "token:ci".to_owned(),
            act: Act::TenantRenamed,
            subject: "a".to_owned(),
            tenant: "a".to_owned(),
            detail: "to b".to_owned(),
        };
        assert_eq!(
            again(&ListedAct::from(event.clone())).read().unwrap(),
            event
        );
    }

    #[test]
    fn a_pair_and_a_token_name_their_secrets_apart() {
        for (kind, member) in [
            (KeyKind::Pair, "secret_access_key"),
            (KeyKind::Token, "token"),
        ] {
            let issued = Issued {
                id: KeyId::generate(kind).unwrap(),
                tenant: "acme".parse().unwrap(),
                secret: Secret::new("s3cret"),
                expires_at: Some(NOW),
            };
            let handed = HandedOut::new(&issued, "http://p:1");
            let json = serde_json::to_value(&handed).unwrap();
            assert_eq!(json[member], "s3cret");
            let (read, url) = again(&handed).read().unwrap();
            assert_eq!((read.id, read.expires_at), (issued.id, Some(NOW)));
            assert_eq!(
                (read.secret.as_str(), url.as_str()),
                ("s3cret", "http://p:1")
            );
        }
    }
}
