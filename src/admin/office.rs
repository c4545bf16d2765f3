//! Does what is asked of keys and tenants: JSON in, the registry's act, JSON out. Who may ask is
//! settled before; what is a team lead's own is looked at here, where keys and tenants are known.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::pages::PageError;
use super::place::{KeyAct, Place, TenantAct};
use super::role::Login;
use crate::domain::{Keyword, TenantId, Timestamp};
use crate::registry::{
    HandedOut, KeyId, KeyRecord, ListedAct, ListedKey, ListedTenant, MasterKeys, NewKeyDocument,
    PolicyDocument, Registry, RegistryError, TenantDocument,
};

/// The registry, for as long as one act takes.
pub struct Office<'a> {
    /// Tenants, keys and the audit log.
    pub registry: &'a mut Registry,
    /// What secrets are derived from.
    pub masters: &'a MasterKeys,
    /// The URL that clients reach the proxy by.
    pub endpoint_url: &'a str,
    /// The time of the act.
    pub now: Timestamp,
}

/// What somebody asks of keys and tenants.
pub(super) struct Ask {
    pub(super) login: Login,
    pub(super) place: Place,
    pub(super) writes: bool,
    pub(super) query: String,
    pub(super) body: Bytes,
}

/// What was done: the status and the body of the answer.
pub type Done = (StatusCode, Value);

impl Ask {
    /// Does it.
    pub(super) fn perform(&self, office: Office<'_>) -> Result<Done, PageError> {
        match &self.place {
            Place::Keys if self.writes => self.create(office),
            Place::Keys => self.keys(&office),
            Place::Key(id, act) => self.key(id, *act, office),
            Place::Tenants => self.tenants(&office),
            Place::Tenant(name) if self.writes => self.put_tenant(&tenant(name)?, office),
            Place::Tenant(name) => self.tenant(&tenant(name)?, &office),
            Place::TenantAct(name, act) => {
                self.tenant_act(&tenant(name)?, *act, office.registry, office.now)
            }
            Place::Audit => self.audit(&office),
        }
    }

    /// The tenant that this login is limited to here.
    fn limit(&self) -> Option<&TenantId> {
        self.login.limit(self.place.right(self.writes))
    }

    fn is_in_reach(&self, tenant: &TenantId) -> bool {
        self.limit().is_none_or(|own| own == tenant)
    }

    fn keys(&self, office: &Office<'_>) -> Result<Done, PageError> {
        let asked = self.parameter("tenant")?;
        let asked = asked.as_deref().map(tenant).transpose()?;
        if let Some(other) = asked.as_ref().filter(|asked| !self.is_in_reach(asked)) {
            return Err(PageError::Forbidden(format!("tenant {other} is not yours")));
        }
        let of = self.limit().or(asked.as_ref());
        let keys = office.registry.keys(of)?;
        let listed: Vec<_> = keys
            .iter()
            .map(|key| ListedKey::new(key, office.now))
            .collect();
        ok(&listed)
    }

    fn create(&self, office: Office<'_>) -> Result<Done, PageError> {
        let new = self.document::<NewKeyDocument>()?.check()?;
        if !self.is_in_reach(&new.tenant) {
            let other = &new.tenant;
            return Err(PageError::Forbidden(format!("tenant {other} is not yours")));
        }
        self.hold_within(&new.tenant, &new.policy, &office)?;
        let Office {
            registry,
            masters,
            endpoint_url,
            now,
        } = office;
        let issued = registry.create_key(&new, masters, &self.login.actor, now)?;
        done(StatusCode::CREATED, &HandedOut::new(&issued, endpoint_url))
    }

    fn key(&self, id: &str, act: KeyAct, office: Office<'_>) -> Result<Done, PageError> {
        let known = self.known_key(id, &office)?;
        let actor = &self.login.actor;
        let now = office.now;
        let changed = match act {
            KeyAct::Rotate => return self.rotate(&known, office),
            KeyAct::Revoke => {
                self.document::<Nothing>()?;
                office.registry.revoke_key(known.id, actor, now)?
            }
            KeyAct::Expire => {
                let at = self.document::<At>()?.at;
                office
                    .registry
                    .expire_key(known.id, instant("at", &at)?, actor, now)?
            }
            KeyAct::Policy => {
                let policy = self.document::<PolicyDocument>()?;
                office
                    .registry
                    .set_key_policy(known.id, &policy, actor, now)?
            }
        };
        was_changed(changed)
    }

    fn rotate(&self, known: &KeyRecord, office: Office<'_>) -> Result<Done, PageError> {
        let until = match self.document::<Until>()?.until {
            Some(until) => instant("until", &until)?,
            None => Timestamp::from_unix_ms(office.now.unix_ms().saturating_add(GRACE_MS)),
        };
        // The new key's secret would be a way around a limit that the old one stands above.
        self.hold_within(&known.tenant, &known.policy, &office)?;
        let Office {
            registry,
            masters,
            endpoint_url,
            now,
        } = office;
        let issued = registry.rotate_key(known.id, until, masters, &self.login.actor, now)?;
        done(StatusCode::CREATED, &HandedOut::new(&issued, endpoint_url))
    }

    /// The key; one of another tenant is as unknown to a team lead as one that is not there.
    fn known_key(&self, id: &str, office: &Office<'_>) -> Result<KeyRecord, PageError> {
        let unknown = || RegistryError::NoSuchKey(id.chars().take(64).collect());
        let id = KeyId::parse(id).ok_or_else(unknown)?;
        let known = office.registry.key(id)?;
        if !self.is_in_reach(&known.tenant) {
            return Err(unknown().into());
        }
        Ok(known)
    }

    /// A team lead hands out no more than the tenant has.
    fn hold_within(
        &self,
        name: &TenantId,
        policy: &PolicyDocument,
        office: &Office<'_>,
    ) -> Result<(), PageError> {
        if self.limit().is_none() {
            return Ok(());
        }
        let tenants = office.registry.tenants()?;
        // A name that was given up in a rename has no policy: keys of it would be held by none.
        let unknown = || RegistryError::NoSuchTenant(name.to_string());
        let tenant = tenants.into_iter().find(|tenant| tenant.name == *name);
        let outer = tenant.ok_or_else(unknown)?.policy;
        policy.check()?.exceeds(&outer).map_or(Ok(()), |list| {
            let why =
                format!("policy.{list} reaches further than that of tenant {name}: ask an admin");
            Err(PageError::Forbidden(why))
        })
    }

    fn tenants(&self, office: &Office<'_>) -> Result<Done, PageError> {
        ok(&self.listed(office)?)
    }

    fn tenant(&self, name: &TenantId, office: &Office<'_>) -> Result<Done, PageError> {
        let listed = self.listed(office)?;
        let found = listed
            .into_iter()
            .find(|listed| listed.tenant == name.as_str());
        let unknown = || RegistryError::NoSuchTenant(name.to_string());
        ok(&found.ok_or_else(unknown)?)
    }

    fn listed(&self, office: &Office<'_>) -> Result<Vec<ListedTenant>, PageError> {
        let documents = office.registry.tenant_documents()?;
        let in_reach = documents
            .into_iter()
            .filter(|(name, ..)| self.is_in_reach(name));
        let listed = in_reach.map(|(name, document, suspended_at)| {
            ListedTenant::new(&name, document, suspended_at, office.now)
        });
        Ok(listed.collect::<Result<_, _>>()?)
    }

    fn put_tenant(&self, name: &TenantId, office: Office<'_>) -> Result<Done, PageError> {
        let document = self.document::<TenantDocument>()?;
        let Office { registry, now, .. } = office;
        let act = registry.put_tenant(name, &document, &self.login.actor, now)?;
        ok(&json!({ "act": act.map(Keyword::name) }))
    }

    fn tenant_act(
        &self,
        name: &TenantId,
        act: TenantAct,
        registry: &mut Registry,
        now: Timestamp,
    ) -> Result<Done, PageError> {
        let actor = &self.login.actor;
        match act {
            TenantAct::Rename => {
                let new = self.document::<Name>()?.name;
                registry.rename_tenant(name, &tenant(&new)?, actor, now)?;
            }
            TenantAct::Suspend | TenantAct::Resume => {
                self.document::<Nothing>()?;
                let suspended = act == TenantAct::Suspend;
                registry.suspend_tenant(name, suspended, actor, now)?;
            }
        }
        was_changed(true)
    }

    fn audit(&self, office: &Office<'_>) -> Result<Done, PageError> {
        let last = self.parameter("last")?;
        let last = last.map_or(Ok(AUDIT_DEFAULT), |last| last.parse::<u32>());
        let last = last.ok().filter(|last| *last <= AUDIT_MAX).ok_or_else(|| {
            PageError::BadQuestion(format!("last: expected a number up to {AUDIT_MAX}"))
        })?;
        let events = office.registry.audit(last)?;
        ok(&events.into_iter().map(ListedAct::from).collect::<Vec<_>>())
    }

    /// The one parameter that a list takes.
    fn parameter(&self, name: &str) -> Result<Option<String>, PageError> {
        let mut found = None;
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key != name {
                let why = format!("{key}: this list takes {name} alone");
                return Err(PageError::BadQuestion(why));
            }
            let value = percent_encoding::percent_decode_str(value);
            found = Some(value.decode_utf8_lossy().into_owned());
        }
        Ok(found)
    }

    /// The body as what it has to be; nothing at all is an object without members.
    fn document<T: DeserializeOwned>(&self) -> Result<T, PageError> {
        let body: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        let refuse =
            |cause: serde_json::Error| PageError::BadQuestion(format!("the body: {cause}"));
        serde_json::from_slice(body).map_err(refuse)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Until {
    until: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    at: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    name: String,
}

fn tenant(name: &str) -> Result<TenantId, PageError> {
    let refuse = |cause| PageError::BadQuestion(format!("not a tenant's name: {cause}"));
    TenantId::new(name).map_err(refuse)
}

fn instant(key: &str, text: &str) -> Result<Timestamp, PageError> {
    let refuse = |cause| PageError::BadQuestion(format!("{key}: {cause}"));
    text.parse().map_err(refuse)
}

fn was_changed(changed: bool) -> Result<Done, PageError> {
    ok(&json!({ "changed": changed }))
}

fn ok(value: &impl Serialize) -> Result<Done, PageError> {
    done(StatusCode::OK, value)
}

fn done(status: StatusCode, value: &impl Serialize) -> Result<Done, PageError> {
    let value = serde_json::to_value(value);
    let value = value.map_err(|cause| PageError::Failed(cause.to_string()))?;
    Ok((status, value))
}

/// How long a rotated key works on where nothing else is said.
const GRACE_MS: i64 = 24 * 3_600_000;
const AUDIT_DEFAULT: u32 = 100;
const AUDIT_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Role;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    struct Desk {
        _directory: tempfile::TempDir,
        registry: Registry,
        masters: MasterKeys,
    }

    impl Desk {
        fn open() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let registry = Registry::open(&directory.path().join("callers.sqlite3")).unwrap();
            let masters = "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
            Self {
                _directory: directory,
                registry,
                masters: MasterKeys::parse(masters).unwrap(),
            }
        }

        fn ask(&mut self, login: &Login, asked: &str, body: &str) -> Result<Value, PageError> {
            let (method, path) = asked.split_once(' ').unwrap();
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let ask = Ask {
                login: login.clone(),
                place: Place::of(path).unwrap(),
                writes: method != "GET",
                query: query.to_owned(),
                body: Bytes::copy_from_slice(body.as_bytes()),
            };
            let office = Office {
                registry: &mut self.registry,
                masters: &self.masters,
                endpoint_url: "http://p:1",
                now: NOW,
            };
            ask.perform(office).map(|(_, value)| value)
        }
    }

    fn login(role: Role, tenant: Option<&str>) -> Login {
        Login {
            actor: format!("token:{}", role.name()),
            role,
            tenant: tenant.map(|name| name.parse().unwrap()),
        }
    }

    fn id(value: &Value) -> String {
        value["id"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_team_lead_issues_within_the_tenant_and_no_further_than_it_reaches() {
        let mut desk = Desk::open();
        let admin = login(Role::Admin, None);
        let lead = login(Role::TeamLead, Some("acme"));
        let described = r#"{"owner":"Ann","policy":{"models":["us.*"]}}"#;
        desk.ask(&admin, "PUT tenants/acme", described).unwrap();
        let wide = r#"{"tenant":"acme","policy":{"role_arn":"arn:aws:iam::123456789012:role/x"}}"#;
        let wide = id(&desk.ask(&admin, "POST keys", wide).unwrap());
        let other = id(&desk
            .ask(&admin, "POST keys", r#"{"tenant":"evil"}"#)
            .unwrap());
        let own = r#"{"tenant":"acme","name":"ci","policy":{"models":["us.anthropic.*"]}}"#;
        let own = id(&desk.ask(&lead, "POST keys", own).unwrap());
        let mut refused = |asked: &str, body: &str, words: &str| {
            let said = desk.ask(&lead, asked, body).unwrap_err().to_string();
            assert!(said.contains(words), "{asked}: {said}");
        };
        refused("POST keys", r#"{"tenant":"evil"}"#, "evil is not yours");
        let beyond = r#"{"tenant":"acme","policy":{"models":["eu.*"]}}"#;
        refused("POST keys", beyond, "policy.models reaches further");
        refused(
            &format!("POST keys/{wide}/rotate"),
            "",
            "policy.role_arn reaches further",
        );
        for act in ["rotate", "revoke"] {
            refused(&format!("POST keys/{other}/{act}"), "", "there is no key");
        }
        refused("GET keys?tenant=evil", "", "evil is not yours");
        refused("GET tenants/evil", "", "there is no tenant");
        let keys = desk.ask(&lead, "GET keys", "").unwrap();
        assert_eq!(keys.as_array().unwrap().len(), 2);
        let tenants = desk.ask(&lead, "GET tenants", "").unwrap();
        assert_eq!(tenants.as_array().unwrap().len(), 1);
        for shown in [keys, tenants] {
            assert!(!shown.to_string().contains("evil"), "{shown}");
        }
        desk.ask(&lead, &format!("POST keys/{own}/revoke"), "")
            .unwrap();
        let renamed = r#"{"name":"acme-2"}"#;
        desk.ask(&admin, "POST tenants/acme/rename", renamed)
            .unwrap();
        let given_up = desk.ask(&lead, "POST keys", r#"{"tenant":"acme"}"#);
        assert!(matches!(given_up, Err(PageError::NotFound(_))));
        let audit = desk.ask(&admin, "GET audit?last=2", "").unwrap();
        assert_eq!(audit[1]["actor"], "token:team-lead");
        assert_eq!(audit[1]["act"], "key_revoked");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place_and_changes_nothing() {
        let mut desk = Desk::open();
        let admin = login(Role::Admin, None);
        let mut refused = |asked: &str, body: &str, words: &str| {
            let said = desk.ask(&admin, asked, body).unwrap_err().to_string();
            assert!(said.contains(words), "{asked}: {said}");
        };
        refused("POST keys", "", "tenant");
        refused("POST keys", "[", "the body");
        refused("POST keys", r#"{"tenant":"a","sort":"pair"}"#, "sort");
        refused(
            "POST keys",
            r#"{"tenant":"a","kind":"session"}"#,
            "pair or token",
        );
        refused("POST keys", r#"{"tenant":"a","name":"\u001b[2J"}"#, "name");
        refused(
            "POST keys",
            r#"{"tenant":"a","policy":{"regions":["Mars"]}}"#,
            "regions",
        );
        refused("PUT tenants/a%20b", "{}", "not a tenant's name");
        refused(
            "POST tenants/a/rename",
            r#"{"name":"b"}"#,
            "there is no tenant a",
        );
        refused(
            "POST keys/AKIAIOSFODNN7EXAMPLE/revoke",
            "",
            "there is no key",
        );
        refused("GET audit?last=many", "", "last");
        refused("GET keys?owner=a", "", "takes tenant alone");
        assert_eq!(desk.ask(&admin, "GET audit", "").unwrap(), json!([]));
    }
}
