//! Keys in the registry's file: made, rotated, ended, listed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::acts::write_down;
use super::audit::Act;
use super::document::PolicyDocument;
use super::error::RegistryError;
use super::id::{KeyId, KeyKind};
use super::key::{Issued, KeyRecord, NewKey, Standing};
use super::master::MasterKeys;
use super::store::{Registry, begin, key_id, tenant_name};
use super::tenants::add_tenant;
use crate::domain::{Secret, TenantId, Timestamp};

impl Registry {
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
