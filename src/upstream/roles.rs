//! Which role the calls of a tenant are signed with, and on which terms it is assumed. It does
//! not know how (`sts`), nor what is kept of it (`sessions`).

use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::error::{RoleFailure, RoleUnavailable};
use super::settings::{RoleSettings, Settings};
use super::target::{InvalidTarget, Target};
use crate::aws::{Arn, sts_url};
use crate::domain::{ApplicationId, Region, TenantId};

/// The role of each tenant.
#[derive(Clone, Debug)]
pub struct Roles {
    /// The role of tenants whose policies name none, with `{tenant}` in it.
    default: Option<Box<str>>,
    tag_application: bool,
    terms: Arc<Terms>,
}

/// How a role is assumed.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) duration: Duration,
    pub(super) external_id: Option<String>,
    /// Of the endpoint that is asked.
    pub(super) region: Region,
    pub(super) sts: Target,
}

/// A role that a call needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub(super) role: AssumedRole,
    pub(super) terms: Arc<Terms>,
}

/// A role assumed for somebody; session name and tags follow from whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AssumedRole {
    pub(super) arn: Arc<str>,
    pub(super) tenant: TenantId,
    pub(super) application: Option<ApplicationId>,
}

impl Roles {
    /// The roles of the settings.
    ///
    /// # Errors
    /// When the endpoint of STS is not a URL that can be called.
    pub fn new(settings: &Settings) -> Result<Self, InvalidTarget> {
        let region = settings.default_region.clone();
        let sts = match settings.sts_endpoints.get(&region) {
            Some(own) => Target::new(own)?,
            None => Target::new(&sts_url(&region).parse::<Uri>().unwrap_or_default())?,
        };
        let own = &settings.roles;
        Ok(Self {
            default: own.default.as_deref().map(Into::into),
            tag_application: own.tag_application,
            terms: Arc::new(Terms {
                duration: own.duration,
                external_id: own.external_id.clone(),
                region,
                sts,
            }),
        })
    }

    /// The role of a call: of a policy, else the default; none where neither names one.
    ///
    /// # Errors
    /// When the default does not fit the tenant's name: that would name another role.
    pub fn of(
        &self,
        of_policy: Option<&str>,
        tenant: &TenantId,
        application: &ApplicationId,
    ) -> Result<Option<Wanted>, RoleUnavailable> {
        let arn = match (of_policy, self.default.as_deref()) {
            (Some(own), _) => own.into(),
            (None, Some(template)) => filled(template, tenant)?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Wanted {
            role: AssumedRole {
                arn,
                tenant: tenant.clone(),
                application: self.tag_application.then(|| application.clone()),
            },
            terms: Arc::clone(&self.terms),
        }))
    }
}

/// A name with a slash would name a role of another path, and a colon another part of the ARN.
fn filled(template: &str, tenant: &TenantId) -> Result<Arc<str>, RoleUnavailable> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
    if !template.contains(PLACEHOLDER) {
        return Ok(template.into());
    }
    if tenant.as_str().bytes().all(fits) {
        return Ok(template.replace(PLACEHOLDER, tenant.as_str()).into());
    }
    Err(RoleUnavailable {
        role: template.to_owned(),
        failure: RoleFailure::UnfitName,
        why: format!("{tenant} cannot be part of a role's name: give its policy a role_arn"),
    })
}

impl RoleSettings {
    /// Whether the default is the ARN of a role, with `{tenant}` in it or not.
    pub fn names_a_role(&self) -> bool {
        let named = self.default.as_deref().unwrap_or_default();
        let named = named.replace(PLACEHOLDER, "name");
        Arn::parse(&named).is_some_and(|arn| {
            let is_role = arn.service == "iam" && arn.resource.starts_with("role/");
            is_role && !arn.account.is_empty() && !named.contains(['{', '}', ' '])
        })
    }
}

impl AssumedRole {
    /// The name of the session: the tenant in the alphabet of STS (`[\w+=,.@-]`, 2 to 64). No two
    /// tenants share one: what is put in place of a character is no character of a tenant.
    pub(super) fn session_name(&self) -> String {
        let fitting = self.tenant.as_str().chars().map(|c| match c {
            ':' => '=',
            '/' => '+',
            other => other,
        });
        let mut name: String = fitting.collect();
        if name.len() < 2 {
            name.push(',');
        }
        name
    }

    /// The session tags.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let application = self.application.as_ref();
        let application = application.map(|name| ("application", name.as_str()));
        [("tenant", self.tenant.as_str())]
            .into_iter()
            .chain(application)
    }
}

const PLACEHOLDER: &str = "{tenant}";

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(default: Option<&str>) -> Roles {
        let mut settings = Settings::default();
        settings.roles.default = default.map(str::to_owned);
        Roles::new(&settings).unwrap()
    }

    fn arn(roles: &Roles, of_policy: Option<&str>, tenant: &str) -> Option<String> {
        let wanted = roles.of(of_policy, &tenant.parse().unwrap(), &"a".parse().unwrap());
        Some(wanted.ok()??.role.arn.to_string())
    }

    #[test]
    fn the_policy_comes_first_and_the_default_names_the_tenant() {
        const TEMPLATE: &str = "arn:aws:iam::123456789012:role/bedrock-{tenant}";
        let check = |default, of_policy, tenant, expected: Option<&str>| {
            assert_eq!(arn(&roles(default), of_policy, tenant).as_deref(), expected);
        };
        let own = "arn:aws:iam::210987654321:role/red";
        check(None, None, "red", None);
        check(None, Some(own), "red", Some(own));
        check(Some(TEMPLATE), Some(own), "red", Some(own));
        let filled = "arn:aws:iam::123456789012:role/bedrock-red.1@x";
        check(Some(TEMPLATE), None, "red.1@x", Some(filled));
        check(Some(own), None, "a/b", Some(own));
        for tenant in ["red/admin", "red:1"] {
            assert!(arn(&roles(Some(TEMPLATE)), None, tenant).is_none());
        }
    }

    #[test]
    fn session_names_fit_sts_and_no_two_tenants_share_one() {
        let name = |tenant: &str| {
            let role = AssumedRole {
                arn: "arn".into(),
                tenant: tenant.parse().unwrap(),
                application: None,
            };
            role.session_name()
        };
        let tenants = ["red", "a:b", "a/b", "a-b", "x", "x:", "a.b", "A@b_c"];
        let names: std::collections::HashSet<_> = tenants.map(name).into_iter().collect();
        assert_eq!(names.len(), tenants.len());
        let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        for name in names {
            assert!(
                (2..=64).contains(&name.len()) && name.chars().all(fits),
                "{name}"
            );
        }
    }

    #[test]
    fn tags_name_the_tenant_and_the_application_where_asked() {
        let mut settings = Settings::default();
        settings.roles.tag_application = true;
        let roles = Roles::new(&settings).unwrap();
        let wanted = roles.of(
            Some("arn"),
            &"red".parse().unwrap(),
            &"chat".parse().unwrap(),
        );
        let wanted = wanted.unwrap().unwrap();
        let tags: Vec<_> = wanted.role.tags().collect();
        assert_eq!(tags, [("tenant", "red"), ("application", "chat")]);
    }
}
