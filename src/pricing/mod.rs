//! Usage in, money out.

mod settings;

pub use settings::Settings;
