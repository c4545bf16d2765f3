//! Every key of the configuration, bound to its field: the one table that reader, printer and
//! the example file share.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::alerts;
use super::budgets;
use super::form::{Form, Named};
use super::limits;
use super::proofs;
use super::proxy_choice::ProxyChoice;
use super::settings::Settings;
use crate::admin::{Role, TokenSettings};
use crate::domain::{Secret, TenantId};
use crate::identity::TenantSettings;
use crate::proxy::{ClientCertificates, ListenerSettings, TlsClientSettings, TlsSettings};
use crate::relay::DrainSettings;
use crate::upstream::{BearerKey, CredentialSettings, RoleSettings};
use crate::{admin, identity, ledger, pricing, registry, replicas, telemetry, upstream};

/// Binds the whole configuration.
pub(super) fn bind<F: Form>(form: &mut F, settings: &mut Settings) {
    form.table("listener", |form| listener(form, &mut settings.listener));
    form.table("admin", |form| admin(form, &mut settings.admin));
    form.table("identity", |form| identity(form, &mut settings.identity));
    form.table("keys", |form| keys(form, &mut settings.keys));
    form.table("when", |form| when(form, settings));
    form.table("upstream", |form| upstream(form, &mut settings.upstream));
    form.table("limits", |form| limits::limits(form, &mut settings.limits));
    form.table("drain", |form| drain(form, &mut settings.drain));
    form.table("ledger", |form| ledger(form, &mut settings.ledger));
    form.table("replica", |form| {
        replica(form, &mut settings.ledger.replica);
    });
    form.table("prices", |form| prices(form, &mut settings.prices));
    form.named_tables("budgets", &mut settings.budgets, budgets::budget);
    form.table("budget_store", |form| {
        budget_store(form, &mut settings.budget_store);
    });
    form.named_tables("models", &mut settings.windows.0, budgets::window);
    form.table("metrics", |form| metrics(form, &mut settings.telemetry));
    form.table("alerts", |form| alerts::bind(form, &mut settings.alerts));
    form.table("shutdown", |form| shutdown(form, settings));
    form.table("log", |form| log(form, &mut settings.telemetry));
    form.table("telemetry", |form| {
        form.table("otlp", |form| otlp(form, &mut settings.telemetry.otlp));
        form.table("access_log", |form| {
            form.optional("path", &mut settings.telemetry.access_log);
        });
    });
}

fn listener<F: Form>(form: &mut F, s: &mut ListenerSettings) {
    form.value("listen", &mut s.listen);
    form.value(
        "allow_unproven_callers_off_loopback",
        &mut s.allow_unproven_callers_off_loopback,
    );
    form.list("trusted_proxies", &mut s.trusted_proxies);
    form.value("proxy_protocol", &mut s.proxy_protocol);
    form.within("connections_max", &mut s.connections_max, 1..=1_000_000);
    form.within(
        "connections_per_peer_max",
        &mut s.connections_per_peer_max,
        1..=1_000_000,
    );
    // hyper needs 8 KiB to read a head at all.
    form.within(
        "header_bytes_max",
        &mut s.header_bytes_max,
        8 * KIB..=16 * MIB,
    );
    form.within("body_bytes_max", &mut s.body_bytes_max, 1..=1024 * MIB);
    form.within(
        "gathered_bytes_max",
        &mut s.gathered_bytes_max,
        1..=1024 * 1024 * MIB,
    );
    form.within("preface_timeout", &mut s.preface_timeout, MS..=HOUR);
    form.within("header_timeout", &mut s.header_timeout, MS..=HOUR);
    form.within("body_timeout", &mut s.body_timeout, MS..=HOUR);
    form.within("stall_timeout", &mut s.stall_timeout, MS..=HOUR);
    form.within(
        "calls_in_flight_max",
        &mut s.calls_in_flight_max,
        1..=1_000_000,
    );
    form.within("workers", &mut s.workers, 0..=1_024);
    form.table("tls", |form| tls(form, &mut s.tls));
}

fn tls<F: Form>(form: &mut F, tls: &mut Option<TlsSettings>) {
    let [mut certificate, mut key] = [None::<PathBuf>, None];
    let mut clients = TlsClientSettings::default();
    if let Some(tls) = tls.take() {
        (certificate, key) = (Some(tls.certificate_file), Some(tls.key_file));
        clients = tls.clients;
    }
    form.optional("certificate_file", &mut certificate);
    form.optional("key_file", &mut key);
    proofs::tls_clients(form, &mut clients);
    let asks = clients.certificates != ClientCertificates::Off;
    if asks && clients.ca_file.is_none() {
        let mend = "name the authorities of your clients' certificates";
        form.problem("client_ca_file", "client_certificates needs it", mend);
    }
    match (certificate, key) {
        (Some(certificate_file), Some(key_file)) => {
            *tls = Some(TlsSettings {
                certificate_file,
                key_file,
                clients,
            });
        }
        (Some(_), None) => form.problem("key_file", ALONE, "name the certificate's key"),
        (None, Some(_)) => form.problem("certificate_file", ALONE, "name the key's certificate"),
        (None, None) if asks => {
            let what = "the listener has no certificate, and without TLS clients show none";
            let mend = "set certificate_file and key_file";
            form.problem("client_certificates", what, mend);
        }
        (None, None) => {}
    }
}

fn admin<F: Form>(form: &mut F, s: &mut admin::Settings) {
    form.value("listen", &mut s.listen);
    form.secret("token", &mut s.token);
    form.secret("metrics_token", &mut s.metrics_token);
    form.named_tables("tokens", &mut s.tokens, |form, token| {
        form.secret("token", &mut token.token);
        form.value("role", &mut token.role);
        form.optional("tenant", &mut token.tenant);
    });
    form.table("login", |form| login(form, &mut s.login));
}

fn login<F: Form>(form: &mut F, s: &mut admin::LoginSettings) {
    form.optional("issuer", &mut s.issuer);
    form.optional("client_id", &mut s.client_id);
    form.secret("client_secret", &mut s.client_secret);
    form.optional("external_url", &mut s.external_url);
    form.list("scopes", &mut s.scopes);
    form.value("roles_claim", &mut s.roles_claim);
    form.optional("tenant_claim", &mut s.tenant_claim);
    form.value("user_claim", &mut s.user_claim);
    form.list("algorithms", &mut s.algorithms);
    form.within("session_max", &mut s.session_max, SECOND..=MONTH);
    form.optional("ca_file", &mut s.ca_file);
    form.value("through_proxy", &mut s.through_proxy);
    form.map("roles", &mut s.roles);
}

fn identity<F: Form>(form: &mut F, s: &mut identity::Settings) {
    form.value("mode", &mut s.mode);
    form.list("trusted_networks", &mut s.trusted_networks);
    form.list("certificate_hops", &mut s.certificate_hops);
    own_header(form, "tenant_header", &mut s.headers.tenant);
    own_header(form, "application_header", &mut s.headers.application);
    own_header(form, "user_header", &mut s.headers.user);
    own_header(form, "session_header", &mut s.headers.session);
    form.value("application_metadata_key", &mut s.application_metadata_key);
    form.value("on_contradiction", &mut s.on_contradiction);
    form.value("user", &mut s.user);
    form.secret("pseudonym_key", &mut s.pseudonym_key);
    form.list("external_names", &mut s.external_names);
    form.optional("external_path_prefix", &mut s.external_path_prefix);
    form.within("clock_skew_max", &mut s.clock_skew_max, SECOND..=HOUR);
    form.value("allow_unsigned_payload", &mut s.allow_unsigned_payload);
    form.value("refuse_replays", &mut s.refuse_replays);
    form.value("resources", &mut s.resources);
    form.list("shared_resources", &mut s.shared_resources);
    form.table("aliases", |form| {
        aliases(form, "tenant", &mut s.headers.tenant);
        aliases(form, "application", &mut s.headers.application);
        aliases(form, "user", &mut s.headers.user);
        aliases(form, "session", &mut s.headers.session);
    });
    form.named_tables("tenants", &mut s.tenants, |form, tenant| {
        form.list("applications", &mut tenant.applications);
        form.optional("default_application", &mut tenant.default_application);
    });
    form.named_tables("issuers", &mut s.issuers, proofs::issuer);
    form.named_tables("certificates", &mut s.certificates, proofs::certificate);
}

fn keys<F: Form>(form: &mut F, s: &mut registry::Settings) {
    form.optional("file", &mut s.file);
    form.secret("master_key", &mut s.master_key);
}

/// The first name of a kind is the header's own.
fn own_header<F: Form>(form: &mut F, key: &str, names: &mut [HeaderName]) {
    if let Some(own) = names.first_mut() {
        form.value(key, own);
    }
}

/// The names after the first are aliases.
fn aliases<F: Form>(form: &mut F, kind: &str, names: &mut Vec<HeaderName>) {
    let mut aliases = names.split_off(names.len().min(1));
    form.list(kind, &mut aliases);
    names.append(&mut aliases);
}

impl Named for TokenSettings {
    const EXPECTED: &'static str = "1 to 64 letters, digits or . _ -";

    fn named(name: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let named = (1..=64).contains(&name.len()) && name.chars().all(fits);
        named.then(|| Self {
            name: name.to_owned(),
            token: None,
            role: Role::default(),
            tenant: None,
        })
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for TenantSettings {
    const EXPECTED: &'static str =
        "1 to 64 letters, digits or . _ - : @ /, starting with a letter or digit";

    fn named(name: &str) -> Option<Self> {
        Some(Self {
            name: TenantId::new(name).ok()?,
            applications: Vec::new(),
            default_application: None,
        })
    }

    fn name(&self) -> &str {
        self.name.as_str()
    }
}

fn when<F: Form>(form: &mut F, settings: &mut Settings) {
    form.value("identity_unknown", &mut settings.identity.identity_unknown);
    form.value("price_unknown", &mut settings.when.price_unknown);
    form.value("ledger_full", &mut settings.when.ledger_full);
    form.value("budget_store_down", &mut settings.budget_store.when_down);
}

fn budget_store<F: Form>(form: &mut F, s: &mut replicas::Settings) {
    form.secret("redis_url", &mut s.redis_url);
    form.optional("ca_file", &mut s.ca_file);
    form.value("deployment", &mut s.deployment);
    form.within("timeout", &mut s.timeout, MS..=MINUTE);
    form.within("lease", &mut s.lease, LEASE_MIN..=DAY);
    form.within("replicas", &mut s.replicas, 1..=1_000);
    if s.deployment.contains(['{', '}']) || s.deployment.chars().any(char::is_whitespace) {
        let mend = "use letters, digits or . _ - : @ /";
        form.problem("deployment", "it cannot be part of a key", mend);
    }
    let url = s.redis_url.as_ref();
    if url.is_some_and(|url| !replicas::is_url(url.as_str())) {
        let mend = "write redis://HOST:6379, rediss://USER:PASSWORD@HOST:6379 or unix:///PATH";
        form.problem("redis_url", "it cannot be read", mend);
    } else if s.ca_file.is_some() && url.is_some_and(|url| !replicas::is_encrypted(url.as_str())) {
        let mend = "write rediss://, or remove it";
        form.problem("ca_file", "the store is not reached by TLS", mend);
    }
}

fn upstream<F: Form>(form: &mut F, s: &mut upstream::Settings) {
    form.list("regions", &mut s.regions);
    form.value("default_region", &mut s.default_region);
    let mut proxy = ProxyChoice::from(s.proxy.take());
    form.value("proxy", &mut proxy);
    s.proxy = proxy.into();
    form.optional("ca_file", &mut s.ca_file);
    form.within("connect_timeout", &mut s.connect_timeout, MS..=HOUR);
    form.value("response_timeout", &mut s.response_timeout);
    form.within("idle_timeout", &mut s.idle_timeout, SECOND..=DAY);
    form.within("pool_idle_per_host", &mut s.pool_idle_per_host, 0..=100_000);
    form.within("pool_idle_timeout", &mut s.pool_idle_timeout, MS..=DAY);
    form.map("endpoints", &mut s.endpoints);
    form.map("control_endpoints", &mut s.control_endpoints);
    form.map("sts_endpoints", &mut s.sts_endpoints);
    form.table("credentials", |form| credentials(form, &mut s.credentials));
    form.table("roles", |form| roles(form, &mut s.roles));
    form.table("request_metadata", |form| {
        form.optional("tenant_key", &mut s.request_metadata.tenant);
        form.optional("application_key", &mut s.request_metadata.application);
        form.optional("call_id_key", &mut s.request_metadata.call_id);
    });
}

fn roles<F: Form>(form: &mut F, s: &mut RoleSettings) {
    form.optional("default", &mut s.default);
    // What STS takes; a role's own limit may be lower.
    form.within("duration", &mut s.duration, QUARTER_HOUR..=HALF_DAY);
    form.optional("external_id", &mut s.external_id);
    form.value("tag_application", &mut s.tag_application);
}

/// The credentials as they are written: some of these keys exclude each other.
#[derive(Default)]
struct Credentials {
    profile: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    session_token: Option<Secret>,
    bearer_key: Option<Secret>,
    bearer_key_file: Option<PathBuf>,
}

impl From<CredentialSettings> for Credentials {
    fn from(settings: CredentialSettings) -> Self {
        match settings {
            CredentialSettings::DefaultChain { profile } => Self {
                profile,
                ..Self::default()
            },
            CredentialSettings::Static {
                access_key_id,
                secret_access_key,
                session_token,
            } => Self {
                access_key_id: Some(access_key_id),
                secret_access_key: Some(secret_access_key),
                session_token,
                ..Self::default()
            },
            CredentialSettings::Bearer(BearerKey::Fixed(key)) => Self {
                bearer_key: Some(key),
                ..Self::default()
            },
            CredentialSettings::Bearer(BearerKey::File(file)) => Self {
                bearer_key_file: Some(file),
                ..Self::default()
            },
        }
    }
}

fn credentials<F: Form>(form: &mut F, settings: &mut CredentialSettings) {
    let mut written = Credentials::from(settings.clone());
    form.optional("profile", &mut written.profile);
    form.optional("access_key_id", &mut written.access_key_id);
    form.secret("secret_access_key", &mut written.secret_access_key);
    form.secret("session_token", &mut written.session_token);
    // No `secret`: that reads a file once, and this one is read again while calls go on.
    form.optional("bearer_key", &mut written.bearer_key);
    form.optional("bearer_key_file", &mut written.bearer_key_file);
    if let Some(whole) = whole_credentials(form, written) {
        *settings = whole;
    }
}

fn whole_credentials<F: Form>(form: &mut F, written: Credentials) -> Option<CredentialSettings> {
    if written.bearer_key.is_some() || written.bearer_key_file.is_some() {
        return bearer_key(form, written);
    }
    match (written.access_key_id, written.secret_access_key) {
        (Some(_), Some(_)) if written.profile.is_some() => {
            let mend = "keep the profile, or the access key";
            form.problem("profile", "an access key is set as well", mend);
            None
        }
        (Some(access_key_id), Some(secret_access_key)) => Some(CredentialSettings::Static {
            access_key_id,
            secret_access_key,
            session_token: written.session_token,
        }),
        (Some(_), None) => {
            let mend = "set it, or secret_access_key_file, or remove access_key_id";
            form.problem("secret_access_key", ALONE, mend);
            None
        }
        (None, Some(_)) => {
            let mend = "set it, or remove secret_access_key";
            form.problem("access_key_id", ALONE, mend);
            None
        }
        (None, None) if written.session_token.is_some() => {
            let mend = "set access_key_id and secret_access_key, or remove it";
            form.problem("session_token", "it belongs to no access key", mend);
            None
        }
        (None, None) => Some(CredentialSettings::DefaultChain {
            profile: written.profile,
        }),
    }
}

/// A key takes the place of all that could sign.
fn bearer_key<F: Form>(form: &mut F, written: Credentials) -> Option<CredentialSettings> {
    let signs = written.profile.is_some()
        || written.access_key_id.is_some()
        || written.secret_access_key.is_some()
        || written.session_token.is_some();
    let key = match (written.bearer_key, written.bearer_key_file) {
        (Some(_), Some(_)) => {
            let mend = "keep one of the two";
            form.problem("bearer_key_file", "bearer_key is set as well", mend);
            return None;
        }
        (_, Some(file)) if !signs => BearerKey::File(file),
        (Some(key), None) if !signs => BearerKey::Fixed(key),
        (_, file) => {
            let key = file.map_or("bearer_key", |_| "bearer_key_file");
            let mend = "keep the Bedrock API key, or what signs";
            form.problem(key, "a profile or an access key is set as well", mend);
            return None;
        }
    };
    Some(CredentialSettings::Bearer(key))
}

fn drain<F: Form>(form: &mut F, s: &mut DrainSettings) {
    form.value("on_client_disconnect", &mut s.on_client_disconnect);
    form.within("time_max", &mut s.time_max, SECOND..=DAY);
    form.within("bytes_max", &mut s.bytes_max, 1..=1 << 40);
    form.within("calls_max", &mut s.calls_max, 1..=1_000_000);
    form.within(
        "share_per_tenant_percent",
        &mut s.share_per_tenant_percent,
        1..=100,
    );
}

fn ledger<F: Form>(form: &mut F, s: &mut ledger::Settings) {
    form.value("directory", &mut s.directory);
    form.value("durability", &mut s.durability);
    form.within("commit_interval", &mut s.commit_interval, MS..=MINUTE);
    form.within(
        "segment_bytes_max",
        &mut s.segment_bytes_max,
        64 << 10..=1 << 30,
    );
    form.within(
        "spill_bytes_max",
        &mut s.spill_bytes_max,
        64 << 10..=1 << 40,
    );
    form.value("keep_entries", &mut s.keep_entries);
    form.value("keep_until_backup", &mut s.keep_until_backup);
    form.value("store", &mut s.store);
    form.table("postgres", |form| postgres(form, &mut s.postgres));
}

fn replica<F: Form>(form: &mut F, s: &mut ledger::ReplicaSettings) {
    form.optional("id", &mut s.id);
    form.within("lease", &mut s.lease, SECOND..=DAY);
}

fn postgres<F: Form>(form: &mut F, s: &mut ledger::PostgresSettings) {
    form.secret("url", &mut s.url);
    form.value("schema", &mut s.schema);
    form.value("sslmode", &mut s.sslmode);
    form.optional("ca_file", &mut s.ca_file);
    form.within("connect_timeout", &mut s.connect_timeout, MS..=MINUTE);
    form.within("statement_timeout", &mut s.statement_timeout, MS..=HOUR);
}

fn prices<F: Form>(form: &mut F, s: &mut pricing::Settings) {
    form.optional("catalogue_file", &mut s.catalogue_file);
    form.map("models", &mut s.models);
}

fn metrics<F: Form>(form: &mut F, s: &mut telemetry::Settings) {
    form.within(
        "series_per_family_max",
        &mut s.series_per_family_max,
        100..=10_000_000,
    );
    form.within(
        "names_per_tenant_max",
        &mut s.names_per_tenant_max,
        1..=1_000_000,
    );
}

fn shutdown<F: Form>(form: &mut F, settings: &mut Settings) {
    let s = &mut settings.shutdown;
    form.within("drain_delay", &mut s.drain_delay, Duration::ZERO..=HOUR);
    form.within("drain_timeout", &mut s.drain_timeout, MS..=DAY);
}

fn log<F: Form>(form: &mut F, s: &mut telemetry::Settings) {
    form.value("format", &mut s.log_format);
    form.value("level", &mut s.log_level);
}

fn otlp<F: Form>(form: &mut F, s: &mut telemetry::OtlpSettings) {
    form.optional("endpoint", &mut s.endpoint);
    form.value("traces", &mut s.traces);
    form.value("metrics", &mut s.metrics);
    form.within("interval", &mut s.interval, MS..=HOUR);
    form.within("timeout", &mut s.timeout, MS..=MINUTE);
    form.within("sample_percent", &mut s.sample_percent, 0..=100);
    form.within("queue_max", &mut s.queue_max, 1..=1_000_000);
    form.value("service_name", &mut s.service_name);
    form.secret("authorization", &mut s.authorization);
    form.map("headers", &mut s.headers);
    form.map("resource", &mut s.resource);
}

const ALONE: &str = "its other half is set, and it is not";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// Several beats of a replica, and a pause of its machine.
const LEASE_MIN: Duration = Duration::from_secs(5);
const QUARTER_HOUR: Duration = Duration::from_mins(15);
const HOUR: Duration = Duration::from_hours(1);
const HALF_DAY: Duration = Duration::from_hours(12);
const MONTH: Duration = Duration::from_hours(31 * 24);
const DAY: Duration = Duration::from_hours(24);
