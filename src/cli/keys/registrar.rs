//! Who keeps keys and tenants: the registry's file on this machine, or a running server. Commands do
//! not care which.

use crate::app::{master_keys, open_registry};
use crate::config::Settings;
use crate::domain::{Keyword as _, TenantId, Timestamp};
use crate::registry::{
    AuditEvent, Issued, KeyId, KeyRecord, MasterKeys, NewKey, PolicyDocument, Registry,
    TenantDocument,
};

/// A key that was handed out, and the URL that it is for.
pub(in crate::cli) struct Handed {
    pub(super) issued: Issued,
    pub(super) endpoint_url: String,
}

/// A tenant as it is described, and since when it is suspended.
pub(in crate::cli) type Described = (TenantId, TenantDocument, Option<Timestamp>);

/// Reads and changes keys and tenants. Each change writes its line of the audit log.
pub(in crate::cli) trait Registrar {
    fn keys(&mut self, of: Option<&TenantId>) -> anyhow::Result<Vec<KeyRecord>>;
    fn create(&mut self, new: &NewKey) -> anyhow::Result<Handed>;
    fn rotate(&mut self, id: KeyId, until: Timestamp) -> anyhow::Result<Handed>;
    /// `false` when it was revoked before.
    fn revoke(&mut self, id: KeyId) -> anyhow::Result<bool>;
    fn expire(&mut self, id: KeyId, at: Timestamp) -> anyhow::Result<()>;
    fn set_policy(&mut self, id: KeyId, policy: &PolicyDocument) -> anyhow::Result<()>;
    fn tenants(&mut self) -> anyhow::Result<Vec<Described>>;
    fn put_tenant(&mut self, name: &TenantId, document: &TenantDocument) -> anyhow::Result<()>;
    fn rename(&mut self, old: &TenantId, new: &TenantId) -> anyhow::Result<()>;
    fn suspend(&mut self, name: &TenantId, suspended: bool) -> anyhow::Result<()>;
    /// The newest acts, newest first.
    fn audit(&mut self, count: u32) -> anyhow::Result<Vec<AuditEvent>>;
}

/// The registry's file.
pub(super) struct LocalRegistrar {
    registry: Registry,
    settings: Settings,
    actor: String,
    now: Timestamp,
}

impl LocalRegistrar {
    /// Opens the registry that the settings name.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub(super) fn open(settings: Settings, now: Timestamp) -> anyhow::Result<Self> {
        let user = std::env::var("USER").unwrap_or_else(|_unset| "unknown".to_owned());
        Ok(Self {
            registry: open_registry(&settings)?,
            settings,
            actor: format!("cli:{user}"),
            now,
        })
    }

    /// What secrets are derived from; made where there is none yet.
    fn masters(&self) -> anyhow::Result<MasterKeys> {
        master_keys(&self.settings)
    }

    fn handed(&self, issued: Issued) -> Handed {
        Handed {
            issued,
            endpoint_url: crate::app::client_url(&self.settings),
        }
    }
}

impl Registrar for LocalRegistrar {
    fn keys(&mut self, of: Option<&TenantId>) -> anyhow::Result<Vec<KeyRecord>> {
        Ok(self.registry.keys(of)?)
    }

    fn create(&mut self, new: &NewKey) -> anyhow::Result<Handed> {
        let masters = self.masters()?;
        let made = self
            .registry
            .create_key(new, &masters, &self.actor, self.now);
        Ok(self.handed(made?))
    }

    fn rotate(&mut self, id: KeyId, until: Timestamp) -> anyhow::Result<Handed> {
        let masters = self.masters()?;
        let (actor, now) = (&self.actor, self.now);
        let made = self.registry.rotate_key(id, until, &masters, actor, now);
        Ok(self.handed(made?))
    }

    fn revoke(&mut self, id: KeyId) -> anyhow::Result<bool> {
        Ok(self.registry.revoke_key(id, &self.actor, self.now)?)
    }

    fn expire(&mut self, id: KeyId, at: Timestamp) -> anyhow::Result<()> {
        self.registry.expire_key(id, at, &self.actor, self.now)?;
        Ok(())
    }

    fn set_policy(&mut self, id: KeyId, policy: &PolicyDocument) -> anyhow::Result<()> {
        self.registry
            .set_key_policy(id, policy, &self.actor, self.now)?;
        Ok(())
    }

    fn tenants(&mut self) -> anyhow::Result<Vec<Described>> {
        Ok(self.registry.tenant_documents()?)
    }

    fn put_tenant(&mut self, name: &TenantId, document: &TenantDocument) -> anyhow::Result<()> {
        let act = self
            .registry
            .put_tenant(name, document, &self.actor, self.now)?;
        let act = act.map_or("unchanged", |act| act.name());
        tracing::debug!(act, "tenant written");
        Ok(())
    }

    fn rename(&mut self, old: &TenantId, new: &TenantId) -> anyhow::Result<()> {
        Ok(self
            .registry
            .rename_tenant(old, new, &self.actor, self.now)?)
    }

    fn suspend(&mut self, name: &TenantId, suspended: bool) -> anyhow::Result<()> {
        Ok(self
            .registry
            .suspend_tenant(name, suspended, &self.actor, self.now)?)
    }

    fn audit(&mut self, count: u32) -> anyhow::Result<Vec<AuditEvent>> {
        Ok(self.registry.audit(count)?)
    }
}
