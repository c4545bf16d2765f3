//! The configuration: reads TOML, reports every problem at once, fills each room's settings.

mod settings;

pub use settings::Settings;
