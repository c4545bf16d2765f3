//! The registry's SQLite file: every change in one transaction with its line in the audit log.
//!
//! Several processes may have it open: commands write while a proxy reads. Blocking; never on a
//! call's way.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior};

use super::audit::{Act, AuditEvent};
use super::document::{PolicyDocument, TenantDocument};
use super::error::RegistryError;
use super::id::{KeyId, KeyKind};
use super::key::{Issued, Key, KeyRecord, NewKey, Standing};
use super::master::MasterKeys;
use super::schema;
use super::snapshot::Callers;
use super::tenant::Tenant;
use crate::domain::{Keyword as _, Secret, TenantId, Timestamp};

/// The registry, open.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
}

impl Registry {
    /// Opens the file, making what does not exist and migrating what is older.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer program.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let opening = RegistryError::sqlite("open the registry");
        let mut connection = Connection::open(path).map_err(&opening)?;
        connection.busy_timeout(BUSY_MAX).map_err(&opening)?;
        connection
            .pragma_update(None, "journal_mode", "wal")
            .map_err(&opening)?;
        connection
            .pragma_update(None, "foreign_keys", true)
            .map_err(&opening)?;
        schema::migrate(&mut connection, path)?;
        Ok(Self { connection })
    }

    /// Counts the changes that callers must see.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn generation(&self) -> Result<i64, RegistryError> {
        let sql = "SELECT generation FROM state";
        let read = self.connection.query_row(sql, (), |row| row.get(0));
        read.map_err(RegistryError::sqlite("look for changes"))
    }

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

    /// Makes a key. Its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// When the policy does not fit, or SQLite refuses.
    pub fn create_key(
        &mut self,
        new: &NewKey,
        masters: &MasterKeys,
        actor: &str,
        now: Timestamp,
    ) -> Result<Issued, RegistryError> {
        new.policy.check()?;
        let writing = RegistryError::sqlite("write the key");
        let transaction = begin(&mut self.connection)?;
        add_tenant(&transaction, &new.tenant, actor, now)?;
        let issued = insert_key(&transaction, new, None, masters, now)?;
        let detail = described(new);
        let subject = issued.id.as_str();
        write_down(
            &transaction,
            (actor, now),
            Act::KeyCreated,
            subject,
            new.tenant.as_str(),
            &detail,
        )?;
        transaction.commit().map_err(&writing)?;
        Ok(issued)
    }

    /// Makes a key that takes the place of another; the old one works on until `until`.
    ///
    /// # Errors
    /// When there is no such key, it does not work any more, or SQLite refuses.
    pub fn rotate_key(
        &mut self,
        id: KeyId,
        until: Timestamp,
        masters: &MasterKeys,
        actor: &str,
        now: Timestamp,
    ) -> Result<Issued, RegistryError> {
        let old = self.key(id)?;
        if old.standing(now) != Standing::Good {
            return Err(RegistryError::NotRotatable(id.to_string()));
        }
        let new = NewKey {
            tenant: old.tenant.clone(),
            kind: old.kind,
            name: old.name,
            policy: old.policy,
            expires_at: old.expires_at,
        };
        let rotating = RegistryError::sqlite("rotate the key");
        let transaction = begin(&mut self.connection)?;
        let issued = insert_key(&transaction, &new, Some(id), masters, now)?;
        let ends = old.expires_at.map_or(until, |expires| expires.min(until));
        transaction
            .execute(
                "UPDATE keys SET expires_at = ?2 WHERE id = ?1",
                (id.as_str(), ends.unix_ms()),
            )
            .map_err(&rotating)?;
        let detail = format!("replaced by {}, works until {ends}", issued.id);
        write_down(
            &transaction,
            (actor, now),
            Act::KeyRotated,
            id.as_str(),
            new.tenant.as_str(),
            &detail,
        )?;
        transaction.commit().map_err(&rotating)?;
        Ok(issued)
    }

    /// Ends a key at once; `false` when it was revoked before.
    ///
    /// # Errors
    /// When there is no such key, or SQLite refuses.
    pub fn revoke_key(
        &mut self,
        id: KeyId,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, RegistryError> {
        let change = "UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        self.change_key(id, change, now, Act::KeyRevoked, "", actor, now)
    }

    /// Gives a key an end.
    ///
    /// # Errors
    /// When there is no such key, or SQLite refuses.
    pub fn expire_key(
        &mut self,
        id: KeyId,
        at: Timestamp,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, RegistryError> {
        let change = "UPDATE keys SET expires_at = ?2 WHERE id = ?1";
        let detail = format!("at {at}");
        self.change_key(id, change, at, Act::KeyExpires, &detail, actor, now)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one statement and its line in the audit log"
    )]
    fn change_key(
        &mut self,
        id: KeyId,
        change: &str,
        value: Timestamp,
        act: Act,
        detail: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, RegistryError> {
        let changing = RegistryError::sqlite("change the key");
        let tenant = self.key(id)?.tenant;
        let transaction = begin(&mut self.connection)?;
        let changed = transaction
            .execute(change, (id.as_str(), value.unix_ms()))
            .map_err(&changing)?;
        if changed > 0 {
            let by = (actor, now);
            write_down(&transaction, by, act, id.as_str(), tenant.as_str(), detail)?;
        }
        transaction.commit().map_err(&changing)?;
        Ok(changed > 0)
    }

    /// Replaces what a key may do; `false` when nothing changes.
    ///
    /// # Errors
    /// When the policy does not fit, there is no such key, or SQLite refuses.
    pub fn set_key_policy(
        &mut self,
        id: KeyId,
        policy: &PolicyDocument,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, RegistryError> {
        policy.check()?;
        let old = self.key(id)?;
        if old.policy == *policy {
            return Ok(false);
        }
        let changing = RegistryError::sqlite("change the key");
        let transaction = begin(&mut self.connection)?;
        transaction
            .execute(
                "UPDATE keys SET policy = ?2 WHERE id = ?1",
                (id.as_str(), policy.stored()),
            )
            .map_err(&changing)?;
        let detail = policy.stored().unwrap_or_default();
        let by = (actor, now);
        let tenant = old.tenant.as_str();
        write_down(
            &transaction,
            by,
            Act::KeyChanged,
            id.as_str(),
            tenant,
            &detail,
        )?;
        transaction.commit().map_err(&changing)?;
        Ok(true)
    }

    /// The keys, newest first; of one tenant where it is named.
    ///
    /// # Errors
    /// When SQLite refuses, or a row cannot be read.
    pub fn keys(&self, tenant: Option<&TenantId>) -> Result<Vec<KeyRecord>, RegistryError> {
        let listing = RegistryError::sqlite("list the keys");
        let sql = format!(
            "{KEY_RECORDS} WHERE ?1 IS NULL OR tenant = ?1 ORDER BY created_at DESC, keys.id"
        );
        let mut select = self.connection.prepare(&sql).map_err(&listing)?;
        let rows = select.query_map([tenant.map(TenantId::as_str)], StoredRecord::of);
        let rows: Result<Vec<_>, _> = rows.map_err(&listing)?.collect();
        rows.map_err(&listing)?
            .into_iter()
            .map(StoredRecord::read)
            .collect()
    }

    /// One key.
    ///
    /// # Errors
    /// When there is no such key, or SQLite refuses.
    pub fn key(&self, id: KeyId) -> Result<KeyRecord, RegistryError> {
        let sql = format!("{KEY_RECORDS} WHERE keys.id = ?1");
        let row = self
            .connection
            .query_row(&sql, [id.as_str()], StoredRecord::of)
            .optional()
            .map_err(RegistryError::sqlite("read the key"))?;
        row.ok_or_else(|| RegistryError::NoSuchKey(id.to_string()))?
            .read()
    }

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

    /// The newest acts, newest first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn audit(&self, count: u32) -> Result<Vec<AuditEvent>, RegistryError> {
        let reading = RegistryError::sqlite("read the audit log");
        let mut select = self
            .connection
            .prepare(
                "SELECT at, actor, act, subject, tenant, detail FROM audit \
                 ORDER BY number DESC LIMIT ?1",
            )
            .map_err(&reading)?;
        let event = |row: &Row<'_>| {
            let act: String = row.get(2)?;
            Ok(AuditEvent {
                at: Timestamp::from_unix_ms(row.get(0)?),
                actor: row.get(1)?,
                act: Act::from_name(&act).unwrap_or_default(),
                subject: row.get(3)?,
                tenant: row.get(4)?,
                detail: row.get(5)?,
            })
        };
        let events: Result<_, _> = select
            .query_map([count], event)
            .map_err(&reading)?
            .collect();
        events.map_err(&reading)
    }

    /// Writes down when keys were last used.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn note_uses(&mut self, uses: &[(KeyId, Timestamp)]) -> Result<(), RegistryError> {
        let noting = RegistryError::sqlite("note when keys were used");
        let transaction = begin(&mut self.connection)?;
        for (id, at) in uses {
            transaction
                .execute(
                    "INSERT INTO key_use VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE \
                     SET last_used_at = max(last_used_at, ?2)",
                    (id.as_str(), at.unix_ms()),
                )
                .map_err(&noting)?;
        }
        transaction.commit().map_err(&noting)
    }

    /// Keeps whose an asynchronous job is.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn keep_job(
        &mut self,
        arn: &str,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        let insert = "INSERT OR IGNORE INTO jobs VALUES (?1, ?2, ?3)";
        self.connection
            .execute(insert, (arn, tenant.as_str(), now.unix_ms()))
            .map(drop)
            .map_err(RegistryError::sqlite("keep whose a job is"))
    }

    /// Whose an asynchronous job is; `None` for one that this proxy did not see start.
    ///
    /// # Errors
    /// When SQLite refuses, or the row cannot be read.
    pub fn job_owner(&self, arn: &str) -> Result<Option<TenantId>, RegistryError> {
        let owner: Option<String> = self
            .connection
            .query_row("SELECT tenant FROM jobs WHERE arn = ?1", [arn], |row| {
                row.get(0)
            })
            .optional()
            .map_err(RegistryError::sqlite("look up whose a job is"))?;
        owner.as_deref().map(tenant_name).transpose()
    }
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, RegistryError> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(RegistryError::sqlite("begin to write"))
}

fn add_tenant(
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

fn insert_key(
    transaction: &Transaction<'_>,
    new: &NewKey,
    replaces: Option<KeyId>,
    masters: &MasterKeys,
    now: Timestamp,
) -> Result<Issued, RegistryError> {
    let id = KeyId::generate(new.kind).ok_or(RegistryError::NoRandomness)?;
    let (secret, master_version, sha256) = match new.kind {
        KeyKind::Token => {
            let secret = random_secret()?;
            let sha256 = digest(&SHA256, secret.as_bytes()).as_ref().to_vec();
            (format!("{id}_{secret}"), None, Some(sha256))
        }
        KeyKind::Pair | KeyKind::Session => {
            let version = masters.newest();
            let secret = masters.pair_secret(version, id).unwrap_or_default();
            (secret, Some(version), None)
        }
    };
    transaction
        .execute(
            "INSERT INTO keys (id, kind, tenant, name, master_version, secret_sha256, policy, \
             created_at, expires_at, replaces) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                id.as_str(),
                new.kind.name(),
                new.tenant.as_str(),
                &new.name,
                master_version,
                sha256,
                new.policy.stored(),
                now.unix_ms(),
                new.expires_at.map(Timestamp::unix_ms),
                replaces.map(|id| id.to_string()),
            ),
        )
        .map_err(RegistryError::sqlite("write the key"))?;
    Ok(Issued {
        id,
        tenant: new.tenant.clone(),
        secret: Secret::new(&secret),
        expires_at: new.expires_at,
    })
}

/// 256 random bits: nobody guesses it, so a plain hash is enough to keep it by.
fn random_secret() -> Result<String, RegistryError> {
    let mut random = [0; 32];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_unspecified| RegistryError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

fn described(new: &NewKey) -> String {
    let kind = new.kind.name();
    let name = new.name.as_deref().unwrap_or("without a name");
    let policy = new.policy.stored().unwrap_or_else(|| "{}".to_owned());
    format!("{kind}, {name}, {policy}")
}

fn write_down(
    transaction: &Transaction<'_>,
    (actor, at): (&str, Timestamp),
    act: Act,
    subject: &str,
    tenant: &str,
    detail: &str,
) -> Result<(), RegistryError> {
    transaction
        .execute(
            "INSERT INTO audit (at, actor, act, subject, tenant, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (at.unix_ms(), actor, act.name(), subject, tenant, detail),
        )
        .map(drop)
        .map_err(RegistryError::sqlite("write the audit log"))
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

const KEY_RECORDS: &str = "SELECT keys.id, kind, tenant, name, policy, created_at, expires_at, \
     revoked_at, last_used_at FROM keys LEFT JOIN key_use ON key_use.id = keys.id";

/// A row of [`KEY_RECORDS`].
struct StoredRecord {
    id: String,
    kind: String,
    tenant: String,
    name: Option<String>,
    policy: Option<String>,
    created_at: i64,
    ends: [Option<i64>; 3],
}

impl StoredRecord {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            tenant: row.get(2)?,
            name: row.get(3)?,
            policy: row.get(4)?,
            created_at: row.get(5)?,
            ends: [row.get(6)?, row.get(7)?, row.get(8)?],
        })
    }

    fn read(self) -> Result<KeyRecord, RegistryError> {
        let unknown = || RegistryError::Stored(format!("kind {}", self.kind));
        let [expires_at, revoked_at, last_used_at] =
            self.ends.map(|at| at.map(Timestamp::from_unix_ms));
        Ok(KeyRecord {
            id: key_id(&self.id)?,
            kind: KeyKind::from_name(&self.kind).ok_or_else(unknown)?,
            tenant: tenant_name(&self.tenant)?,
            name: self.name,
            policy: PolicyDocument::of_stored(self.policy.as_deref())?,
            created_at: Timestamp::from_unix_ms(self.created_at),
            expires_at,
            revoked_at,
            last_used_at,
        })
    }
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

fn tenant_name(name: &str) -> Result<TenantId, RegistryError> {
    TenantId::new(name).map_err(|cause| RegistryError::Stored(format!("{name}: {cause}")))
}

fn key_id(id: &str) -> Result<KeyId, RegistryError> {
    KeyId::parse(id).ok_or_else(|| RegistryError::Stored(format!("key id {id}")))
}

/// How long a command waits for another that writes.
const BUSY_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const LATER: Timestamp = Timestamp::from_unix_ms(1_800_000_060_000);

    fn masters() -> MasterKeys {
        MasterKeys::parse("1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap()
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn new_key(of: &str, kind: KeyKind) -> NewKey {
        NewKey {
            tenant: tenant(of),
            kind,
            name: Some("ci".to_owned()),
            policy: PolicyDocument::default(),
            expires_at: None,
        }
    }

    fn opened() -> (tempfile::TempDir, Registry) {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(&directory.path().join("callers.sqlite3")).unwrap();
        (directory, registry)
    }

    #[test]
    fn a_key_is_made_once_and_the_file_does_not_hold_its_secret() {
        let (directory, mut registry) = opened();
        let masters = masters();
        let mut made = Vec::new();
        for kind in [KeyKind::Pair, KeyKind::Token] {
            let new = new_key("acme", kind);
            made.push(registry.create_key(&new, &masters, "ann", NOW).unwrap());
        }
        let callers = registry.load(masters.clone()).unwrap();
        let pair = callers.key(made[0].id).unwrap();
        let secret = masters.pair_secret(pair.master_version(), pair.id).unwrap();
        assert_eq!(secret, made[0].secret.as_str());
        let token = callers.key(made[1].id).unwrap();
        let (id, secret) = made[1].secret.as_str().split_once('_').unwrap();
        assert_eq!(id, token.id.as_str());
        assert!(token.is_token_secret(secret));
        assert!(!token.is_token_secret("") && !pair.is_token_secret(""));
        drop(registry);
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for issued in &made {
                let secret = issued.secret.as_str().rsplit('_').next().unwrap();
                assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none());
            }
        }
    }

    #[test]
    fn a_change_counts_and_a_use_does_not() {
        let (_directory, mut registry) = opened();
        let made = registry
            .create_key(&new_key("acme", KeyKind::Pair), &masters(), "ann", NOW)
            .unwrap();
        let before = registry.generation().unwrap();
        registry
            .note_uses(&[(made.id, LATER), (made.id, NOW)])
            .unwrap();
        assert_eq!(registry.generation().unwrap(), before);
        assert_eq!(registry.key(made.id).unwrap().last_used_at, Some(LATER));
        assert!(registry.revoke_key(made.id, "bob", NOW).unwrap());
        assert!(
            !registry.revoke_key(made.id, "bob", LATER).unwrap(),
            "only once"
        );
        assert!(registry.generation().unwrap() > before);
        let callers = registry.load(masters()).unwrap();
        let key = callers.key(made.id).unwrap();
        assert_eq!(key.standing(NOW), Standing::Revoked);
    }

    #[test]
    fn a_rotated_key_works_until_its_grace_is_over() {
        let (_directory, mut registry) = opened();
        let old = registry
            .create_key(&new_key("acme", KeyKind::Pair), &masters(), "ann", NOW)
            .unwrap();
        let new = registry
            .rotate_key(old.id, LATER, &masters(), "ann", NOW)
            .unwrap();
        assert_ne!(new.id, old.id);
        let callers = registry.load(masters()).unwrap();
        assert_eq!(callers.key(old.id).unwrap().standing(NOW), Standing::Good);
        assert_eq!(
            callers.key(old.id).unwrap().standing(LATER),
            Standing::Expired
        );
        assert_eq!(callers.key(new.id).unwrap().standing(LATER), Standing::Good);
        let again = registry.rotate_key(old.id, LATER, &masters(), "ann", LATER);
        assert!(matches!(again, Err(RegistryError::NotRotatable(_))));
    }

    #[test]
    fn every_act_is_in_the_audit_log_which_nobody_cuts() {
        let (_directory, mut registry) = opened();
        let acme = tenant("acme");
        let key = registry
            .create_key(&new_key("acme", KeyKind::Token), &masters(), "ann", NOW)
            .unwrap();
        let policy = PolicyDocument {
            models: vec!["amazon.*".to_owned()],
            ..PolicyDocument::default()
        };
        assert!(
            registry
                .set_key_policy(key.id, &policy, "ann", NOW)
                .unwrap()
        );
        assert!(
            !registry
                .set_key_policy(key.id, &policy, "ann", NOW)
                .unwrap()
        );
        registry.expire_key(key.id, LATER, "ann", NOW).unwrap();
        registry.suspend_tenant(&acme, true, "bob", NOW).unwrap();
        registry.suspend_tenant(&acme, false, "bob", LATER).unwrap();
        let document = TenantDocument {
            owner: Some("Ann".to_owned()),
            starts: Some("2026-01-01".to_owned()),
            ..TenantDocument::default()
        };
        let put = |registry: &mut Registry| registry.put_tenant(&acme, &document, "bob", NOW);
        assert_eq!(put(&mut registry).unwrap(), Some(Act::TenantChanged));
        assert_eq!(put(&mut registry).unwrap(), None, "as it was");
        registry
            .rename_tenant(&acme, &tenant("acme-2"), "bob", NOW)
            .unwrap();
        assert_eq!(registry.key(key.id).unwrap().tenant, tenant("acme-2"));
        let acts: Vec<Act> = registry.audit(100).unwrap().iter().map(|e| e.act).collect();
        let mut expected = [
            Act::TenantCreated,
            Act::KeyCreated,
            Act::KeyChanged,
            Act::KeyExpires,
            Act::TenantSuspended,
            Act::TenantResumed,
            Act::TenantChanged,
            Act::TenantRenamed,
        ];
        expected.reverse();
        assert_eq!(acts, expected);
        let secret = key.secret.as_str().rsplit('_').next().unwrap();
        assert!(
            registry
                .audit(100)
                .unwrap()
                .iter()
                .all(|e| !e.detail.contains(secret))
        );
        for sql in ["DELETE FROM audit", "UPDATE audit SET actor = 'eve'"] {
            assert!(registry.connection.execute(sql, ()).is_err(), "{sql}");
        }
    }

    #[test]
    fn two_programs_share_the_file() {
        let (directory, mut one) = opened();
        let mut other = Registry::open(&directory.path().join("callers.sqlite3")).unwrap();
        let before = one.generation().unwrap();
        let new = new_key("acme", KeyKind::Pair);
        let made = other.create_key(&new, &masters(), "ann", NOW).unwrap();
        let listed = |tenant: Option<&TenantId>| one.keys(tenant).unwrap().len();
        assert_eq!(listed(None), 1);
        assert_eq!(listed(Some(&tenant("acme"))), 1);
        assert_eq!(listed(Some(&tenant("other"))), 0);
        assert_ne!(one.generation().unwrap(), before);
        assert!(one.load(masters()).unwrap().key(made.id).is_some());
        one.keep_job("arn:x", &tenant("acme"), NOW).unwrap();
        one.keep_job("arn:x", &tenant("evil"), NOW).unwrap();
        assert_eq!(other.job_owner("arn:x").unwrap(), Some(tenant("acme")));
        assert_eq!(other.job_owner("arn:y").unwrap(), None);
    }

    #[test]
    fn what_is_not_there_cannot_be_changed() {
        let (_directory, mut registry) = opened();
        let id = KeyId::generate(KeyKind::Pair).unwrap();
        let nobody = tenant("nobody");
        let missing = registry.revoke_key(id, "ann", NOW);
        assert!(matches!(missing, Err(RegistryError::NoSuchKey(_))));
        let missing = registry.suspend_tenant(&nobody, true, "ann", NOW);
        assert!(matches!(missing, Err(RegistryError::NoSuchTenant(_))));
        assert!(registry.audit(10).unwrap().is_empty());
    }
}
