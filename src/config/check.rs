//! The rules that join several keys. Each finds its problems by itself.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::alerts;
use super::field::Field;
use super::limits;
use super::problem::Problem;
use super::settings::Settings;
use super::{check_login, check_proofs};
use crate::admin::Role;
use crate::domain::{Region, Secret};
use crate::identity::Mode;
use crate::ledger::{KeepEntries, PostgresProblem, StoreKind};
use crate::registry::MasterKeys;
use crate::upstream::{self, BearerKey, CredentialSettings};

/// Everything that the settings do not agree on.
pub(super) fn check(settings: &Settings) -> Vec<Problem> {
    let rules = [
        proof_of_callers,
        admin_token,
        admin_tokens,
        check_login::login,
        one_address_each,
        trusted_networks,
        proxy_protocol,
        request_memory,
        header_names,
        master_key,
        external_path_prefix,
        tenants,
        check_proofs::issuers,
        check_proofs::certificates,
        regions,
        endpoints,
        response_timeout,
        roles,
        request_metadata,
        files,
        shared_ledger,
        collector_headers,
        alerts::outlets,
        alerts::named_outlets,
        limits::check,
    ];
    rules.iter().flat_map(|rule| rule(settings)).collect()
}

/// In trusted-headers mode names are believed, so a listener that others reach needs consent.
fn proof_of_callers(settings: &Settings) -> Vec<Problem> {
    let listener = &settings.listener;
    let is_open = !is_loopback(listener.listen.ip());
    let believes = settings.identity.mode == Mode::TrustedHeaders;
    let lacks_consent = is_open && believes && !listener.allow_unproven_callers_off_loopback;
    one(lacks_consent, || {
        Problem::new(
            "listener.listen",
            format!(
                "{} is not loopback, and mode \"{}\" proves no caller: whoever reaches it from a \
                 trusted network spends as any tenant",
                listener.listen, "trusted-headers"
            ),
            "set identity.mode = \"proven\" and issue keys, listen on 127.0.0.1 or [::1], or set \
             listener.allow_unproven_callers_off_loopback = true",
        )
    })
}

fn admin_token(settings: &Settings) -> Vec<Problem> {
    let admin = &settings.admin;
    let lacks_token = admin.token.is_none() && admin.tokens.is_empty() && !admin.login.is_on();
    let is_open = !is_loopback(admin.listen.ip()) && lacks_token;
    one(is_open, || {
        Problem::new(
            "admin.token",
            format!(
                "{} is not loopback, and no token is demanded there",
                admin.listen
            ),
            "set admin.token_file, admin.token or [admin.login], or listen on 127.0.0.1 or [::1]",
        )
    })
}

/// A named token needs a text of its own, and a team lead needs a team.
fn admin_tokens(settings: &Settings) -> Vec<Problem> {
    let admin = &settings.admin;
    let unnamed = [admin.token.as_ref(), admin.metrics_token.as_ref()];
    let mut seen: Vec<&Secret> = unnamed.into_iter().flatten().collect();
    let mut problems = Vec::new();
    for named in &admin.tokens {
        let mut report = |key: &str, what: &str, mend: &str| {
            let path = format!("admin.tokens.{}.{key}", named.name);
            problems.push(Problem::new(&path, what, mend));
        };
        match &named.token {
            None => report("token", "it has no token", "set token_file or token"),
            Some(token) if seen.contains(&token) => {
                report("token", "another login has the same", "draw one of its own");
            }
            Some(token) => seen.push(token),
        }
        match (named.role, &named.tenant) {
            (Role::TeamLead, None) => {
                report("tenant", "a team lead of no team", "name the tenant");
            }
            (Role::Viewer | Role::Finance | Role::Admin, Some(_)) => report(
                "tenant",
                "this role is not of one tenant, and would see them all",
                "remove it, or set role = \"team-lead\"",
            ),
            (Role::TeamLead, Some(_)) | (Role::Viewer | Role::Finance | Role::Admin, None) => {}
        }
    }
    problems
}

fn one_address_each(settings: &Settings) -> Vec<Problem> {
    let [data, admin] = [settings.listener.listen, settings.admin.listen];
    let same_host = data.ip() == admin.ip() || data.ip().is_unspecified();
    let clash = same_host && data.port() == admin.port() && data.port() != 0;
    one(clash, || {
        Problem::new(
            "admin.listen",
            format!("{admin} is taken by listener.listen"),
            "choose another port for one of them",
        )
    })
}

/// A caller network that holds a proxy would trust everybody who comes through it unnamed.
fn trusted_networks(settings: &Settings) -> Vec<Problem> {
    let networks = &settings.identity.trusted_networks;
    if settings.identity.mode == Mode::Proven {
        return Vec::new();
    }
    if networks.is_empty() {
        return vec![Problem::new(
            "identity.trusted_networks",
            "it is empty, so that every call is refused",
            "name the networks of your callers, such as \"127.0.0.0/8\"",
        )];
    }
    let overlaps = |proxy: &IpNet| {
        let network = networks.iter().find(|network| overlap(network, proxy))?;
        Some(Problem::new(
            "identity.trusted_networks",
            format!(
                "{network} covers {proxy} of listener.trusted_proxies: a caller whom that proxy \
                 does not name would be trusted"
            ),
            "narrow it to the networks of the callers themselves",
        ))
    };
    let proxies = &settings.listener.trusted_proxies;
    proxies.iter().filter_map(overlaps).collect()
}

fn proxy_protocol(settings: &Settings) -> Vec<Problem> {
    let listener = &settings.listener;
    let nobody_may = listener.proxy_protocol && listener.trusted_proxies.is_empty();
    one(nobody_may, || {
        Problem::new(
            "listener.proxy_protocol",
            "no proxy is trusted to send its header",
            "name the load balancers in listener.trusted_proxies, or set it to false",
        )
    })
}

fn request_memory(settings: &Settings) -> Vec<Problem> {
    let [body, all] = [
        settings.listener.body_bytes_max,
        settings.listener.gathered_bytes_max,
    ];
    one(all < body, || {
        Problem::new(
            "listener.gathered_bytes_max",
            format!("{all} is less than one body may have ({body})"),
            "raise it, or lower listener.body_bytes_max",
        )
    })
}

/// A tenancy header is taken off the request, so it must have no other meaning, and only one.
fn header_names(settings: &Settings) -> Vec<Problem> {
    let headers = &settings.identity.headers;
    let kinds = [
        ("tenant", &headers.tenant),
        ("application", &headers.application),
        ("user", &headers.user),
        ("session", &headers.session),
    ];
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    for (kind, name) in kinds
        .into_iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| (kind, name)))
    {
        let what = if is_reserved(name) {
            "has another meaning on the way to Bedrock"
        } else if seen.insert(name) {
            continue;
        } else {
            "is named twice"
        };
        problems.push(Problem::new(
            &format!("identity.{kind}_header"),
            format!("the header {name} {what}"),
            format!("choose another name here or in identity.aliases.{kind}"),
        ));
    }
    problems
}

fn master_key(settings: &Settings) -> Vec<Problem> {
    let key = settings.keys.master_key.as_ref();
    let parsed = key.map(|key| MasterKeys::parse(key.as_str()));
    let Some(Err(cause)) = parsed else {
        return Vec::new();
    };
    let mend = "make one with `bedrock-meter keys master-key`";
    vec![Problem::new("keys.master_key", cause.to_string(), mend)]
}

/// It goes before the path that was signed, so it has to look like the beginning of one.
fn external_path_prefix(settings: &Settings) -> Vec<Problem> {
    let prefix = settings.identity.external_path_prefix.as_deref();
    let prefix = prefix.unwrap_or_default();
    let fits = prefix.is_empty() || prefix.starts_with('/') && !prefix.ends_with('/');
    one(!fits, || {
        let what = format!("{prefix} is no beginning of a path");
        let mend = "write it with a slash at its beginning and none at its end, such as \"/llm\"";
        Problem::new("identity.external_path_prefix", what, mend)
    })
}

fn tenants(settings: &Settings) -> Vec<Problem> {
    let unlisted = settings.identity.tenants.iter().filter_map(|tenant| {
        let default = tenant.default_application.as_ref()?;
        let is_listed = tenant.applications.is_empty() || tenant.applications.contains(default);
        (!is_listed).then(|| {
            Problem::new(
                &format!("identity.tenants.{}.default_application", tenant.name),
                format!("{default} is not one of the tenant's applications"),
                "add it to applications, or choose one of them",
            )
        })
    });
    unlisted.collect()
}

fn regions(settings: &Settings) -> Vec<Problem> {
    let upstream = &settings.upstream;
    if upstream.regions.is_empty() {
        return vec![Problem::new(
            "upstream.regions",
            "it is empty, so that no call can go anywhere",
            "name the regions that may be called, such as \"us-east-1\"",
        )];
    }
    one(!upstream.regions.contains(&upstream.default_region), || {
        Problem::new(
            "upstream.default_region",
            format!("{} is not one of upstream.regions", upstream.default_region),
            "add it there, or choose one of them",
        )
    })
}

fn endpoints(settings: &Settings) -> Vec<Problem> {
    let upstream = &settings.upstream;
    let of_table =
        |key: &'static str, regions: Vec<&Region>| unknown_regions(upstream, key, &regions);
    let mut problems = of_table("endpoints", upstream.endpoints.keys().collect());
    problems.extend(of_table(
        "control_endpoints",
        upstream.control_endpoints.keys().collect(),
    ));
    problems.extend(of_table(
        "sts_endpoints",
        upstream.sts_endpoints.keys().collect(),
    ));
    problems
}

fn unknown_regions(upstream: &upstream::Settings, key: &str, named: &[&Region]) -> Vec<Problem> {
    let unknown = named
        .iter()
        .filter(|region| !upstream.regions.contains(region));
    let problem = |region: &&Region| {
        Problem::new(
            &format!("upstream.{key}.{region}"),
            format!("{region} is not one of upstream.regions"),
            "add it there, or remove the endpoint",
        )
    };
    unknown.map(problem).collect()
}

fn response_timeout(settings: &Settings) -> Vec<Problem> {
    let timeout = settings.upstream.response_timeout;
    one(timeout < upstream::Settings::RESPONSE_TIMEOUT_MIN, || {
        Problem::new(
            "upstream.response_timeout",
            format!(
                "{} is too short: models may infer for an hour, and a call that is cut off is \
                 charged all the same",
                timeout.write()
            ),
            "write \"60m\" or more; upstream.idle_timeout is the limit for answers that stall",
        )
    })
}

/// A role is assumed with credentials, and its ARN has to be one.
fn roles(settings: &Settings) -> Vec<Problem> {
    let roles = &settings.upstream.roles;
    let Some(default) = &roles.default else {
        return Vec::new();
    };
    let key = "upstream.roles.default";
    let mut problems = one(!roles.names_a_role(), || {
        let mend = "write \"arn:aws:iam::ACCOUNT:role/NAME\", with {tenant} for the tenant's name";
        Problem::new(key, format!("{default} is no role"), mend)
    });
    let bearer = matches!(settings.upstream.credentials, CredentialSettings::Bearer(_));
    problems.extend(one(bearer, || {
        let what = "a Bedrock API key assumes no role";
        let mend = "give the proxy credentials that sign, or remove the role";
        Problem::new(key, what, mend)
    }));
    problems
}

/// Bedrock takes keys of 1 to 256 characters of its alphabet; a blank in one would only confuse.
fn request_metadata(settings: &Settings) -> Vec<Problem> {
    let keys = &settings.upstream.request_metadata;
    let named = [
        ("tenant_key", &keys.tenant),
        ("application_key", &keys.application),
        ("call_id_key", &keys.call_id),
    ];
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    for (name, key) in named {
        let Some(key) = key else {
            continue;
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || b":_@$#=/+,-.".contains(&b);
        let what = if key.len() > 256 || !key.bytes().all(fits) {
            "is no key that Bedrock takes"
        } else if seen.insert(key) {
            continue;
        } else {
            "is named twice"
        };
        problems.push(Problem::new(
            &format!("upstream.request_metadata.{name}"),
            format!("{key} {what}"),
            "write another of at most 256 letters, digits or : _ @ $ # = / + , - .",
        ));
    }
    problems
}

/// A file that is missing now is missing at night as well.
fn files(settings: &Settings) -> Vec<Problem> {
    let tls = settings.listener.tls.as_ref();
    let bearer_key_file = match &settings.upstream.credentials {
        CredentialSettings::Bearer(BearerKey::File(file)) => Some(file),
        CredentialSettings::Bearer(BearerKey::Fixed(_))
        | CredentialSettings::DefaultChain { .. }
        | CredentialSettings::Static { .. } => None,
    };
    let named = [
        (
            "listener.tls.certificate_file",
            tls.map(|tls| &tls.certificate_file),
        ),
        ("listener.tls.key_file", tls.map(|tls| &tls.key_file)),
        (
            "listener.tls.client_ca_file",
            tls.and_then(|tls| tls.clients.ca_file.as_ref()),
        ),
        ("upstream.ca_file", settings.upstream.ca_file.as_ref()),
        (
            "ledger.postgres.ca_file",
            settings.ledger.postgres.ca_file.as_ref(),
        ),
        (
            "budget_store.ca_file",
            settings.budget_store.ca_file.as_ref(),
        ),
        ("upstream.credentials.bearer_key_file", bearer_key_file),
        (
            "prices.catalogue_file",
            settings.prices.catalogue_file.as_ref(),
        ),
    ];
    let missing = |(key, file): (&str, Option<&Path>)| {
        let cause = std::fs::File::open(file?).err()?;
        let what = format!("the file {} cannot be read: {cause}", file?.display());
        Some(Problem::new(
            key,
            what,
            "create it, or let this process read it",
        ))
    };
    let named = named.map(|(key, file)| (key, file.map(AsRef::as_ref)));
    named.into_iter().filter_map(missing).collect()
}

fn shared_ledger(settings: &Settings) -> Vec<Problem> {
    let ledger = &settings.ledger;
    if ledger.store == StoreKind::Sqlite {
        return Vec::new();
    }
    let problem = ledger.postgres.check().err();
    let problem = problem.map(|PostgresProblem { key, why, mend }| {
        Problem::new(&format!("ledger.postgres.{key}"), why, mend)
    });
    let deletes = ledger.keep_entries != KeepEntries::Forever;
    let forgets = one(deletes && ledger.keep_until_backup, || {
        Problem::new(
            "ledger.keep_until_backup",
            "on PostgreSQL nobody here knows which entries a backup has",
            "see to backups of the server and set it to false, or remove ledger.keep_entries",
        )
    });
    problem.into_iter().chain(forgets).collect()
}

/// Names and values that an HTTP request can carry.
fn collector_headers(settings: &Settings) -> Vec<Problem> {
    let otlp = &settings.telemetry.otlp;
    let headers = otlp.headers.iter();
    let headers = headers.map(|(name, value)| (format!("headers.{name}"), name.as_str(), value));
    let own = otlp.authorization.iter();
    let own = own.map(|value| ("authorization".to_owned(), "authorization", value));
    let refused = |(key, name, value): (String, &str, &Secret)| {
        let named = HeaderName::try_from(name).is_ok();
        let fits = named && HeaderValue::from_str(value.as_str()).is_ok();
        let what = "it cannot be sent as a header";
        let mend = "write a header's name, and visible ASCII characters as its value";
        (!fits).then(|| Problem::new(&format!("telemetry.otlp.{key}"), what, mend))
    };
    headers.chain(own).filter_map(refused).collect()
}

fn one(wrong: bool, problem: impl FnOnce() -> Problem) -> Vec<Problem> {
    if wrong { vec![problem()] } else { Vec::new() }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-amz") || RESERVED_HEADERS.contains(&name)
}

/// Headers of HTTP, proxies and tracing that a tenancy header must not be.
const RESERVED_HEADERS: [&str; 17] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-api-key",
    "x-forwarded-for",
];
