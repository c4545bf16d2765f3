//! Keys, tenants and policies as files and commands write them: texts, checked here.

use std::fmt::Display;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::RegistryError;
use super::id::KeyKind;
use super::key::NewKey;
use super::policy::{Enforcement, Policy};
use super::settings::OnContradiction;
use super::tenant::Tenant;
use crate::domain::{Glob, Keyword, Operation, TenantId, Timestamp};

/// A policy, as written: JSON in the registry's file, TOML in files that are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// The applications it may name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<String>,
    /// The application of calls that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_application: Option<String>,
    /// Patterns of models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Patterns of geographies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub geographies: Vec<String>,
    /// The regions that may be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Operations by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Patterns of resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The guardrail that every model call must name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_guardrail: Option<String>,
    /// The region of calls that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The role that is assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// `refuse` or `ignore-and-count`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_contradiction: Option<String>,
    /// `enforce` or `observe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A tenant, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantDocument {
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where its money is booked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_centre: Option<String>,
    /// Whom to write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// When it begins: RFC 3339 or a date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// What it may do.
    pub policy: PolicyDocument,
}

/// A key, as written in a file that is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyDocument {
    /// Whose it is.
    pub tenant: String,
    /// `pair` or `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When it stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What it may do.
    pub policy: PolicyDocument,
}

/// A key to be made, as the admin API takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewKeyDocument {
    /// Whose; a tenant that is not there yet is added.
    pub tenant: String,
    /// `pair`, which it is when absent, or `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it stops working: RFC 3339 or a date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What it may do.
    pub policy: PolicyDocument,
}

impl NewKeyDocument {
    /// As that key would be asked for.
    pub fn new(key: &NewKey) -> Self {
        Self {
            tenant: key.tenant.to_string(),
            kind: Some(key.kind.name().to_owned()),
            name: key.name.clone(),
            expires: key.expires_at.map(|at| at.to_string()),
            policy: key.policy.clone(),
        }
    }

    /// The key it asks for.
    ///
    /// # Errors
    /// At the first text that does not fit, with its path.
    pub fn check(self) -> Result<NewKey, RegistryError> {
        self.policy.check()?;
        let kind = self.kind.as_deref().unwrap_or("pair");
        let kind = KeyKind::from_name(kind)
            .filter(|kind| *kind != KeyKind::Session)
            .ok_or_else(|| RegistryError::value("kind", kind, "expected pair or token"))?;
        let printable = |name: &String| name.len() <= 128 && !name.contains(char::is_control);
        if let Some(name) = self.name.as_ref().filter(|name| !printable(name)) {
            let shown: String = name.escape_debug().take(128).collect();
            let why = "expected up to 128 bytes without control characters";
            return Err(RegistryError::value("name", &shown, why));
        }
        let tenant = one("tenant", Some(&self.tenant))?;
        let missing = || RegistryError::value("tenant", "", "expected a name");
        Ok(NewKey {
            tenant: tenant.ok_or_else(missing)?,
            kind,
            name: self.name,
            expires_at: one("expires", self.expires.as_ref())?,
            policy: self.policy,
        })
    }
}

impl PolicyDocument {
    /// The policy it describes.
    ///
    /// # Errors
    /// At the first text that does not fit, with its path.
    pub fn check(&self) -> Result<Policy, RegistryError> {
        Ok(Policy {
            applications: each("applications", &self.applications)?,
            default_application: one("default_application", self.default_application.as_ref())?,
            models: globs("models", &self.models)?,
            geographies: globs("geographies", &self.geographies)?,
            regions: each("regions", &self.regions)?,
            operations: self.operations()?,
            networks: each::<IpNet>("networks", &self.networks)?,
            resources: globs("resources", &self.resources)?,
            require_guardrail: self.require_guardrail()?,
            region: one("region", self.region.as_ref())?,
            role_arn: self.role_arn()?,
            on_contradiction: word::<OnContradiction>(
                "on_contradiction",
                self.on_contradiction.as_ref(),
            )?,
            enforcement: word::<Enforcement>("mode", self.mode.as_ref())?.unwrap_or_default(),
        })
    }

    /// As stored; a policy that says nothing is stored as nothing.
    pub(super) fn stored(&self) -> Option<String> {
        (*self != Self::default())
            .then(|| serde_json::to_string(self).ok())
            .flatten()
    }

    /// As it was stored.
    pub(super) fn of_stored(text: Option<&str>) -> Result<Self, RegistryError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        serde_json::from_str(text).map_err(|cause| RegistryError::Stored(cause.to_string()))
    }

    fn operations(&self) -> Result<Vec<Operation>, RegistryError> {
        let operation = |name: &String| {
            let why = "expected an operation such as ConverseStream";
            Operation::from_name(name).ok_or_else(|| RegistryError::value("operations", name, why))
        };
        self.operations.iter().map(operation).collect()
    }

    fn role_arn(&self) -> Result<Option<String>, RegistryError> {
        let Some(text) = &self.role_arn else {
            return Ok(None);
        };
        let (head, name) = text.split_once(":role/").unwrap_or_default();
        let account = head.strip_prefix("arn:").and_then(|head| {
            let (_partition, account) = head.split_once(":iam::")?;
            Some(account)
        });
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&b);
        if account.is_some_and(is_account) && !name.is_empty() && name.bytes().all(is_name) {
            return Ok(Some(text.clone()));
        }
        let why = "expected arn:aws:iam::ACCOUNT:role/NAME";
        Err(RegistryError::value("role_arn", text, why))
    }

    fn require_guardrail(&self) -> Result<Option<Glob>, RegistryError> {
        let demanded = globs("require_guardrail", self.require_guardrail.as_slice())?;
        Ok(demanded.into_iter().next())
    }
}

impl TenantDocument {
    /// The tenant of that name it describes; not suspended.
    ///
    /// # Errors
    /// At the first text that does not fit, with its path.
    pub fn check(&self, name: &TenantId) -> Result<Tenant, RegistryError> {
        Ok(Tenant {
            name: name.clone(),
            owner: self.owner.clone(),
            cost_centre: self.cost_centre.clone(),
            contact: self.contact.clone(),
            starts_at: one("starts", self.starts.as_ref())?,
            ends_at: one::<Timestamp>("ends", self.ends.as_ref())?,
            suspended_at: None,
            policy: self.policy.check()?,
        })
    }
}

fn one<T>(key: &'static str, text: Option<&String>) -> Result<Option<T>, RegistryError>
where
    T: FromStr<Err: Display>,
{
    let parse = |text: &String| {
        let refuse = |cause: T::Err| RegistryError::value(key, text, &cause.to_string());
        text.parse().map_err(refuse)
    };
    text.map(parse).transpose()
}

fn each<T>(key: &'static str, texts: &[String]) -> Result<Vec<T>, RegistryError>
where
    T: FromStr<Err: Display>,
{
    let parse = |text: &String| {
        let refuse = |cause: T::Err| RegistryError::value(key, text, &cause.to_string());
        text.parse().map_err(refuse)
    };
    texts.iter().map(parse).collect()
}

fn globs(key: &'static str, texts: &[String]) -> Result<Vec<Glob>, RegistryError> {
    let parse = |text: &String| {
        Glob::new(text).map_err(|cause| RegistryError::value(key, text, &cause.to_string()))
    };
    texts.iter().map(parse).collect()
}

fn word<T: Keyword>(key: &'static str, text: Option<&String>) -> Result<Option<T>, RegistryError> {
    let parse = |text: &String| {
        let names: Vec<&str> = T::ALL.iter().map(|word| word.name()).collect();
        let why = format!("expected {}", names.join(" or "));
        T::from_name(text).ok_or_else(|| RegistryError::value(key, text, &why))
    };
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back_as_the_policy_it_describes() {
        let document = PolicyDocument {
            models: vec!["us.anthropic.*".to_owned()],
            operations: vec!["Converse".to_owned()],
            networks: vec!["10.0.0.0/8".to_owned()],
            regions: vec!["us-east-1".to_owned()],
            mode: Some("observe".to_owned()),
            ..PolicyDocument::default()
        };
        let stored = document.stored().unwrap();
        let again = PolicyDocument::of_stored(Some(&stored)).unwrap();
        assert_eq!(again, document);
        let policy = again.check().unwrap();
        assert!(policy.models[0].matches("us.anthropic.claude-opus-5"));
        assert_eq!(policy.operations, [Operation::Converse]);
        assert_eq!(policy.enforcement, Enforcement::Observe);
        assert_eq!(PolicyDocument::default().stored(), None);
        assert!(PolicyDocument::default().check().unwrap().is_empty());
    }

    #[test]
    fn a_text_that_does_not_fit_is_named_with_its_key() {
        let check = |document: PolicyDocument, key: &str| {
            let said = document.check().unwrap_err().to_string();
            assert!(said.contains(key), "{said}");
        };
        let list = |text: &str| vec![text.to_owned()];
        let default = PolicyDocument::default;
        check(
            PolicyDocument {
                require_guardrail: Some("a b".to_owned()),
                ..default()
            },
            "require_guardrail",
        );
        check(
            PolicyDocument {
                models: list("a b"),
                ..default()
            },
            "models",
        );
        check(
            PolicyDocument {
                regions: list("Mars"),
                ..default()
            },
            "regions",
        );
        check(
            PolicyDocument {
                networks: list("10.0.0.0/40"),
                ..default()
            },
            "networks",
        );
        check(
            PolicyDocument {
                operations: list("Fly"),
                ..default()
            },
            "operations",
        );
        check(
            PolicyDocument {
                role_arn: Some("arn:aws:iam::1:user/me".to_owned()),
                ..default()
            },
            "role_arn",
        );
        check(
            PolicyDocument {
                mode: Some("maybe".to_owned()),
                ..default()
            },
            "mode",
        );
    }
}
