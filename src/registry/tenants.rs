//! Tenants in the registry's file: made, changed, renamed, suspended, listed.

use rusqlite::{Row, Transaction};

use super::acts::write_down;
use super::audit::Act;
use super::document::{PolicyDocument, TenantDocument};
use super::error::RegistryError;
use super::store::{Registry, begin, tenant_name};
use super::tenant::Tenant;
use crate::domain::{TenantId, Timestamp};

impl Registry {
    /// The tenants, by name.
    ///
    /// # Errors
    /// When SQLite refuses, or a row cannot be read.
    pub fn tenants(&self) -> Result<Vec<Tenant>, RegistryError> {
        let documents = self.tenant_documents()?;
        let check = |(name, document, suspended_at): (TenantId, TenantDocument, _)| {
            let tenant = document.check(&name)?;
            Ok(Tenant {
                suspended_at,
                ..tenant
            })
        };
        documents.into_iter().map(check).collect()
    }

    /// The tenants as they would be written in a file, and since when they are suspended.
    ///
    /// # Errors
    /// When SQLite refuses, or a row cannot be read.
    pub fn tenant_documents(
        &self,
    ) -> Result<Vec<(TenantId, TenantDocument, Option<Timestamp>)>, RegistryError> {
        let listing = RegistryError::sqlite("list the tenants");
        let mut select = self
            .connection
            .prepare(
                "SELECT name, owner, cost_centre, contact, starts_at, ends_at, policy, suspended_at \
                 FROM tenants ORDER BY name",
            )
            .map_err(&listing)?;
        let mut rows = select.query(()).map_err(&listing)?;
        let mut tenants = Vec::new();
        while let Some(row) = rows.next().map_err(&listing)? {
            let (name, policy, suspended, document) = stored_tenant(row).map_err(&listing)?;
            let document = TenantDocument {
                policy: PolicyDocument::of_stored(policy.as_deref())?,
                ..document
            };
            let suspended_at = suspended.map(Timestamp::from_unix_ms);
            tenants.push((tenant_name(&name)?, document, suspended_at));
        }
        Ok(tenants)
    }

    /// Adds or changes a tenant; `None` when it was just so before, else what was done.
    ///
    /// # Errors
    /// When the document does not fit, or SQLite refuses.
    pub fn put_tenant(
        &mut self,
        name: &TenantId,
        document: &TenantDocument,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<Act>, RegistryError> {
        let tenant = document.check(name)?;
        let known = self.tenant_documents()?;
        let before = known.into_iter().find(|(known, ..)| known == name);
        let act = match &before {
            Some((_, same, _)) if same.check(name)? == tenant => return Ok(None),
            Some(_) => Act::TenantChanged,
            None => Act::TenantCreated,
        };
        let writing = RegistryError::sqlite("write the tenant");
        let transaction = begin(&mut self.connection)?;
        transaction
            .execute(
                "INSERT INTO tenants (name, owner, cost_centre, contact, starts_at, ends_at, policy, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (name) DO UPDATE SET \
                 owner = ?2, cost_centre = ?3, contact = ?4, starts_at = ?5, ends_at = ?6, policy = ?7",
                (
                    name.as_str(),
                    &tenant.owner,
                    &tenant.cost_centre,
                    &tenant.contact,
                    tenant.starts_at.map(Timestamp::unix_ms),
                    tenant.ends_at.map(Timestamp::unix_ms),
                    document.policy.stored(),
                    now.unix_ms(),
                ),
            )
            .map_err(&writing)?;
        let detail = serde_json::to_string(document).unwrap_or_default();
        let subject = name.as_str();
        write_down(&transaction, (actor, now), act, subject, subject, &detail)?;
        transaction.commit().map_err(&writing)?;
        Ok(Some(act))
    }

    /// Gives a tenant another name; its keys go with it, entries of the past keep the old one.
    ///
    /// # Errors
    /// When there is no such tenant, another has the name, or SQLite refuses.
    pub fn rename_tenant(
        &mut self,
        old: &TenantId,
        new: &TenantId,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        if self.tenants()?.iter().any(|tenant| tenant.name == *new) {
            return Err(RegistryError::TenantExists(new.to_string()));
        }
        let change = "UPDATE tenants SET name = ?2 WHERE name = ?1";
        let detail = format!("to {new}");
        let value = new.as_str();
        self.change_tenant(
            old,
            change,
            value,
            Act::TenantRenamed,
            &detail,
            (actor, now),
        )?;
        let jobs = "UPDATE jobs SET tenant = ?2 WHERE tenant = ?1";
        let moved = self.connection.execute(jobs, (old.as_str(), value));
        moved
            .map(drop)
            .map_err(RegistryError::sqlite("hand over the tenant's jobs"))
    }

    /// Has a tenant's calls refused, or served again.
    ///
    /// # Errors
    /// When there is no such tenant, or SQLite refuses.
    pub fn suspend_tenant(
        &mut self,
        name: &TenantId,
        suspended: bool,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        let change = "UPDATE tenants SET suspended_at = ?2 WHERE name = ?1";
        let (value, act) = if suspended {
            (Some(now.unix_ms()), Act::TenantSuspended)
        } else {
            (None, Act::TenantResumed)
        };
        self.change_tenant(name, change, value, act, "", (actor, now))
    }

    fn change_tenant(
        &mut self,
        name: &TenantId,
        change: &str,
        value: impl rusqlite::ToSql,
        act: Act,
        detail: &str,
        by: (&str, Timestamp),
    ) -> Result<(), RegistryError> {
        let changing = RegistryError::sqlite("change the tenant");
        let transaction = begin(&mut self.connection)?;
        let changed = transaction
            .execute(change, (name.as_str(), value))
            .map_err(&changing)?;
        if changed == 0 {
            return Err(RegistryError::NoSuchTenant(name.to_string()));
        }
        write_down(&transaction, by, act, name.as_str(), name.as_str(), detail)?;
        transaction.commit().map_err(&changing)
    }
}

/// Adds a tenant that is only a name, where there is none of that name.
pub(super) fn add_tenant(
    transaction: &Transaction<'_>,
    name: &TenantId,
    actor: &str,
    now: Timestamp,
) -> Result<(), RegistryError> {
    let added = transaction
        .execute(
            "INSERT OR IGNORE INTO tenants (name, created_at) VALUES (?1, ?2)",
            (name.as_str(), now.unix_ms()),
        )
        .map_err(RegistryError::sqlite("add the tenant"))?;
    if added == 0 {
        return Ok(());
    }
    let by = (actor, now);
    write_down(
        transaction,
        by,
        Act::TenantCreated,
        name.as_str(),
        name.as_str(),
        "with its first key",
    )
}

type StoredTenant = (String, Option<String>, Option<i64>, TenantDocument);

fn stored_tenant(row: &Row<'_>) -> rusqlite::Result<StoredTenant> {
    let instant = |at: Option<i64>| at.map(|at| Timestamp::from_unix_ms(at).to_string());
    let document = TenantDocument {
        owner: row.get(1)?,
        cost_centre: row.get(2)?,
        contact: row.get(3)?,
        starts: instant(row.get(4)?),
        ends: instant(row.get(5)?),
        policy: PolicyDocument::default(),
    };
    Ok((row.get(0)?, row.get(6)?, row.get(7)?, document))
}
