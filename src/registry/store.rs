//! The registry's SQLite file: every change in one transaction with its line in the audit log.
//!
//! Several processes may have it open: commands write while a proxy reads. Blocking; never on a
//! call's way.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::error::RegistryError;
use super::id::KeyId;
use super::schema;
use crate::domain::{TenantId, Timestamp};

/// The registry, open.
#[derive(Debug)]
pub struct Registry {
    pub(super) connection: Connection,
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

/// Begins a change: nobody else writes until it ends.
pub(super) fn begin(connection: &mut Connection) -> Result<Transaction<'_>, RegistryError> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(RegistryError::sqlite("begin to write"))
}

/// The name in a row.
pub(super) fn tenant_name(name: &str) -> Result<TenantId, RegistryError> {
    TenantId::new(name).map_err(|cause| RegistryError::Stored(format!("{name}: {cause}")))
}

/// The id in a row.
pub(super) fn key_id(id: &str) -> Result<KeyId, RegistryError> {
    KeyId::parse(id).ok_or_else(|| RegistryError::Stored(format!("key id {id}")))
}

/// How long a command waits for another that writes.
const BUSY_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{
        Act, KeyKind, MasterKeys, NewKey, PolicyDocument, Standing, TenantDocument,
    };

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
        let (id, token_secret) = made[1].secret.as_str().split_once('_').unwrap();
        assert_eq!(id, token.id.as_str());
        assert!(token.is_token_secret(token_secret));
        assert!(!token.is_token_secret("") && !pair.is_token_secret(""));
        drop(registry);
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            // Whole: what comes after the last `_` of a secret may be a letter or two.
            for secret in [secret.as_str(), token_secret] {
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
        let (_, secret) = key.secret.as_str().split_once('_').unwrap();
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
