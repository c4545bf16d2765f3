//! Who a provider's token says somebody is, and what that may do here.

use serde::{Deserialize, Serialize};

use super::LoginSettings;
use crate::admin::Role;
use crate::admin::role::Login;
use crate::domain::{Keyword as _, TenantId, Timestamp};
use crate::identity::TokenClaims;

/// Somebody who logged in at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Person {
    /// What may be done, and by whom as the audit log has it.
    pub(in crate::admin) login: Login,
    /// What the page calls the person.
    pub(in crate::admin) name: String,
}

/// Why somebody whom the provider knows is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotLetIn {
    /// The claim that names people is absent, too long, or no text for a log.
    #[error("the token names nobody: see admin.login.user_claim")]
    Unnamed,
    /// No value of the claim has a role.
    #[error("no role here is yours: an admin maps groups to roles in admin.login.roles")]
    WithoutRole,
    /// A team lead of whom the token does not say which team.
    #[error("the token does not say which tenant you lead: see admin.login.tenant_claim")]
    WithoutTenant,
}

impl NotLetIn {
    /// For the log.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Unnamed => "no_user",
            Self::WithoutRole => "no_role",
            Self::WithoutTenant => "no_tenant",
        }
    }
}

impl Person {
    /// Whom verified claims name. Who has several roles has the first of admin, finance, team lead,
    /// viewer.
    pub(super) fn of(claims: &TokenClaims, settings: &LoginSettings) -> Result<Self, NotLetIn> {
        let user = claims
            .text(&settings.user_claim)
            .filter(|user| is_user(user));
        let user = user.ok_or(NotLetIn::Unnamed)?;
        let has = |role: Role| {
            let mapped = |value: &str| settings.roles.get(value) == Some(&role);
            claims.any(&settings.roles_claim, mapped)
        };
        let mut ranked = [Role::Admin, Role::Finance, Role::TeamLead, Role::Viewer].into_iter();
        let role = ranked
            .find(|role| has(*role))
            .ok_or(NotLetIn::WithoutRole)?;
        let tenant = match role {
            Role::TeamLead => Some(tenant(claims, settings).ok_or(NotLetIn::WithoutTenant)?),
            Role::Admin | Role::Finance | Role::Viewer => None,
        };
        let named = ["name", "preferred_username", "email"];
        let name = named.iter().find_map(|claim| claims.named(claim));
        Ok(Self {
            name: plain(name.unwrap_or(&user)),
            login: Login {
                actor: format!("oidc:{user}"),
                role,
                tenant,
            },
        })
    }
}

fn tenant(claims: &TokenClaims, settings: &LoginSettings) -> Option<TenantId> {
    let name = claims.text(settings.tenant_claim.as_ref()?)?;
    TenantId::new(&name).ok()
}

/// What may stand in a log, whole: two people must not have one name there.
fn is_user(user: &str) -> bool {
    (1..=USER_LENGTH_MAX).contains(&user.len())
        && user.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

/// A name to show.
fn plain(name: &str) -> String {
    let shown = name.chars().filter(|c| !c.is_control());
    shown.take(NAME_CHARS_MAX).collect()
}

/// A session, as its cookie has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    #[serde(rename = "a")]
    actor: String,
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "r")]
    role: String,
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(rename = "e")]
    expires_ms: i64,
}

impl Session {
    /// The session of a person until then.
    pub(super) fn of(person: &Person, until: Timestamp) -> Self {
        let login = &person.login;
        Self {
            actor: login.actor.clone(),
            name: person.name.clone(),
            role: login.role.name().to_owned(),
            tenant: login.tenant.as_ref().map(ToString::to_string),
            expires_ms: until.unix_ms(),
        }
    }

    /// Whose it is, while it lasts.
    pub(super) fn person(self, now: Timestamp) -> Option<Person> {
        if now.unix_ms() >= self.expires_ms {
            return None;
        }
        let tenant = self.tenant.as_deref().map(TenantId::new);
        Some(Person {
            name: self.name,
            login: Login {
                actor: self.actor,
                role: Role::from_name(&self.role)?,
                tenant: tenant.transpose().ok()?,
            },
        })
    }
}

/// As long as a `sub` may be (OpenID Connect Core 1.0 section 2).
const USER_LENGTH_MAX: usize = 255;
const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings() -> LoginSettings {
        let roles = [
            ("bosses", Role::Admin),
            ("books", Role::Finance),
            ("leads", Role::TeamLead),
            ("all", Role::Viewer),
        ];
        LoginSettings {
            tenant_claim: Some("team".parse().unwrap()),
            roles: roles.map(|(name, role)| (name.to_owned(), role)).into(),
            ..LoginSettings::default()
        }
    }

    fn person(claims: Value) -> Result<Person, NotLetIn> {
        let claims = TokenClaims::of(claims, Timestamp::default());
        Person::of(&claims, &settings())
    }

    #[test]
    fn a_group_has_a_role_and_the_strongest_counts() {
        let check = |groups: Value, expected: Result<Role, NotLetIn>| {
            let claims = json!({"sub": "a", "team": "research", "groups": groups});
            let role = person(claims).map(|person| person.login.role);
            assert_eq!(role, expected, "{groups}");
        };
        check(json!(["bosses"]), Ok(Role::Admin));
        check(json!("bosses"), Ok(Role::Admin));
        check(json!(["all", "books", "leads"]), Ok(Role::Finance));
        check(json!(["all", "leads"]), Ok(Role::TeamLead));
        check(json!(["others", "all"]), Ok(Role::Viewer));
        for none in [
            json!([]),
            json!("boss"),
            json!({"bosses": true}),
            json!(null),
            json!(""),
        ] {
            check(none, Err(NotLetIn::WithoutRole));
        }
    }

    #[test]
    fn a_team_lead_is_of_the_claims_tenant_or_nobody() {
        let tenant = |claims: Value| person(claims).map(|person| person.login.tenant);
        let lead = |team: Value| tenant(json!({"sub": "a", "groups": "leads", "team": team}));
        let named = |name: &str| Ok(Some(name.parse().unwrap()));
        assert_eq!(lead(json!("research")), named("research"));
        assert_eq!(lead(json!(["research"])), named("research"));
        for none in [
            json!(["a", "b"]),
            json!(""),
            json!("a b"),
            json!(null),
            json!({}),
        ] {
            assert_eq!(lead(none.clone()), Err(NotLetIn::WithoutTenant), "{none}");
        }
        let boss = tenant(json!({"sub": "a", "groups": "bosses", "team": "research"}));
        assert_eq!(boss, Ok(None), "a tenant limits team leads alone");
    }

    #[test]
    fn people_are_named_for_the_log_whole_and_for_the_page_short() {
        let names = |claims: Value| person(claims).map(|person| (person.login.actor, person.name));
        let pair = |actor: &str, name: &str| Ok((actor.to_owned(), name.to_owned()));
        assert_eq!(
            names(json!({"sub": "u-1", "groups": "all"})),
            pair("oidc:u-1", "u-1")
        );
        assert_eq!(
            names(json!({"sub": "u-1", "groups": "all", "email": "a@b", "name": "A\u{7} B"})),
            pair("oidc:u-1", "A B")
        );
        let long = "x".repeat(300);
        for none in [
            json!(null),
            json!(""),
            json!("a b"),
            json!("a\nb"),
            json!(long),
        ] {
            let claims = json!({"sub": none, "groups": "all"});
            assert_eq!(names(claims), Err(NotLetIn::Unnamed), "{none}");
        }
        let long = json!({"sub": "a", "groups": "all", "name": long});
        assert_eq!(person(long).unwrap().name.len(), 64);
    }

    #[test]
    fn a_session_is_its_persons_until_it_ends() {
        let claims = json!({"sub": "a", "groups": "leads", "team": "research", "name": "Ann"});
        let person = person(claims).unwrap();
        let at = Timestamp::from_unix_ms;
        let session = || Session::of(&person, at(1000));
        assert_eq!(session().person(at(999)), Some(person.clone()));
        assert_eq!(session().person(at(1000)), None);
    }
}
