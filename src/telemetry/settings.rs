//! Metrics, log and what is sent out (`[metrics]`, `[log]`, `[telemetry]`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::domain::{Secret, keywords};

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
    /// What goes to a collector; nothing without an endpoint.
    pub otlp: OtlpSettings,
    /// Where the access log goes: a file, `stdout` or `stderr`; without it there is none.
    pub access_log: Option<PathBuf>,
}

impl Settings {
    /// Whether anybody asks what a caller's head says beside the ledger's columns.
    pub const fn wants_origin(&self) -> bool {
        self.access_log.is_some() || (self.otlp.endpoint.is_some() && self.otlp.traces)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            series_per_family_max: 20_000,
            names_per_tenant_max: 200,
            log_format: LogFormat::default(),
            log_level: LogLevel::default(),
            otlp: OtlpSettings::default(),
            access_log: None,
        }
    }
}

/// The way to an OpenTelemetry collector (`[telemetry.otlp]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Its base URL; `/v1/traces` and `/v1/metrics` are appended.
    pub endpoint: Option<CollectorUrl>,
    /// Whether spans are sent.
    pub traces: bool,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// How often what has gathered is sent.
    pub interval: Duration,
    /// Limit of one request to the collector.
    pub timeout: Duration,
    /// How many of the traces that begin here are kept, in percent; a caller's trace follows the
    /// caller's own decision.
    pub sample_percent: u8,
    /// Spans that wait at most; what comes on top is dropped and counted.
    pub queue_max: usize,
    /// `service.name`.
    pub service_name: String,
    /// The `authorization` header of each request.
    pub authorization: Option<Secret>,
    /// Further headers of each request.
    pub headers: BTreeMap<String, Secret>,
    /// Further attributes of the resource.
    pub resource: BTreeMap<String, String>,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            traces: true,
            metrics: true,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            sample_percent: 100,
            queue_max: 4096,
            service_name: "bedrock-meter".to_owned(),
            authorization: None,
            headers: BTreeMap::new(),
            resource: BTreeMap::new(),
        }
    }
}

/// The base URL of a collector: `http` or `https`, a host, perhaps a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(Uri);

impl CollectorUrl {
    /// Reads one; `None` for another scheme, user information or a query.
    pub fn read(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let is_web = matches!(url.scheme_str(), Some("http" | "https"));
        let authority = url.authority()?;
        let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
        (is_web && is_plain && url.query().is_none()).then_some(Self(url))
    }

    /// The URL.
    pub const fn uri(&self) -> &Uri {
        &self.0
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
