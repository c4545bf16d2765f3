//! The master key and the registry's file, as the settings name them: for the proxy and for
//! commands.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::config::Settings;
use crate::registry::{MasterKeys, Registry};

/// The registry of these settings, made where it is not there yet.
///
/// # Errors
/// When its file cannot be opened.
pub fn open_registry(settings: &Settings) -> anyhow::Result<Registry> {
    let file = settings.keys.file(&settings.ledger.directory);
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    Registry::open(&file).with_context(|| format!("open {}", file.display()))
}

/// The master keys of these settings: their own, or one that was generated once for the ledger's
/// directory. Never in the registry's file: a copy of that must not be enough to sign.
///
/// # Errors
/// When there is none and none can be made, or the file holds none.
pub fn master_keys(settings: &Settings) -> anyhow::Result<MasterKeys> {
    if let Some(key) = &settings.keys.master_key {
        return MasterKeys::parse(key.as_str()).context("read keys.master_key");
    }
    let directory = &settings.ledger.directory;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let file = directory.join("master.key");
    if !file.exists() {
        generate(&file)?;
    }
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    MasterKeys::parse(&text).with_context(|| format!("read {}", file.display()))
}

/// The URL that clients reach this proxy by, as well as the settings tell it.
pub fn client_url(settings: &Settings) -> String {
    let listener = &settings.listener;
    let scheme = if listener.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let prefix = settings.identity.external_path_prefix.as_deref();
    let prefix = prefix.unwrap_or_default();
    let name = settings.identity.external_names.first().cloned();
    let name = name.unwrap_or_else(|| {
        if listener.listen.ip().is_unspecified() {
            format!("PROXY:{}", listener.listen.port())
        } else {
            listener.listen.to_string()
        }
    });
    format!("{scheme}://{name}{prefix}")
}

/// Written beside and linked into place, so that two programs that start at once end with one
/// key, whole.
fn generate(file: &Path) -> anyhow::Result<()> {
    let key = MasterKeys::generate(1).context("draw random bytes")?;
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    let writing = || format!("create {}", file.display());
    let mut created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .with_context(writing)?;
    created.write_all(key.as_str().as_bytes())?;
    created.sync_all()?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft).with_context(writing)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(writing),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_master_key_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.ledger.directory = directory.path().join("data");
        let id = "BMAKABCDEFGHIJKLMNOP".parse().unwrap();
        let secret = || master_keys(&settings).unwrap().pair_secret(1, id);
        assert_eq!(secret(), secret());
        let file = settings.ledger.directory.join("master.key");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let registry = open_registry(&settings).unwrap();
        assert!(registry.keys(None).unwrap().is_empty());
    }
}
