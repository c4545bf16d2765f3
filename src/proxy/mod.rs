//! The request path: the only place where rooms meet.
//!
//! `service` is one call, top to bottom; `opening` makes of a request a call, and `send` sends it. From the first upstream byte a call is one object
//! (`live`) in a guard (`answer`); when a client leaves, `drain` reads on; `settle` turns the
//! end of each call into one entry.

mod answer;
mod check;
mod downgrade;
mod drain;
mod holds;
mod jobs;
mod judge;
mod late;
mod limit;
mod live;
mod me;
mod metadata;
mod open_set;
mod opening;
mod own;
mod refusal;
mod reserve;
mod said;
mod send;
mod service;
mod settings;
mod settle;
mod shared;
mod skew;
mod wanted;
mod world;

pub use answer::AnswerBody;
pub use drain::Drains;
pub use jobs::Jobs;
pub use late::TellReplicas;
pub use open_set::{LiveCall, OpenSet};
pub use own::OWN_PATHS;
pub use refusal::{Refusal, RefusalKind, Row, refusals_markdown};
pub use service::Service;
pub use settings::{
    ClientCertificates, LedgerFull, ListenerSettings, PriceUnknown, ShutdownSettings,
    TlsClientSettings, TlsSettings, WhenSettings,
};
pub use settle::{Permit, Settlement, Settler, entry_of_lost_call, of_ledger, queue, spent_in};
pub use shared::follow_shared;
pub use wanted::Wanted;
pub use world::{Gates, World};
