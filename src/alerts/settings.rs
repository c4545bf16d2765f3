//! Who is told, how, and of what (`[alerts]`).

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::domain::{Secret, keywords};
use crate::telemetry::CollectorUrl;

/// The settings of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The outlets of what is about no budget. A budget that names none is left to Prometheus.
    pub default_outlets: Vec<String>,
    /// The file of the delivery log; without it the log is where the ledger is.
    pub file: Option<PathBuf>,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// For how long a notice is tried; after that it has failed.
    pub retry_for: Duration,
    /// For how long deliveries are kept once their period has ended.
    pub keep_for: Duration,
    /// When spending is sudden.
    pub sudden: SuddenSettings,
    /// The outlets.
    pub outlets: Vec<OutletSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_outlets: Vec::new(),
            file: None,
            timeout: Duration::from_secs(10),
            retry_for: Duration::from_hours(6),
            keep_for: Duration::from_hours(9_600),
            sudden: SuddenSettings::default(),
            outlets: Vec::new(),
        }
    }
}

/// When a tenant's spending is sudden (`[alerts.sudden]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuddenSettings {
    /// Today so far against the same hours of the days before, in percent; 0: nothing is sudden.
    pub percent: u64,
    /// What today must be above in whole US dollars, lest small change be news.
    pub floor_usd: u64,
}

impl Default for SuddenSettings {
    fn default() -> Self {
        Self {
            percent: 300,
            floor_usd: 50,
        }
    }
}

/// One outlet (`[alerts.outlets.NAME]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutletSettings {
    /// Its name.
    pub name: String,
    /// How it wants to hear.
    pub kind: OutletKind,
    /// Where a webhook or Slack listens; often a secret by itself.
    pub url: Option<Secret>,
    /// Where the Alertmanagers of one cluster listen.
    pub urls: Vec<CollectorUrl>,
    /// What webhooks are signed with.
    pub secret: Option<Secret>,
    /// What they will be signed with: both signatures are sent.
    pub next_secret: Option<Secret>,
    /// The `authorization` header of each request.
    pub authorization: Option<Secret>,
    /// The topic of SNS.
    pub topic_arn: Option<String>,
    /// What replaces the public host of SNS.
    pub endpoint: Option<Uri>,
    /// Further certificate authorities to trust, instead of `upstream.ca_file`.
    pub ca_file: Option<PathBuf>,
    /// Whether requests go through `upstream.proxy`.
    pub through_proxy: bool,
}

impl OutletSettings {
    /// One of that name, with nothing else said about it.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: OutletKind::default(),
            url: None,
            urls: Vec::new(),
            secret: None,
            next_secret: None,
            authorization: None,
            topic_arn: None,
            endpoint: None,
            ca_file: None,
            through_proxy: true,
        }
    }
}

keywords!(
    /// How an outlet wants to hear.
    OutletKind {
        /// Our JSON, signed.
        Webhook = "webhook",
        /// An incoming webhook of Slack.
        Slack = "slack",
        /// A topic of Amazon SNS.
        Sns = "sns",
        /// Alertmanager's API, told again while a notice stands.
        Alertmanager = "alertmanager",
    }
);
