//! The keys of what proves a caller, bound to their fields: issuers of tokens, client certificates.

use std::time::Duration;

use super::form::{Form, Named};
use crate::identity::{CertificateRule, IssuerSettings, MatchRule};
use crate::proxy::TlsClientSettings;

pub(super) fn issuer<F: Form>(form: &mut F, s: &mut IssuerSettings) {
    form.value("issuer", &mut s.issuer);
    form.optional("jwks_url", &mut s.jwks_url);
    form.optional("jwks_file", &mut s.jwks_file);
    form.optional("jwks_ca_file", &mut s.jwks_ca_file);
    form.optional("jwks_token_file", &mut s.jwks_token_file);
    form.value("jwks_through_proxy", &mut s.jwks_through_proxy);
    form.within("refresh_interval", &mut s.refresh_interval, SECOND..=DAY);
    form.within("keys_max_age", &mut s.keys_max_age, SECOND..=MONTH);
    form.list("audiences", &mut s.audiences);
    form.list("algorithms", &mut s.algorithms);
    form.within("leeway", &mut s.leeway, Duration::ZERO..=LEEWAY_MAX);
    form.optional("tenant_claim", &mut s.tenant_claim);
    form.optional("application_claim", &mut s.application_claim);
    form.optional("user_claim", &mut s.user_claim);
    form.optional("tenant", &mut s.tenant);
    form.named_tables("match", &mut s.rules, |form, rule: &mut MatchRule| {
        form.optional("namespace", &mut rule.namespace);
        form.optional("service_account", &mut rule.service_account);
        form.optional("claim", &mut rule.claim);
        form.optional("value", &mut rule.value);
        form.optional("tenant", &mut rule.tenant);
        form.optional("application", &mut rule.application);
    });
}

pub(super) fn certificate<F: Form>(form: &mut F, rule: &mut CertificateRule) {
    form.optional("san", &mut rule.san);
    form.optional("tenant", &mut rule.tenant);
    form.optional("application", &mut rule.application);
}

pub(super) fn tls_clients<F: Form>(form: &mut F, s: &mut TlsClientSettings) {
    form.value("client_certificates", &mut s.certificates);
    form.optional("client_ca_file", &mut s.ca_file);
}

/// A name that may stand in a log and as a label.
pub(super) fn is_plain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

pub(super) const PLAIN: &str = "1 to 64 letters, digits, _ or -";

impl Named for IssuerSettings {
    const EXPECTED: &'static str = PLAIN;

    fn named(name: &str) -> Option<Self> {
        is_plain(name).then(|| Self::named(name))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for MatchRule {
    const EXPECTED: &'static str = PLAIN;

    fn named(name: &str) -> Option<Self> {
        is_plain(name).then(|| Self::named(name))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for CertificateRule {
    const EXPECTED: &'static str = PLAIN;

    fn named(name: &str) -> Option<Self> {
        is_plain(name).then(|| Self::named(name))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
const MONTH: Duration = Duration::from_hours(31 * 24);
/// Far more than clocks are apart; beyond it an expired token would be as good as a fresh one.
const LEEWAY_MAX: Duration = Duration::from_mins(10);
