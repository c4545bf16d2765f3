//! Which of several processes this one is (`[replica]`).

use std::fs;
use std::io;
use std::time::Duration;

use super::{LedgerError, Settings};
use crate::domain::{CallId, Clock as _, ReplicaId, SystemClock};

/// The replica settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Its name among those that share a ledger; `None`: made once and kept in the directory.
    pub id: Option<ReplicaId>,
    /// How long the others wait for a replica that they do not hear of before they settle its
    /// open calls.
    pub lease: Duration,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            id: None,
            lease: Duration::from_mins(5),
        }
    }
}

/// The id of this process's replica: the configured one, else that of the directory.
///
/// # Errors
/// When the directory's cannot be read or written, or is no id.
pub(super) fn id(settings: &Settings) -> Result<ReplicaId, LedgerError> {
    if let Some(id) = &settings.replica.id {
        return Ok(id.clone());
    }
    let path = settings.directory.join("replica-id");
    let text = match fs::read_to_string(&path) {
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => {
            let made = fresh();
            fs::write(&path, format!("{made}\n")).map_err(LedgerError::file("write", &path))?;
            made
        }
        read => read.map_err(LedgerError::file("read", &path))?,
    };
    ReplicaId::new(text.trim()).map_err(|_rule| LedgerError::Damaged {
        column: "replica-id",
        value: text,
    })
}

/// A name that no other process has.
pub(super) fn fresh() -> String {
    CallId::generate(SystemClock.now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_kept_with_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(directory.path());
        let made = id(&settings).unwrap();
        assert_eq!(id(&settings).unwrap(), made);
        let elsewhere = tempfile::tempdir().unwrap();
        let other = id(&Settings::in_directory(elsewhere.path())).unwrap();
        assert_ne!(other, made);
        settings.replica.id = Some(ReplicaId::new("pod-7").unwrap());
        assert_eq!(id(&settings).unwrap().as_str(), "pod-7");
        settings.replica.id = None;
        fs::write(directory.path().join("replica-id"), "no id\n").unwrap();
        assert!(id(&settings).is_err());
    }
}
