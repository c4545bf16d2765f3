//! The admin listener: health, metrics, reports, and the callers' keys and tenants, over HTTP/1.1.
//!
//! Knows nothing of the request path: what it shows it asks from small traits that the app
//! implements. Health and the files of the page at `/` never need a login; off loopback, or where
//! people log in, everything else does: a token, a provider's token or a session.

mod access;
mod body;
mod listener;
mod office;
mod pages;
mod people;
mod place;
mod role;
mod service;
mod settings;
mod shell;

pub use listener::serve;
pub use office::{Done, Office};
pub use pages::{Check, PageError, Pages, State, View, Work};
pub use people::{LoginSettings, People, PeopleParts};
pub use role::{Right, Role};
pub use service::Admin;
pub use settings::{Settings, TokenSettings};
