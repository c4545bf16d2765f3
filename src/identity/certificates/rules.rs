//! From a certificate's names to who pays (`[identity.certificates.NAME]`).

use http::HeaderMap;
use ipnet::IpNet;

use super::forwarded::forwarded_names;
use super::names::CertificateName;
use super::peer::Peer;
use crate::domain::{ApplicationId, TenantId};
use crate::identity::address::contains;
use crate::identity::pattern::Pattern;
use crate::identity::template::{Template, Workload};

/// A rule from a name to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRule {
    /// What the configuration calls it; rules are tried in the order of their names.
    pub name: String,
    /// The pattern that one of the certificate's names must match. With `://` it is for URIs, with
    /// `@` for e-mail addresses, else for host names.
    pub san: Option<Pattern>,
    /// The tenant.
    pub tenant: Option<Template>,
    /// The application.
    pub application: Option<Template>,
}

impl CertificateRule {
    /// A rule of that name, with nothing else said about it.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            san: None,
            tenant: None,
            application: None,
        }
    }
}

/// Whom a certificate proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateCaller {
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload, where the rule says so.
    pub application: Option<ApplicationId>,
}

/// The rules for certificates, and who may pass them on.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    rules: Vec<Rule>,
    hops: Vec<IpNet>,
}

/// A rule that is whole.
#[derive(Clone, Debug)]
struct Rule {
    san: Pattern,
    tenant: Template,
    application: Option<Template>,
}

impl Certificates {
    /// With these rules, believing these hops about the certificates that they were shown.
    pub fn new(rules: &[CertificateRule], hops: &[IpNet]) -> Self {
        // Half a rule is a problem of the configuration; it matches nobody.
        let whole = |rule: &CertificateRule| {
            Some(Rule {
                san: rule.san.clone()?,
                tenant: rule.tenant.clone()?,
                application: rule.application.clone(),
            })
        };
        Self {
            rules: rules.iter().filter_map(whole).collect(),
            hops: hops.to_vec(),
        }
    }

    /// Whether no certificate can prove anybody.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whom a certificate proves: the connection's own, or the one that a hop says it was shown.
    /// A hop's own certificate proves the hop and so nobody; anybody else's header is not read.
    pub fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Option<CertificateCaller> {
        if self.rules.is_empty() {
            return None;
        }
        if contains(&self.hops, peer.address.to_canonical()) {
            return self.caller_of(&forwarded_names(headers));
        }
        let certificate = peer.certificate.as_ref()?;
        self.caller_of(&certificate.names)
    }

    fn caller_of(&self, names: &[CertificateName]) -> Option<CertificateCaller> {
        let of_rule = |rule: &Rule| names.iter().find_map(|name| rule.caller(name));
        self.rules.iter().find_map(of_rule)
    }
}

impl Rule {
    fn caller(&self, name: &CertificateName) -> Option<CertificateCaller> {
        let text = match (name, kind(&self.san)) {
            (CertificateName::Uri(text), Kind::Uri)
            | (CertificateName::Email(text), Kind::Email)
            | (CertificateName::Dns(text), Kind::Dns) => text,
            (
                CertificateName::Uri(_) | CertificateName::Email(_) | CertificateName::Dns(_),
                Kind::Uri | Kind::Email | Kind::Dns,
            ) => return None,
        };
        if !self.san.matches(text) {
            return None;
        }
        let workload = workload(text);
        let application = self.application.as_ref();
        let application = application.and_then(|template| template.fill(&workload));
        Some(CertificateCaller {
            tenant: TenantId::new(&self.tenant.fill(&workload)?).ok()?,
            application: application.and_then(|name| ApplicationId::new(&name).ok()),
        })
    }
}

enum Kind {
    Uri,
    Email,
    Dns,
}

/// For which kind of names a pattern is.
fn kind(pattern: &Pattern) -> Kind {
    let pattern = pattern.as_str();
    if pattern.contains("://") {
        Kind::Uri
    } else if pattern.contains('@') {
        Kind::Email
    } else {
        Kind::Dns
    }
}

/// The Kubernetes workload of a SPIFFE id as Istio and SPIRE write it:
/// `spiffe://DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.
fn workload(name: &str) -> Workload<'_> {
    let parts = name.strip_prefix("spiffe://").map(|id| id.split('/'));
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    match parts.as_slice() {
        [_domain, "ns", namespace, "sa", service_account] => Workload {
            namespace: Some(namespace),
            service_account: Some(service_account),
        },
        _ => Workload::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;
    use crate::identity::ClientCertificate;

    const ID: &str = "spiffe://corp.example/ns/search/sa/api";

    fn rule(name: &str, san: &str, tenant: &str, application: Option<&str>) -> CertificateRule {
        CertificateRule {
            name: name.to_owned(),
            san: Some(san.parse().unwrap()),
            tenant: Some(tenant.parse().unwrap()),
            application: application.map(|name| name.parse().unwrap()),
        }
    }

    fn certificates() -> Certificates {
        let rules = [
            rule("a", "spiffe://corp.example/ns/batch/sa/*", "batch", None),
            rule(
                "b",
                "spiffe://corp.example/ns/*/sa/*",
                "team-{namespace}",
                Some("{service_account}"),
            ),
            rule("c", "*.chat.svc", "chat", Some("web")),
            rule("d", "*@search.example", "people", None),
        ];
        Certificates::new(&rules, &["10.1.0.0/16".parse().unwrap()])
    }

    fn peer(address: &str, names: Option<&[CertificateName]>) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            certificate: names.map(|names| ClientCertificate {
                names: names.into(),
            }),
        }
    }

    fn caller(peer: &Peer, header: Option<&'static str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            let value = HeaderValue::from_static(header);
            headers.insert("x-forwarded-client-cert", value);
        }
        let caller = certificates().caller(peer, &headers)?;
        let application = caller.application.map(|name| format!("/{name}"));
        Some(format!(
            "{}{}",
            caller.tenant,
            application.unwrap_or_default()
        ))
    }

    #[test]
    fn the_first_rule_that_a_name_matches_says_who_pays() {
        let check = |name: CertificateName, expected: Option<&str>| {
            let caller = caller(&peer("192.0.2.7", Some(std::slice::from_ref(&name))), None);
            assert_eq!(caller.as_deref(), expected, "{name:?}");
        };
        let uri = |text: &str| CertificateName::Uri(text.into());
        let dns = |text: &str| CertificateName::Dns(text.into());
        check(uri(ID), Some("team-search/api"));
        check(uri("spiffe://corp.example/ns/batch/sa/api"), Some("batch"));
        check(uri("spiffe://other.example/ns/search/sa/api"), None);
        check(uri("spiffe://corp.example/ns/search/sa/api/x"), None);
        check(uri("spiffe://corp.example/ns/two words/sa/api"), None);
        check(dns("web.chat.svc"), Some("chat/web"));
        check(dns("chat.svc"), None);
        // A name of another kind never meets a rule.
        check(dns(ID), None);
        check(uri("web.chat.svc"), None);
        check(uri("ann@search.example"), None);
        let email: Arc<str> = "ann@search.example".into();
        check(CertificateName::Email(email), Some("people"));
    }

    #[test]
    fn only_a_hop_may_pass_on_a_certificate_and_its_own_proves_nobody() {
        const HEADER: &str = "By=spiffe://corp.example/ns/edge/sa/gateway;Hash=1a;URI=spiffe://corp.example/ns/search/sa/api";
        let gateway = CertificateName::Uri("spiffe://corp.example/ns/edge/sa/gateway".into());
        let own = [gateway];
        let check = |address: &str, names, header, expected: Option<&str>| {
            let caller = caller(&peer(address, names), header);
            assert_eq!(
                caller.as_deref(),
                expected,
                "{address} {names:?} {header:?}"
            );
        };
        let own: Option<&[CertificateName]> = Some(&own);
        let search = Some("team-search/api");
        check("10.1.2.3", None, Some(HEADER), search);
        check("10.1.2.3", own, Some(HEADER), search);
        check("::ffff:10.1.2.3", own, Some(HEADER), search);
        check("10.1.2.3", own, None, None);
        check("10.1.2.3", own, Some("Hash=1a"), None);
        check("192.0.2.7", None, Some(HEADER), None);
        check("192.0.2.7", own, Some(HEADER), Some("team-edge/gateway"));
        check("192.0.2.7", None, None, None);
    }

    #[test]
    fn half_a_rule_matches_nobody() {
        let half = CertificateRule {
            tenant: None,
            ..rule("a", "**", "x", None)
        };
        assert!(Certificates::new(&[half, CertificateRule::named("b")], &[]).is_empty());
    }
}
