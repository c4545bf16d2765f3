//! Metrics and log (`[metrics]`, `[log]`).

use crate::domain::keywords;

/// The telemetry settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most series of one metric family; excess goes to the label value `other`.
    pub series_per_family_max: usize,
    /// The most names that one tenant may add as label values.
    pub names_per_tenant_max: usize,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// The least severe lines that are written.
    pub log_level: LogLevel,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            series_per_family_max: 20_000,
            names_per_tenant_max: 200,
            log_format: LogFormat::default(),
            log_level: LogLevel::default(),
        }
    }
}

keywords!(
    /// The form of log lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
);

keywords!(
    /// How much is logged.
    LogLevel {
        /// Also what happens in normal operation.
        Info = "info",
        /// Only what failed.
        Error = "error",
        /// Also what may fail soon.
        Warn = "warn",
        /// Also the steps of each call.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
);
