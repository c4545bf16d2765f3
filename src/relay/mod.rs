//! Bodies on their way through.

mod settings;

pub use settings::{DrainSettings, OnClientDisconnect};
