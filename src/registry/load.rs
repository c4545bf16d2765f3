//! Everybody of the registry's file, as calls read it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use rusqlite::Row;

use super::document::PolicyDocument;
use super::error::RegistryError;
use super::key::Key;
use super::master::MasterKeys;
use super::snapshot::Callers;
use super::store::{Registry, key_id, tenant_name};
use super::tenant::Tenant;
use crate::domain::{TenantId, Timestamp};

impl Registry {
    /// Everybody, as calls read it.
    ///
    /// # Errors
    /// When SQLite refuses, or a row was changed by hand into what cannot be read.
    pub fn load(&self, masters: MasterKeys) -> Result<Callers, RegistryError> {
        let generation = self.generation()?;
        let tenants: HashMap<TenantId, Arc<Tenant>> = self
            .tenants()?
            .into_iter()
            .map(|tenant| (tenant.name.clone(), Arc::new(tenant)))
            .collect();
        let loading = RegistryError::sqlite("load the keys");
        let mut select = self
            .connection
            .prepare(
                "SELECT id, tenant, master_version, secret_sha256, policy, expires_at, revoked_at \
                 FROM keys",
            )
            .map_err(&loading)?;
        let mut rows = select.query(()).map_err(&loading)?;
        let mut policies = HashMap::new();
        let mut keys = HashMap::new();
        while let Some(row) = rows.next().map_err(&loading)? {
            let row = StoredKey::of(row).map_err(&loading)?;
            let policy = policies.entry(row.policy.clone());
            let policy = match policy {
                std::collections::hash_map::Entry::Occupied(known) => Arc::clone(known.get()),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let policy = PolicyDocument::of_stored(row.policy.as_deref())?.check()?;
                    Arc::clone(new.insert(Arc::new(policy)))
                }
            };
            let tenant = tenants.get(&tenant_name(&row.tenant)?);
            let tenant = tenant.ok_or_else(|| RegistryError::Stored(row.tenant.clone()))?;
            let id = key_id(&row.id)?;
            let key = Key {
                id,
                tenant: Arc::clone(tenant),
                policy,
                master_version: row.master_version.unwrap_or(0),
                secret_sha256: row.secret_sha256.and_then(|hash| hash.try_into().ok()),
                expires_at: row.expires_at.map(Timestamp::from_unix_ms),
                revoked_at: row.revoked_at.map(Timestamp::from_unix_ms),
                last_used_ms: AtomicI64::new(0),
            };
            keys.insert(id, Arc::new(key));
        }
        Ok(Callers {
            keys,
            tenants,
            masters,
            generation,
        })
    }
}

/// A row of `keys`, as calls need it.
struct StoredKey {
    id: String,
    tenant: String,
    master_version: Option<u32>,
    secret_sha256: Option<Vec<u8>>,
    policy: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl StoredKey {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            tenant: row.get(1)?,
            master_version: row.get(2)?,
            secret_sha256: row.get(3)?,
            policy: row.get(4)?,
            expires_at: row.get(5)?,
            revoked_at: row.get(6)?,
        })
    }
}
