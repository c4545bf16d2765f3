//! The callers we know: tenants, the keys that were issued to them, and who changed what when.
//!
//! It keeps them in an SQLite file of its own and serves calls from a snapshot in memory. It knows
//! nothing of requests, signatures or HTTP. No secret is stored: those of key pairs are derived
//! from a master key that lies elsewhere, of tokens only a hash is kept.

mod acts;
mod audit;
mod document;
mod error;
mod id;
mod key;
mod keys;
mod listing;
mod load;
mod master;
mod policy;
mod schema;
mod settings;
mod snapshot;
mod store;
mod tenant;
mod tenants;

pub use audit::{Act, AuditEvent};
pub use document::{KeyDocument, NewKeyDocument, PolicyDocument, TenantDocument};
pub use error::RegistryError;
pub use id::{KeyId, KeyKind};
pub use key::{Issued, Key, KeyRecord, NewKey, Standing};
pub use listing::{HandedOut, ListedAct, ListedKey, ListedTenant};
pub use master::{InvalidMasterKey, MasterKeys};
pub use policy::{Enforcement, Policy};
pub use settings::{OnContradiction, Settings};
pub use snapshot::Callers;
pub use store::Registry;
pub use tenant::Tenant;
