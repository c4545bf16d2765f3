//! Where issued keys lie and what they are derived from (`[keys]`).

use std::path::{Path, PathBuf};

use crate::domain::{Secret, keywords};

/// Where issued keys lie and what they are derived from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The SQLite file; absent: `callers.sqlite3` in the ledger's directory.
    pub file: Option<PathBuf>,
    /// The master keys, as `VERSION:BASE64URL` words; absent: one is generated once, in the file
    /// `master.key` of the ledger's directory.
    pub master_key: Option<Secret>,
}

impl Settings {
    /// The SQLite file.
    pub fn file(&self, ledger_directory: &Path) -> PathBuf {
        let own = self.file.clone();
        own.unwrap_or_else(|| ledger_directory.join("callers.sqlite3"))
    }
}

keywords!(
    /// What happens when two claims of one request contradict each other.
    OnContradiction {
        /// The call is refused.
        Refuse = "refuse",
        /// The stronger claim holds, and the contradiction is counted.
        IgnoreAndCount = "ignore-and-count",
    }
);
