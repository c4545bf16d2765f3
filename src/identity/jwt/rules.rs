//! From the claims of a proven token to who pays.

use std::sync::Arc;

use serde_json::Value;

use super::refusal::TokenRefusal;
use super::settings::{IssuerSettings, MatchRule};
use crate::domain::{ApplicationId, TenantId};
use crate::identity::template::{Template, Workload};

/// What the claims say about the caller.
pub(super) struct Assigned {
    pub(super) tenant: TenantId,
    pub(super) application: Option<ApplicationId>,
    pub(super) user: Option<Arc<str>>,
}

/// Tells who pays: the first rule that matches, else the tenant's claim, else the issuer's tenant.
pub(super) fn assign(settings: &IssuerSettings, claims: &Value) -> Result<Assigned, TokenRefusal> {
    let workload = workload(claims);
    let mut rules = settings.rules.iter();
    let (tenant, application) = match rules.find_map(|rule| names_of(rule, claims, &workload)) {
        Some((tenant, application)) => (named(&tenant)?, application),
        None => (tenant_without_rule(settings, claims)?, None),
    };
    // A claim that is no valid name is passed over: the tenant is proven, and is what counts.
    let of_claim = || settings.application_claim.as_ref()?.text(claims);
    let application = application.or_else(of_claim);
    let user = settings.user_claim.as_ref();
    Ok(Assigned {
        tenant,
        application: application.and_then(|name| ApplicationId::new(&name).ok()),
        user: user.and_then(|claim| claim.text(claims)).map(Arc::from),
    })
}

fn tenant_without_rule(
    settings: &IssuerSettings,
    claims: &Value,
) -> Result<TenantId, TokenRefusal> {
    let claim = settings.tenant_claim.as_ref();
    match claim.and_then(|claim| claim.text(claims)) {
        Some(name) => named(&name),
        None => settings.tenant.clone().ok_or(TokenRefusal::NoTenantClaim),
    }
}

fn named(tenant: &str) -> Result<TenantId, TokenRefusal> {
    TenantId::new(tenant).map_err(|_rule| TokenRefusal::InvalidTenantClaim)
}

/// The names that a rule gives; `None` when it does not match, or has nothing to make them of.
fn names_of(
    rule: &MatchRule,
    claims: &Value,
    workload: &Workload<'_>,
) -> Option<(String, Option<String>)> {
    let namespace = rule.namespace.iter();
    let service_account = rule.service_account.iter();
    let in_kubernetes = namespace
        .map(|glob| (glob, workload.namespace))
        .chain(service_account.map(|glob| (glob, workload.service_account)))
        .all(|(glob, name)| name.is_some_and(|name| glob.matches(name)));
    let has_claim = match (&rule.claim, &rule.value) {
        (Some(claim), Some(value)) => claim.any(claims, |text| value.matches(text)),
        (None, None) => true,
        // Half a condition is a problem of the configuration; it matches nobody.
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !in_kubernetes || !has_claim {
        return None;
    }
    let tenant = rule.tenant.as_ref()?.fill(workload)?;
    let fill = |template: &Template| template.fill(workload);
    Some((tenant, rule.application.as_ref().and_then(fill)))
}

/// The Kubernetes workload of a service account's token: the claims of a projected token, else its
/// subject (Kubernetes reference, "Managing Service Accounts").
fn workload(claims: &Value) -> Workload<'_> {
    let text = |pointer| claims.pointer(pointer).and_then(Value::as_str);
    let [namespace, service_account] = [
        text("/kubernetes.io/namespace"),
        text("/kubernetes.io/serviceaccount/name"),
    ];
    if namespace.is_some() && service_account.is_some() {
        return Workload {
            namespace,
            service_account,
        };
    }
    let subject = text("/sub").and_then(|sub| sub.strip_prefix("system:serviceaccount:"));
    let names = subject.and_then(|subject| subject.split_once(':'));
    Workload {
        namespace: names.map(|(namespace, _)| namespace),
        service_account: names.map(|(_, service_account)| service_account),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(name: &str, conditions: [Option<&str>; 2], names: [&str; 2]) -> MatchRule {
        let [namespace, service_account] = conditions;
        let [tenant, application] = names;
        MatchRule {
            namespace: namespace.map(|glob| glob.parse().unwrap()),
            service_account: service_account.map(|glob| glob.parse().unwrap()),
            tenant: Some(tenant.parse().unwrap()),
            application: (!application.is_empty()).then(|| application.parse().unwrap()),
            ..MatchRule::named(name)
        }
    }

    fn assigned(settings: &IssuerSettings, claims: &Value) -> Result<String, TokenRefusal> {
        assign(settings, claims).map(|assigned| {
            let application = assigned.application.map(|name| format!("/{name}"));
            let user = assigned.user.map(|name| format!(" {name}"));
            let [application, user] = [application, user].map(Option::unwrap_or_default);
            format!("{}{application}{user}", assigned.tenant)
        })
    }

    /// As in "Managing Service Accounts" of the Kubernetes reference.
    fn pod_token(namespace: &str, account: &str) -> Value {
        json!({
            "iss": "https://kubernetes.default.svc.cluster.local",
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "my-node", "uid": "646e7c5e"},
                "pod": {"name": "my-pod", "uid": "5e0bd49b"},
                "serviceaccount": {"name": account, "uid": "14ee3fa4"},
            },
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
        })
    }

    #[test]
    fn the_first_rule_that_matches_names_the_tenant() {
        let settings = IssuerSettings {
            rules: vec![
                rule("a", [Some("search-*"), Some("batch")], ["search", "batch"]),
                rule(
                    "b",
                    [Some("search-*"), None],
                    ["search", "{service_account}"],
                ),
                rule("c", [None, Some("*")], ["team-{namespace}", ""]),
            ],
            ..IssuerSettings::named("cluster")
        };
        let check = |claims: &Value, expected: Result<&str, TokenRefusal>| {
            let expected = expected.map(str::to_owned);
            assert_eq!(assigned(&settings, claims), expected, "{claims}");
        };
        check(&pod_token("search-prod", "batch"), Ok("search/batch"));
        check(&pod_token("search-prod", "api"), Ok("search/api"));
        check(&pod_token("chat", "api"), Ok("team-chat"));
        let old = json!({"sub": "system:serviceaccount:search-dev:api"});
        check(&old, Ok("search/api"));
        for other in [
            json!({"sub": "system:node:search-dev:api"}),
            json!({"sub": "system:serviceaccount:search-dev"}),
            json!({"kubernetes.io": {"namespace": "search-dev"}}),
            json!({}),
        ] {
            check(&other, Err(TokenRefusal::NoTenantClaim));
        }
        check(
            &pod_token("chat!", "api"),
            Err(TokenRefusal::InvalidTenantClaim),
        );
    }

    #[test]
    fn without_a_rule_the_claim_names_the_tenant_and_then_the_issuer() {
        let mut settings = IssuerSettings {
            tenant_claim: Some("https://example.com/team".parse().unwrap()),
            application_claim: Some("app".parse().unwrap()),
            user_claim: Some("email".parse().unwrap()),
            rules: vec![MatchRule {
                claim: Some("groups".parse().unwrap()),
                value: Some("ml-*".parse().unwrap()),
                tenant: Some("research".parse().unwrap()),
                ..MatchRule::named("groups")
            }],
            ..IssuerSettings::named("login")
        };
        let team = json!({"https://example.com/team": "search", "app": "chat", "email": "ann@x"});
        assert_eq!(
            assigned(&settings, &team).as_deref(),
            Ok("search/chat ann@x")
        );
        let group = json!({"groups": ["all", "ml-vision"], "https://example.com/team": "search"});
        assert_eq!(assigned(&settings, &group).as_deref(), Ok("research"));
        let bad = json!({"https://example.com/team": "two words"});
        assert_eq!(
            assigned(&settings, &bad),
            Err(TokenRefusal::InvalidTenantClaim)
        );
        let app = json!({"https://example.com/team": "search", "app": "two words"});
        assert_eq!(assigned(&settings, &app).as_deref(), Ok("search"));
        assert_eq!(
            assigned(&settings, &json!({})),
            Err(TokenRefusal::NoTenantClaim)
        );
        settings.tenant = Some(TenantId::new("everybody").unwrap());
        assert_eq!(assigned(&settings, &json!({})).as_deref(), Ok("everybody"));
        assert_eq!(
            assigned(&settings, &bad),
            Err(TokenRefusal::InvalidTenantClaim)
        );
    }
}
