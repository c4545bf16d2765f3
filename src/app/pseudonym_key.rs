//! The key of the pseudonyms: the settings' own, or one generated once for the ledger directory.
//!
//! It must outlive restarts, or yesterday's user would be another today.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use crate::aws::hex;
use crate::config::Settings;
use crate::domain::Secret;

pub(super) fn load(settings: &Settings) -> anyhow::Result<Secret> {
    if let Some(key) = &settings.identity.pseudonym_key {
        return Ok(key.clone());
    }
    let file = settings.ledger.directory.join("pseudonym.key");
    if let Ok(key) = fs::read_to_string(&file) {
        return Ok(Secret::new(key.trim()));
    }
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .ok()
        .context("draw random bytes")?;
    let key = hex(&bytes);
    let mut created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .with_context(|| format!("create {}", file.display()))?;
    created.write_all(key.as_bytes())?;
    Ok(Secret::new(&key))
}
