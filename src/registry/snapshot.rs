//! The registry in memory, as calls read it: never changed, only replaced.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::id::KeyId;
use super::key::Key;
use super::master::MasterKeys;
use super::tenant::Tenant;
use crate::domain::{TenantId, Timestamp};

/// Everybody we know, at one generation of the registry.
#[derive(Debug)]
pub struct Callers {
    pub(super) keys: HashMap<KeyId, Arc<Key>>,
    pub(super) tenants: HashMap<TenantId, Arc<Tenant>>,
    pub(super) masters: MasterKeys,
    pub(super) generation: i64,
}

impl Callers {
    /// Nobody, yet.
    pub fn nobody(masters: MasterKeys) -> Self {
        Self {
            keys: HashMap::new(),
            tenants: HashMap::new(),
            masters,
            generation: 0,
        }
    }

    /// The key of that id, whether it works or not.
    pub fn key(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.keys.get(&id)
    }

    /// The tenant of that name.
    pub fn tenant(&self, name: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(name)
    }

    /// All tenants.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// What secrets are derived from.
    pub const fn masters(&self) -> &MasterKeys {
        &self.masters
    }

    /// Counts the changes of the registry up to this snapshot.
    pub const fn generation(&self) -> i64 {
        self.generation
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Goes on with the uses that an older snapshot has noted.
    pub fn take_uses_of(&self, older: &Self) {
        for (id, key) in &older.keys {
            if let Some(same) = self.keys.get(id) {
                let used = key.last_used_ms.load(Ordering::Relaxed);
                same.last_used_ms.fetch_max(used, Ordering::Relaxed);
            }
        }
    }

    /// The keys that were used after an instant, and when.
    pub fn used_since(&self, since: Timestamp) -> Vec<(KeyId, Timestamp)> {
        let used = |key: &Arc<Key>| {
            let used = Timestamp::from_unix_ms(key.last_used_ms.load(Ordering::Relaxed));
            (used > since).then_some((key.id, used))
        };
        self.keys.values().filter_map(used).collect()
    }
}
