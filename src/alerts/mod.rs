//! What people are told about money: which notices stand, who was told what, and how each outlet
//! wants to hear it.
//!
//! A notice is a function of where budgets stand (a level, not an edge), and its id one of what it
//! is about: restarts, replicas and redeliveries carry the same. That each outlet hears of it once
//! is the delivery log's affair. This room opens no connection: it makes requests, `app` sends them.

mod error;
mod forecast;
mod id;
mod judge;
mod log;
mod notice;
mod outlet;
mod pause;
mod settings;
mod signal;
mod sqlite;
mod text;

pub use error::{AlertError, InvalidOutlet};
pub use forecast::forecast;
pub use judge::{Firing, crossings};
pub use log::{Delivery, DeliveryLog, Line, Outcome, Standing};
pub use notice::{Kind, Notice, Status};
pub use outlet::{Outgoing, Outlet};
pub use pause::pause;
pub use settings::{OutletKind, OutletSettings, Settings, SuddenSettings};
pub use signal::{DayOfTenant, Signal, sudden};
pub use sqlite::SqliteLog;
