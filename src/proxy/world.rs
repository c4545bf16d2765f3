//! What all calls share: one snapshot of tables, and the gates every call passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::mpsc::Sender;

use super::drain::Drains;
use super::jobs::Jobs;
use super::open_set::OpenSet;
use super::settings::PriceUnknown;
use super::settle::Settlement;
use super::wanted::Wanted;
use crate::budgets::Budgets;
use crate::domain::Clock;
use crate::identity::{Certificates, Identity, Issuers, Replays};
use crate::ledger::{OpenCalls, Settings as LedgerSettings, SpillState};
use crate::limits::Limits;
use crate::meters::{Tails, Windows};
use crate::pricing::Catalogue;
use crate::registry::Callers;
use crate::relay::{GatherLimits, RequestHeaderFilter};
use crate::replicas::Store;
use crate::telemetry::Metrics;
use crate::upstream::{CredentialStore, MetadataKeys, Patience, RoleSessions, Roles, Targets};

/// One immutable snapshot of tables. A call loads it once and sees nothing else.
#[derive(Debug)]
pub struct World {
    /// The prices.
    pub catalogue: Arc<Catalogue>,
    /// Who may call.
    pub identity: Identity,
    /// Whose tokens prove a caller.
    pub issuers: Issuers,
    /// Whose certificates prove a caller.
    pub certificates: Certificates,
    /// Hops whose word about the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The regions that are served, and where they are.
    pub targets: Targets,
    /// The request headers that do not travel upstream.
    pub request_headers: RequestHeaderFilter,
    /// The roles that sign the calls of tenants.
    pub roles: Roles,
    /// What is written into the request metadata.
    pub request_metadata: MetadataKeys,
    /// How much each model reads and writes at most.
    pub windows: Windows,
    /// What happens to calls of models without a price.
    pub price_unknown: PriceUnknown,
}

/// The gates that every call passes, shared by all workers.
pub struct Gates {
    /// The tables. A reload replaces them; a call keeps those that it loaded at its top.
    pub world: ArcSwap<World>,
    /// Tenants and issued keys, replaced when the registry changes.
    pub callers: ArcSwap<Callers>,
    /// Whose asynchronous jobs are.
    pub jobs: Arc<Jobs>,
    /// The signatures that were taken, where each may be taken only once.
    pub replays: Replays,
    /// What may come how fast. A reload changes them for new calls.
    pub limits: Limits,
    /// Limits on request bodies.
    pub bodies: GatherLimits,
    /// What may be spent.
    pub budgets: Budgets,
    /// A table of budgets on its way into force.
    pub budgets_wanted: Arc<Wanted>,
    /// The budgets of all replicas, where they share them.
    pub replicas: Option<Store>,
    /// What nearly all calls of a model stay below.
    pub tails: Arc<Tails>,
    /// The queue to the settling thread; its places are the calls in flight.
    pub settlements: Sender<Settlement>,
    /// What waits for the store; no call passes while neither the store nor the spill has room.
    pub spill: Arc<SpillState>,
    /// The log that is written before the first upstream byte.
    pub open_calls: Arc<OpenCalls>,
    /// Where settled calls are read, for callers that ask for their own.
    pub ledger: LedgerSettings,
    /// The calls that are open.
    pub open_set: Arc<OpenSet>,
    /// Who reads on when a client leaves.
    pub drains: Arc<Drains>,
    /// The proxy's own credentials.
    pub credentials: CredentialStore,
    /// The roles that are assumed with them.
    pub role_sessions: RoleSessions,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What Bedrock's clock shows more than ours, in milliseconds; learned from a refusal.
    pub skew_ms: AtomicI64,
    /// Limits of time upstream.
    pub patience: Patience,
    /// How long a call waits for a place in the queue.
    pub permit_wait_max: Duration,
    /// Whether settled calls say where they came from (traces, access log).
    pub keeps_origin: bool,
    /// Set when the process is about to stop.
    pub stopping: AtomicBool,
}

impl Gates {
    /// Whether a call can be admitted at this moment.
    pub fn has_places(&self) -> bool {
        self.settlements.capacity() > 0
    }

    /// Whether the settling thread lives; without it no call is admitted any more.
    pub fn can_settle(&self) -> bool {
        !self.settlements.is_closed()
    }
}
