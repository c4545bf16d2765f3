//! The admin listener: health, metrics and reports over HTTP/1.1.
//!
//! Knows nothing of the request path: what it shows it asks from small traits that the app
//! implements. Health and the files of the page at `/` never need a token; off loopback everything
//! else does.

mod access;
mod listener;
mod pages;
mod service;
mod settings;
mod shell;

pub use listener::serve;
pub use pages::{Check, PageError, Pages, State};
pub use service::Admin;
pub use settings::Settings;
