//! What operators see: metrics and log.

mod settings;

pub use settings::{LogFormat, LogLevel, Settings};
