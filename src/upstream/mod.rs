//! The road to Bedrock: connections, credentials, signatures.

mod settings;

pub use settings::{CredentialSettings, HttpProxy, Settings};
