//! Puts a changed configuration in force, or refuses it whole. Calls in flight see none of it.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use http::HeaderName;
use tokio::sync::watch;

use super::alerts::AlertsThread;
use super::connection::ConnectionSettings;
use super::worker::WorkerContext;
use super::{pseudonym_key, tls};
use crate::admin;
use crate::alerts;
use crate::aws::parse_model_ref;
use crate::config::{Problems, Settings, changed_keys};
use crate::identity::{Certificates, Identity, IssuerSettings, Issuers, KeyRing};
use crate::pricing::Catalogue;
use crate::proxy::{Gates, World};
use crate::relay::RequestHeaderFilter;
use crate::telemetry::KnownNames;
use crate::upstream::{Roles, Targets};

/// What reloads: the tables of calls, how new connections are served, the credentials.
pub(super) struct Reloader {
    gates: Arc<Gates>,
    connections: Arc<ArcSwap<ConnectionSettings>>,
    keys: IssuerKeyring,
    alerts: watch::Sender<alerts::Settings>,
    /// What the process started with: keys that do not reload keep these values.
    started: Settings,
    /// What was put in force last.
    applied: Mutex<Settings>,
}

/// The keys of issuers, which a reload keeps, and whose keys are to be read.
pub(super) struct IssuerKeyring {
    pub(super) ring: Arc<KeyRing>,
    pub(super) issuers: watch::Sender<Vec<IssuerSettings>>,
}

/// The parts that a reload replaces.
pub(super) struct Tables {
    pub(super) world: World,
    pub(super) connections: ConnectionSettings,
}

impl Tables {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// When one of them cannot be read or used; nothing is in force then.
    pub(super) fn load(settings: &Settings, keys: &KeyRing) -> anyhow::Result<Self> {
        let catalogue = Catalogue::open(&settings.prices, parse_model_ref);
        let catalogue = Arc::new(catalogue.context("open the price catalogue")?);
        let tls = settings.listener.tls.as_ref().map(tls::acceptor);
        Ok(Self {
            world: world(settings, catalogue, keys)?,
            connections: ConnectionSettings::new(&settings.listener, tls.transpose()?),
        })
    }
}

impl Reloader {
    pub(super) fn new(
        gates: &Arc<Gates>,
        workers: &WorkerContext,
        keys: IssuerKeyring,
        alerts: &AlertsThread,
        started: Settings,
    ) -> Self {
        gates.metrics.config_in_force(gates.clock.now(), 0);
        Self {
            gates: Arc::clone(gates),
            connections: Arc::clone(&workers.settings),
            keys,
            alerts: alerts.settings.clone(),
            applied: Mutex::new(started.clone()),
            started,
        }
    }

    /// What the process started with.
    pub(super) const fn started(&self) -> &Settings {
        &self.started
    }

    /// Puts what was loaded in force; `false` when it is refused, and the old one stays.
    pub(super) async fn reload(&self, loaded: Result<Settings, Problems>) -> bool {
        let settings = match loaded {
            Ok(settings) => settings,
            Err(problems) => return self.refuse(&problems.0),
        };
        let effective = Settings {
            // Where the pseudonyms' key is.
            ledger: self.started.ledger.clone(),
            ..settings.clone()
        };
        // A catalogue takes long enough to read that connections would wait for it.
        let ring = Arc::clone(&self.keys.ring);
        let tables = tokio::task::spawn_blocking(move || Tables::load(&effective, &ring)).await;
        match tables {
            Ok(Ok(tables)) => {
                self.apply(settings, tables);
                true
            }
            Ok(Err(error)) => self.refuse(&[format!("{error:#}")]),
            Err(error) => self.refuse(&[error]),
        }
    }

    fn apply(&self, settings: Settings, tables: Tables) {
        let gates = &self.gates;
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        gates.metrics.know(&known_names(&settings));
        if settings.upstream.credentials != applied.upstream.credentials {
            gates
                .credentials
                .reload_from(&settings.upstream.credentials);
        }
        self.connections.store(Arc::new(tables.connections));
        gates.world.store(Arc::new(tables.world));
        // Who logs people in does not reload.
        self.follow_issuers(&followed_issuers(&settings, &self.started.admin));
        if settings.budgets != applied.budgets {
            gates.budgets_wanted.put(settings.budgets.clone());
        }
        if settings.limits != applied.limits {
            gates.limits.reload(&settings.limits);
        }
        if settings.alerts != applied.alerts {
            self.alerts.send_replace(settings.alerts.clone());
        }
        let mut changed = changed_keys(&applied, &settings);
        changed.retain(|key| reloads(key));
        let mut waiting = changed_keys(&self.started, &settings);
        waiting.retain(|key| !reloads(key));
        gates.metrics.config_reloaded(true);
        gates
            .metrics
            .config_in_force(gates.clock.now(), waiting.len());
        let keys = changed.join(", ");
        tracing::info!(event = "config_reloaded", keys, "configuration reloaded");
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(
                event = "config_needs_restart",
                keys,
                "these keys changed and need a restart; they are as they were"
            );
        }
        *applied = settings;
    }

    fn follow_issuers(&self, wanted: &[IssuerSettings]) {
        self.keys.issuers.send_if_modified(|followed| {
            let changed = followed != wanted;
            if changed {
                *followed = wanted.to_vec();
            }
            changed
        });
    }

    fn refuse<P: Display>(&self, problems: &[P]) -> bool {
        self.gates.metrics.config_reloaded(false);
        let count = problems.len();
        tracing::error!(
            event = "config_refused",
            count,
            "the new configuration is refused, the old one stays in force"
        );
        for problem in problems {
            tracing::error!(event = "config_problem", %problem, "configuration");
        }
        false
    }
}

/// The issuers whose keys are read: those of callers, and that of people at the admin listener.
pub(super) fn followed_issuers(
    settings: &Settings,
    admin: &admin::Settings,
) -> Vec<IssuerSettings> {
    let callers = settings.identity.issuers.iter().cloned();
    callers.chain(admin.login.issuer_settings()).collect()
}

/// The names that always have series of their own.
pub(super) fn known_names(settings: &Settings) -> KnownNames {
    let tenants = settings.identity.tenants.iter();
    let tenants = tenants.map(|tenant| (tenant.name.clone(), tenant.applications.clone()));
    KnownNames {
        tenants: tenants.collect(),
    }
}

/// The tables of these settings.
fn world(settings: &Settings, catalogue: Arc<Catalogue>, keys: &KeyRing) -> anyhow::Result<World> {
    let pseudonym_key = pseudonym_key::load(settings).context("load the pseudonym key")?;
    let identity = Identity::new(settings.identity.clone(), &pseudonym_key);
    let tenancy: Vec<HeaderName> = identity.tenancy_headers().to_vec();
    Ok(World {
        catalogue,
        identity,
        issuers: Issuers::new(&settings.identity.issuers, keys),
        certificates: Certificates::new(
            &settings.identity.certificates,
            &settings.identity.certificate_hops,
        ),
        trusted_proxies: settings.listener.trusted_proxies.clone(),
        targets: Targets::new(&settings.upstream).context("read the upstream endpoints")?,
        request_headers: RequestHeaderFilter::new(tenancy),
        roles: Roles::new(&settings.upstream).context("read the endpoint of STS")?,
        request_metadata: settings.upstream.request_metadata.clone(),
        windows: settings.windows.clone(),
        price_unknown: settings.when.price_unknown,
    })
}

/// Whether a changed value of this key is in force after a reload.
fn reloads(key: &str) -> bool {
    RELOADED.iter().any(|reloaded| {
        key.strip_prefix(reloaded)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The keys and tables that reload; `docs/configuration.md` lists them.
const RELOADED: [&str; 28] = [
    "alerts.default_outlets",
    "alerts.keep_for",
    "alerts.outlets",
    "alerts.retry_for",
    "alerts.sudden",
    "alerts.timeout",
    "budgets",
    "identity",
    "limits",
    "listener.header_bytes_max",
    "listener.header_timeout",
    "listener.preface_timeout",
    "listener.proxy_protocol",
    "listener.stall_timeout",
    "listener.tls",
    "listener.trusted_proxies",
    "models",
    "prices",
    "upstream.control_endpoints",
    "upstream.credentials",
    "upstream.default_region",
    "upstream.endpoints",
    "upstream.regions",
    "upstream.request_metadata",
    "upstream.roles",
    "upstream.sts_endpoints",
    "when.identity_unknown",
    "when.price_unknown",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_decide_what_reloads() {
        let check = |key: &str, expected| assert_eq!(reloads(key), expected, "{key}");
        check("prices.models", true);
        check("identity.tenants.a.applications", true);
        check("listener.tls.key_file", true);
        check("listener.listen", false);
        check("prices_of_others", false);
        check("admin.token", false);
        check("ledger.directory", false);
    }

    #[test]
    fn the_documentation_lists_what_reloads() {
        let documentation = include_str!("../../docs/configuration.md");
        let (_, section) = documentation.split_once("## Reload").unwrap();
        let section = section.split("\n## ").next().unwrap();
        for key in RELOADED {
            assert!(section.contains(&format!("`{key}`")), "{key}");
        }
    }
}
