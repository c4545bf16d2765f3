//! The rules that join several keys of what proves a caller. Whatever would let a proof count for
//! less than it says is a problem: no audience, no algorithm, keys that anybody on the way can
//! change.

use std::collections::HashSet;
use std::path::PathBuf;

use super::problem::Problem;
use super::settings::Settings;
use crate::domain::Timestamp;
use crate::identity::{CertificateRule, IssuerSettings, JwksUrl, KeySet, MatchRule};
use crate::proxy::ClientCertificates;

pub(super) fn issuers(settings: &Settings) -> Vec<Problem> {
    let issuers = &settings.identity.issuers;
    let mut seen = HashSet::new();
    let mut problems: Vec<Problem> = issuers.iter().flat_map(issuer).collect();
    for issuer in issuers {
        if !issuer.issuer.is_empty() && !seen.insert(&issuer.issuer) {
            problems.push(of_issuer(
                issuer,
                "issuer",
                "another issuer has the same one, and a token could mean either",
                "give each issuer one table, with all its audiences and rules",
            ));
        }
    }
    problems
}

fn issuer(issuer: &IssuerSettings) -> Vec<Problem> {
    let rules = [
        name_of_issuer,
        place_of_keys,
        audiences,
        algorithms,
        tenant_source,
        keys_age,
    ];
    let own = rules.iter().filter_map(|rule| rule(issuer));
    let matches = issuer
        .rules
        .iter()
        .flat_map(|rule| match_rule(issuer, rule));
    own.chain(matches).chain(key_files(issuer)).collect()
}

fn name_of_issuer(issuer: &IssuerSettings) -> Option<Problem> {
    let what = "it is missing, so that no token can be told to be this issuer's";
    let mend = "write the exact `iss` of its tokens";
    (issuer.issuer.is_empty()).then(|| of_issuer(issuer, "issuer", what, mend))
}

/// Where the keys come from, and that nobody on the way can change them.
fn place_of_keys(issuer: &IssuerSettings) -> Option<Problem> {
    match (&issuer.jwks_url, &issuer.jwks_file) {
        (Some(_), Some(_)) => {
            let what = "jwks_url is set as well";
            Some(of_issuer(issuer, "jwks_file", what, "keep one of the two"))
        }
        (Some(url), None) if !url.is_safe() => {
            let what = "it is not https, so that anybody on the way can put in a key";
            let mend = "write an https:// URL, or use jwks_file";
            Some(of_issuer(issuer, "jwks_url", what, mend))
        }
        (Some(_), None) | (None, Some(_)) => None,
        (None, None) => {
            let discovers = JwksUrl::read(&issuer.issuer).is_some_and(|url| url.is_safe());
            let what = "its keys cannot be found: it is not an https:// URL";
            let mend = "set jwks_url or jwks_file";
            let is_wrong = !discovers && !issuer.issuer.is_empty();
            is_wrong.then(|| of_issuer(issuer, "issuer", what, mend))
        }
    }
}

fn audiences(issuer: &IssuerSettings) -> Option<Problem> {
    let what = "it is empty, and a token that was issued for somebody else must not count here";
    let mend = "name the audience that this proxy's callers ask for, such as \"bedrock-meter\"";
    (issuer.audiences.is_empty()).then(|| of_issuer(issuer, "audiences", what, mend))
}

fn algorithms(issuer: &IssuerSettings) -> Option<Problem> {
    let what = "it is empty, so that every token is refused";
    let mend = "name what the issuer signs with, such as \"RS256\"";
    (issuer.algorithms.is_empty()).then(|| of_issuer(issuer, "algorithms", what, mend))
}

fn tenant_source(issuer: &IssuerSettings) -> Option<Problem> {
    let has_source =
        issuer.tenant_claim.is_some() || issuer.tenant.is_some() || !issuer.rules.is_empty();
    let what = "nothing says whose its tokens are, so that every token is refused";
    let mend = "set tenant_claim or tenant, or a rule in match";
    (!has_source).then(|| of_issuer(issuer, "tenant_claim", what, mend))
}

fn keys_age(issuer: &IssuerSettings) -> Option<Problem> {
    let what =
        "it is less than refresh_interval, so that keys would end before they are read again";
    let mend = "raise it, or lower refresh_interval";
    let is_wrong = issuer.keys_max_age < issuer.refresh_interval;
    is_wrong.then(|| of_issuer(issuer, "keys_max_age", what, mend))
}

fn match_rule(issuer: &IssuerSettings, rule: &MatchRule) -> Vec<Problem> {
    let problem = |key: &str, what, mend| {
        let key = format!("match.{}.{key}", rule.name);
        of_issuer(issuer, &key, what, mend)
    };
    let mut problems = Vec::new();
    if rule.tenant.is_none() {
        let what = "it is missing, so that the rule can match nobody";
        problems.push(problem("tenant", what, "name the tenant"));
    }
    match (&rule.claim, &rule.value) {
        (Some(_), None) => {
            let mend = "write what the claim must match, such as \"search-*\"";
            problems.push(problem("value", "claim is set, and it is not", mend));
        }
        (None, Some(_)) => {
            let what = "value is set, and it is not";
            problems.push(problem("claim", what, "name the claim that it is for"));
        }
        (None, None) if rule.namespace.is_none() && rule.service_account.is_none() => {
            let what = "the rule has no condition, so that no rule after it is tried";
            let mend = "set namespace, service_account or claim; or use the issuer's tenant";
            problems.push(problem("namespace", what, mend));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    problems
}

/// Files that can be read, and a key set with a key that is of use.
fn key_files(issuer: &IssuerSettings) -> Vec<Problem> {
    let files = [
        ("jwks_file", &issuer.jwks_file),
        ("jwks_ca_file", &issuer.jwks_ca_file),
        ("jwks_token_file", &issuer.jwks_token_file),
    ];
    let problem = |(key, file): (&str, &Option<PathBuf>)| {
        let file = file.as_ref()?;
        let unreadable = |cause: &dyn std::fmt::Display| {
            let what = format!("the file {} cannot be read: {cause}", file.display());
            of_issuer(issuer, key, &what, "create it, or let this process read it")
        };
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(cause) => return Some(unreadable(&cause)),
        };
        let is_keys = key == "jwks_file";
        let cause = KeySet::read(&text, Timestamp::default()).err();
        let cause = cause.filter(|_| is_keys)?;
        let what = format!("the file {} cannot be used: {cause}", file.display());
        let mend = "write the issuer's key set into it, as its jwks_uri serves it";
        Some(of_issuer(issuer, key, &what, mend))
    };
    files.into_iter().filter_map(problem).collect()
}

pub(super) fn certificates(settings: &Settings) -> Vec<Problem> {
    let identity = &settings.identity;
    let mut problems: Vec<_> = identity
        .certificates
        .iter()
        .flat_map(certificate_rule)
        .collect();
    let hops = &identity.certificate_hops;
    if hops.iter().any(|hop| hop.prefix_len() == 0) {
        problems.push(Problem::new(
            "identity.certificate_hops",
            "it holds every address, so that anybody may name any certificate",
            "name the addresses of the proxies that check certificates",
        ));
    }
    let tls = settings.listener.tls.as_ref();
    let asks = tls.is_some_and(|tls| tls.clients.certificates != ClientCertificates::Off);
    if !identity.certificates.is_empty() && !asks && hops.is_empty() {
        problems.push(Problem::new(
            "identity.certificates",
            "no client is asked for a certificate, and no hop may pass one on",
            "set listener.tls.client_certificates, or name the hops in identity.certificate_hops",
        ));
    }
    problems
}

fn certificate_rule(rule: &CertificateRule) -> Vec<Problem> {
    let missing = |key: &str, mend: &str| {
        let path = format!("identity.certificates.{}.{key}", rule.name);
        let what = "it is missing, so that the rule can match nobody";
        Problem::new(&path, what, mend)
    };
    let san = "write a pattern, such as \"spiffe://example.org/ns/search/sa/*\"";
    let san = rule.san.is_none().then(|| missing("san", san));
    let tenant = rule.tenant.is_none();
    let tenant = tenant.then(|| missing("tenant", "name the tenant"));
    san.into_iter().chain(tenant).collect()
}

fn of_issuer(issuer: &IssuerSettings, key: &str, what: &str, mend: &str) -> Problem {
    let path = format!("identity.issuers.{}.{key}", issuer.name);
    Problem::new(&path, what, mend)
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// The paths of a configuration's problems.
    fn problems(text: &str) -> Vec<String> {
        let problems = parse(text, &|_name| None).err();
        let problems = problems.into_iter().flat_map(|problems| problems.0);
        problems.map(|problem| problem.path).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(problems(text), expected, "{text}");
    }

    /// An issuer that is whole, with further keys.
    fn issuer(keys: &str) -> String {
        format!(
            "[identity.issuers.a]\nissuer = \"https://a.example\"\naudiences = [\"meter\"]\n\
             {keys}\n"
        )
    }

    #[test]
    fn an_issuer_needs_a_name_an_audience_and_a_source_of_tenants() {
        check(&issuer("tenant_claim = \"team\""), &[]);
        check(&issuer("tenant = \"search\""), &[]);
        check(
            "[identity.issuers.a]",
            &[
                "identity.issuers.a.issuer",
                "identity.issuers.a.audiences",
                "identity.issuers.a.tenant_claim",
            ],
        );
        check(
            &issuer("tenant = \"x\"\nalgorithms = []"),
            &["identity.issuers.a.algorithms"],
        );
        check(
            &issuer("tenant = \"x\"\nkeys_max_age = \"1m\""),
            &["identity.issuers.a.keys_max_age"],
        );
        let twice = issuer("tenant = \"x\"") + &issuer("tenant = \"y\"").replace("rs.a]", "rs.b]");
        check(&twice, &["identity.issuers.b.issuer"]);
    }

    #[test]
    fn no_configuration_allows_what_anybody_could_sign() {
        for algorithm in ["none", "HS256", "hs256", "rs256", ""] {
            let keys = format!("tenant = \"x\"\nalgorithms = [\"{algorithm}\"]");
            let expected = [
                "identity.issuers.a.algorithms[0]",
                "identity.issuers.a.algorithms",
            ];
            check(&issuer(&keys), &expected);
        }
    }

    #[test]
    fn keys_come_from_one_safe_place() {
        let check = |keys: &str, expected: &[&str]| {
            check(&issuer(&format!("tenant = \"x\"\n{keys}")), expected);
        };
        check("jwks_url = \"https://a.example/keys?x=1\"", &[]);
        check("jwks_url = \"http://127.0.0.1:9/keys\"", &[]);
        check(
            "jwks_url = \"http://a.example/keys\"",
            &["identity.issuers.a.jwks_url"],
        );
        check("jwks_url = \"keys\"", &["identity.issuers.a.jwks_url"]);
        check(
            "jwks_file = \"/nonexistent\"",
            &["identity.issuers.a.jwks_file"],
        );
        check(
            "jwks_file = \"Cargo.toml\"",
            &["identity.issuers.a.jwks_file"],
        );
        check(
            "jwks_file = \"/nonexistent\"\njwks_url = \"https://a.example\"",
            &[
                "identity.issuers.a.jwks_file",
                "identity.issuers.a.jwks_file",
            ],
        );
        let discovered = |name: &str| {
            let issuer = format!("issuer = \"{name}\"\naudiences = [\"m\"]\ntenant = \"x\"");
            problems(&format!("[identity.issuers.a]\n{issuer}"))
        };
        assert_eq!(discovered("https://a.example/realm"), [""; 0]);
        assert_eq!(discovered("http://[::1]:9"), [""; 0]);
        let unsafe_names = ["http://a.example", "kubernetes/serviceaccount"];
        for name in unsafe_names {
            assert_eq!(discovered(name), ["identity.issuers.a.issuer"], "{name}");
        }
    }

    #[test]
    fn a_rule_needs_a_tenant_and_a_whole_condition() {
        let check = |keys: &str, expected: &[&str]| {
            let rule = format!("[identity.issuers.a.match.r]\n{keys}");
            let expected: Vec<_> = expected
                .iter()
                .map(|key| format!("identity.issuers.a.match.r.{key}"))
                .collect();
            assert_eq!(problems(&issuer(&rule)), expected, "{keys}");
        };
        check("namespace = \"search-*\"\ntenant = \"search\"", &[]);
        check("service_account = \"*\"\ntenant = \"{namespace}\"", &[]);
        check("claim = \"g\"\nvalue = \"*\"\ntenant = \"x\"", &[]);
        check("namespace = \"*\"", &["tenant"]);
        check("claim = \"g\"\ntenant = \"x\"", &["value"]);
        check("value = \"g\"\ntenant = \"x\"", &["claim"]);
        check("tenant = \"x\"", &["namespace"]);
        check(
            "namespace = \"*\"\ntenant = \"{pod}\"",
            &["tenant", "tenant"],
        );
        check(
            "namespace = \"\"\ntenant = \"x\"",
            &["namespace", "namespace"],
        );
        check(
            "claim = \"a..b\"\nvalue = \"x\"\ntenant = \"x\"",
            &["claim", "claim"],
        );
    }

    #[test]
    fn a_certificate_rule_needs_names_and_somebody_who_shows_certificates() {
        let hops = "[identity]\ncertificate_hops = [\"10.0.0.0/8\"]\n";
        let rule = "[identity.certificates.a]\nsan = \"*.svc\"\ntenant = \"search\"\n";
        check(&format!("{hops}{rule}"), &[]);
        check(rule, &["identity.certificates"]);
        let expected = [
            "identity.certificates.a.san",
            "identity.certificates.a.tenant",
        ];
        check(&format!("{hops}[identity.certificates.a]"), &expected);
        let everybody = hops.replace("10.0.0.0/8", "0.0.0.0/0");
        check(
            &format!("{everybody}{rule}"),
            &["identity.certificate_hops"],
        );
    }

    #[test]
    fn certificates_of_clients_need_tls_and_an_authority() {
        let check = |keys: &str, expected: &[&str]| {
            check(&format!("[listener.tls]\n{keys}"), expected);
        };
        let own = "certificate_file = \"Cargo.toml\"\nkey_file = \"Cargo.toml\"";
        let authority = "client_ca_file = \"Cargo.toml\"";
        check("client_certificates = \"off\"", &[]);
        check(
            &format!("{own}\n{authority}\nclient_certificates = \"required\""),
            &[],
        );
        check(
            &format!("{own}\nclient_certificates = \"optional\""),
            &["listener.tls.client_ca_file"],
        );
        check(
            &format!("{authority}\nclient_certificates = \"required\""),
            &["listener.tls.client_certificates"],
        );
        check(
            &format!("{own}\nclient_ca_file = \"/nonexistent\""),
            &["listener.tls.client_ca_file"],
        );
        check(
            "client_certificates = \"yes\"",
            &["listener.tls.client_certificates"],
        );
    }
}
