//! Where prices come from (`[prices]`).

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The pricing settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The catalogue file; absent: the one built into the program.
    pub catalogue_file: Option<PathBuf>,
    /// Which model an opaque id or ARN is priced as.
    pub models: BTreeMap<String, String>,
}
