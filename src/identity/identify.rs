//! From claims to a principal. A weaker claim never overrides a stronger one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::caller::Caller;
use super::error::{Claim, IdentityError};
use super::head::Head;
use super::judge::Grants;
use super::principal::Principal;
use super::proof::Proof;
use super::pseudonym::{UserNames, bounded};
use super::settings::{IdentityUnknown, Resources, Settings, TenantSettings};
use super::{address, ambient, headers};
use crate::domain::{ApplicationId, BasePath, Glob, Secret, TenantId};
use crate::registry::{Callers, OnContradiction};

/// What a request's body says about its caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    /// The pairs of the request metadata.
    pub metadata: &'a [(String, String)],
    /// The body's user id (Anthropic `metadata.user_id`, OpenAI `user`).
    pub body_user_id: Option<&'a str>,
}

/// Tells who is calling.
#[derive(Debug)]
pub struct Identity {
    pub(super) settings: Settings,
    tenants: HashMap<TenantId, TenantSettings>,
    tenancy_headers: Vec<HeaderName>,
    users: UserNames,
    unknown: Unknown,
}

impl Identity {
    /// With these settings, and this key for pseudonyms (the settings' own, or a generated one).
    pub fn new(settings: Settings, pseudonym_key: &Secret) -> Self {
        let by_name = |tenant: &TenantSettings| (tenant.name.clone(), tenant.clone());
        Self {
            tenants: settings.tenants.iter().map(by_name).collect(),
            tenancy_headers: tenancy_headers(&settings),
            users: UserNames::new(settings.user, pseudonym_key),
            unknown: Unknown::new(),
            settings,
        }
    }

    /// The headers that carry tenancy; they never travel upstream.
    pub fn tenancy_headers(&self) -> &[HeaderName] {
        &self.tenancy_headers
    }

    /// What is everybody's of the account, where a caller reaches only its own; `None` where
    /// everything is everybody's.
    pub fn shared_resources(&self, principal: &Principal) -> Option<&[Glob]> {
        let owned = self.settings.resources == Resources::Owned && principal.proven_by.is_some();
        owned.then_some(self.settings.shared_resources.as_slice())
    }

    /// What may be kept of a client's address: it names a person as much as a user's name does.
    pub fn kept_address(&self, client: IpAddr) -> Option<Arc<str>> {
        self.users.keep(&client.to_string())
    }

    /// Tells who a request comes from. A proof decides; what header and base path say beside it
    /// has to agree.
    ///
    /// # Errors
    /// When the caller does not say who it is, says it in two ways, or says what its proof does
    /// not bear out.
    pub fn identify(
        &self,
        proof: Option<Proof>,
        head: &Head<'_>,
        base: &BasePath,
        claims: &Claims<'_>,
        callers: &Callers,
    ) -> Result<Principal, IdentityError> {
        let key = proof.as_ref().and_then(|proof| proof.key.clone());
        let of_key = Grants { key, tenant: None };
        let refuse = of_key.on_contradiction() == Some(OnContradiction::Refuse)
            || of_key.on_contradiction().is_none() && self.refuses_contradictions();
        let rules = Rules { refuse };
        let headers = head.headers;
        let proven = proof.as_ref().map(|proof| proof.tenant.clone());
        let certified = head.outside.certificate.as_ref().map(|it| &it.tenant);
        let (proven, overruled) = match proven {
            Some(_) => rules.stronger(proven, certified, Claim::Tenant)?,
            None => (None, false),
        };
        let (tenant, contradicted) = self.tenant(proven, headers, base, rules)?;
        let tenant_contradicted = contradicted || overruled;
        let grants = Grants {
            tenant: callers.tenant(&tenant).cloned(),
            ..of_key
        };
        if grants
            .tenant
            .as_ref()
            .is_some_and(|tenant| !tenant.is_active(head.now))
        {
            return Err(IdentityError::TenantInactive { tenant });
        }
        let proven = proof.as_ref().and_then(|proof| proof.application.clone());
        let (application, application_contradicted) =
            self.application(proven, &tenant, headers, base, claims, &grants, rules)?;
        let user = proof.as_ref().and_then(|proof| proof.user.as_deref());
        let user = user.and_then(|user| self.users.keep(user));
        Ok(Principal {
            tenant,
            application,
            user: match user {
                Some(user) => Some(user),
                None => self.user(headers, claims)?,
            },
            session: self.session(headers)?,
            contradicted: tenant_contradicted || application_contradicted,
            proven_by: proof.map(|proof| proof.means),
            grants,
        })
    }

    fn refuses_contradictions(&self) -> bool {
        self.settings.on_contradiction == OnContradiction::Refuse
    }

    /// Refuses who may not call at all without a proof, before anything of a body is read.
    ///
    /// # Errors
    /// When the caller is outside the trusted networks.
    pub(super) fn demand_trust(
        &self,
        head: &Head<'_>,
        base: &BasePath,
    ) -> Result<Caller<'static>, IdentityError> {
        let client = head.client.to_canonical();
        if address::contains(&self.settings.trusted_networks, client) {
            return Ok(Caller::Trusted);
        }
        let names_tenant =
            base.tenant.is_some() || headers::any(head.headers, &self.settings.headers.tenant);
        Err(if names_tenant {
            IdentityError::Untrusted { client }
        } else {
            IdentityError::Unproven { client }
        })
    }

    fn tenant(
        &self,
        proven: Option<TenantId>,
        headers: &HeaderMap,
        base: &BasePath,
        rules: Rules,
    ) -> Result<(TenantId, bool), IdentityError> {
        let accepted = &self.settings.headers.tenant;
        let header = headers::single_name(headers, accepted, Claim::Tenant, TenantId::new)?;
        let said = rules.stronger(header, base.tenant.as_ref(), Claim::Tenant)?;
        if let Some(proven) = proven {
            let (tenant, overruled) =
                rules.stronger(Some(proven), said.0.as_ref(), Claim::Tenant)?;
            // The first of two is there.
            return tenant
                .map(|tenant| (tenant, overruled || said.1))
                .ok_or(IdentityError::CredentialsMissing);
        }
        let (named, contradicted) = said;
        match named {
            Some(tenant) if self.knows(&tenant) => Ok((tenant, contradicted)),
            Some(tenant) => Err(IdentityError::UnknownTenant { tenant }),
            None => self.unnamed_tenant().map(|tenant| (tenant, false)),
        }
    }

    fn knows(&self, tenant: &TenantId) -> bool {
        self.tenants.is_empty() || self.tenants.contains_key(tenant)
    }

    fn unnamed_tenant(&self) -> Result<TenantId, IdentityError> {
        match self.settings.identity_unknown {
            IdentityUnknown::Allow => Ok(self.unknown.tenant.clone()),
            IdentityUnknown::Refuse => Err(IdentityError::TenantMissing {
                header: own_name(&self.settings.headers.tenant),
            }),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an application is said in more ways than anything else"
    )]
    fn application(
        &self,
        proven: Option<ApplicationId>,
        tenant: &TenantId,
        headers: &HeaderMap,
        base: &BasePath,
        claims: &Claims<'_>,
        grants: &Grants,
        rules: Rules,
    ) -> Result<(ApplicationId, bool), IdentityError> {
        let accepted = &self.settings.headers.application;
        let claim = Claim::Application;
        let header = headers::single_name(headers, accepted, claim, ApplicationId::new)?;
        let (said, contradicted) = rules.stronger(header, base.application.as_ref(), claim)?;
        let (named, overruled) = match proven {
            Some(_) => rules.stronger(proven, said.as_ref(), claim)?,
            None => (said, false),
        };
        let named = named
            .or_else(|| ambient::sdk_application(headers))
            .or_else(|| self.metadata_application(claims));
        let of_tenant = self.tenants.get(tenant);
        let application = match (named, of_tenant) {
            (Some(named), Some(of_tenant)) => listed(named, of_tenant)?,
            (Some(named), None) => named,
            (None, of_tenant) => grants
                .first(|policy| policy.default_application.clone())
                .or_else(|| of_tenant?.default_application.clone())
                .unwrap_or_else(|| self.unknown.application.clone()),
        };
        Ok((application, contradicted || overruled))
    }

    /// A value that is no valid name is passed over: metadata has many other uses.
    fn metadata_application(&self, claims: &Claims<'_>) -> Option<ApplicationId> {
        let wanted = &self.settings.application_metadata_key;
        let mut pairs = claims.metadata.iter();
        let (_, name) = pairs.find(|(key, _)| key == wanted)?;
        ApplicationId::new(name).ok()
    }

    fn user(
        &self,
        headers: &HeaderMap,
        claims: &Claims<'_>,
    ) -> Result<Option<Arc<str>>, IdentityError> {
        let header = headers::single(headers, &self.settings.headers.user, Claim::User)?;
        let named = header.as_deref().or(claims.body_user_id);
        let user = named.map(str::trim).filter(|user| !user.is_empty());
        Ok(user.and_then(|user| self.users.keep(user)))
    }

    fn session(&self, headers: &HeaderMap) -> Result<Option<Arc<str>>, IdentityError> {
        let header = headers::single(headers, &self.settings.headers.session, Claim::Session)?;
        let named = header.as_deref().and_then(bounded);
        Ok(named.or_else(|| ambient::trace_id(headers).map(Arc::from)))
    }
}

/// How contradictions are taken.
#[derive(Clone, Copy, Debug)]
struct Rules {
    refuse: bool,
}

impl Rules {
    /// The stronger of two claims, and whether the weaker one contradicts it.
    fn stronger<T: Clone + PartialEq>(
        self,
        strong: Option<T>,
        weak: Option<&T>,
        claim: Claim,
    ) -> Result<(Option<T>, bool), IdentityError> {
        let contradicted = matches!((&strong, weak), (Some(a), Some(b)) if a != b);
        if contradicted && self.refuse {
            return Err(IdentityError::Contradiction { claim });
        }
        Ok((strong.or_else(|| weak.cloned()), contradicted))
    }
}

/// The names of who does not say.
#[derive(Debug)]
struct Unknown {
    tenant: TenantId,
    application: ApplicationId,
}

impl Unknown {
    #[expect(clippy::expect_used, reason = "the name is a constant, and valid")]
    fn new() -> Self {
        Self {
            tenant: TenantId::new("unknown").expect("a valid name"),
            application: ApplicationId::new("unknown").expect("a valid name"),
        }
    }
}

fn listed(
    application: ApplicationId,
    tenant: &TenantSettings,
) -> Result<ApplicationId, IdentityError> {
    if tenant.applications.is_empty() || tenant.applications.contains(&application) {
        return Ok(application);
    }
    Err(IdentityError::UnlistedApplication {
        tenant: tenant.name.clone(),
        application,
    })
}

fn own_name(names: &[HeaderName]) -> String {
    names.first().map(ToString::to_string).unwrap_or_default()
}

fn tenancy_headers(settings: &Settings) -> Vec<HeaderName> {
    let names = &settings.headers;
    [
        &names.tenant,
        &names.application,
        &names.user,
        &names.session,
    ]
    .into_iter()
    .flatten()
    .cloned()
    .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::domain::Timestamp;
    use crate::identity::{Outside, UserPolicy};
    use crate::registry::MasterKeys;

    /// The variant of an error, by name.
    fn variant(error: &IdentityError) -> String {
        let shown = format!("{error:?}");
        shown.split([' ', '(']).next().unwrap().to_owned()
    }

    const TRUSTED: &str = "127.0.0.1";
    const STRANGER: &str = "203.0.113.9";
    const TENANT: &str = "x-bedrock-meter-tenant";
    const APPLICATION: &str = "x-bedrock-meter-application";
    const USER: &str = "x-bedrock-meter-user";
    const SESSION: &str = "x-bedrock-meter-session";
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// A request: where from, which headers, which base path, what in the body.
    #[derive(Clone, Copy)]
    struct Request<'a> {
        client: &'a str,
        headers: &'a [(&'static str, &'a str)],
        path_tenant: &'a str,
        path_application: &'a str,
        metadata: &'a [(&'a str, &'a str)],
        body_user_id: Option<&'a str>,
    }

    const PLAIN: Request<'_> = Request {
        client: TRUSTED,
        headers: &[],
        path_tenant: "",
        path_application: "",
        metadata: &[],
        body_user_id: None,
    };

    fn identify(settings: Settings, request: Request<'_>) -> Result<Principal, IdentityError> {
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let base = BasePath {
            tenant: TenantId::new(request.path_tenant).ok(),
            application: ApplicationId::new(request.path_application).ok(),
            ..BasePath::default()
        };
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let metadata: Vec<_> = request.metadata.iter().map(owned).collect();
        let claims = Claims {
            metadata: &metadata,
            body_user_id: request.body_user_id,
        };
        let identity = Identity::new(settings, &Secret::new("key"));
        let head = Head {
            client: request.client.parse().unwrap(),
            method: "POST",
            uri: &http::Uri::from_static("/model/m/converse"),
            headers: &headers,
            outside: &Outside::default(),
            now: Timestamp::from_unix_ms(0),
        };
        let masters = "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let callers = Callers::nobody(MasterKeys::parse(masters).unwrap());
        let caller = identity.caller(head, &base, &callers)?;
        let proof = identity.prove(caller, &head, || [0; 32])?;
        identity.identify(proof, &head, &base, &claims, &callers)
    }

    fn stored() -> Settings {
        Settings {
            user: UserPolicy::Store,
            ..Settings::default()
        }
    }

    fn closed_list() -> Settings {
        let name = |name| ApplicationId::new(name).unwrap();
        let acme = TenantSettings {
            name: TenantId::new("acme").unwrap(),
            applications: vec![name("chat"), name("search")],
            default_application: Some(name("search")),
        };
        let open = TenantSettings {
            name: TenantId::new("open").unwrap(),
            applications: Vec::new(),
            default_application: None,
        };
        Settings {
            tenants: vec![acme, open],
            ..Settings::default()
        }
    }

    #[test]
    fn tenant_and_application_come_from_the_strongest_claim() {
        let check = |request: Request<'_>, tenant: &str, application: &str| {
            let principal = identify(Settings::default(), request).unwrap();
            assert_eq!(principal.tenant.as_str(), tenant);
            assert_eq!(principal.application.as_str(), application);
            assert!(!principal.contradicted);
        };
        check(PLAIN, "unknown", "unknown");
        let headers = &[(TENANT, "acme"), (APPLICATION, "chat")];
        check(Request { headers, ..PLAIN }, "acme", "chat");
        let path = Request {
            path_tenant: "acme",
            path_application: "chat",
            ..PLAIN
        };
        check(path, "acme", "chat");
        check(Request { headers, ..path }, "acme", "chat");
        let metadata = &[("team", "x"), ("application", "batch")];
        check(Request { metadata, ..PLAIN }, "unknown", "batch");
        let agent = &[("user-agent", "Boto3/1.44 app/search")];
        check(
            Request {
                headers: agent,
                metadata,
                ..PLAIN
            },
            "unknown",
            "search",
        );
        check(
            Request {
                headers: agent,
                metadata,
                ..path
            },
            "acme",
            "chat",
        );
        let both = &[(APPLICATION, "chat"), ("user-agent", "app/search")];
        check(
            Request {
                headers: both,
                ..PLAIN
            },
            "unknown",
            "chat",
        );
        let odd = &[("application", "not a name")];
        check(
            Request {
                metadata: odd,
                ..PLAIN
            },
            "unknown",
            "unknown",
        );
        check(
            Request {
                client: "::ffff:127.0.0.1",
                ..path
            },
            "acme",
            "chat",
        );
    }

    #[test]
    fn nobody_outside_the_trusted_networks_is_believed() {
        let check = |request: Request<'_>, kind: &str| {
            for client in [STRANGER, "::ffff:203.0.113.9", "2001:db8::1"] {
                let refused = identify(Settings::default(), Request { client, ..request });
                assert_eq!(variant(&refused.unwrap_err()), kind, "{client}");
            }
        };
        check(PLAIN, "Unproven");
        let headers = &[(APPLICATION, "chat"), ("user-agent", "app/x")];
        check(Request { headers, ..PLAIN }, "Unproven");
        let headers = &[(TENANT, "acme")];
        check(Request { headers, ..PLAIN }, "Untrusted");
        let headers = &[(TENANT, "not a name"), (TENANT, "")];
        check(Request { headers, ..PLAIN }, "Untrusted");
        let path_tenant = "acme";
        check(
            Request {
                path_tenant,
                ..PLAIN
            },
            "Untrusted",
        );
    }

    #[test]
    fn doubtful_claims_are_refused() {
        let check = |headers: &[(&'static str, &str)], kind: &str| {
            let request = Request {
                headers,
                path_tenant: "acme",
                path_application: "chat",
                ..PLAIN
            };
            let refused = identify(Settings::default(), request).unwrap_err();
            assert_eq!(variant(&refused), kind, "{headers:?}");
        };
        check(&[(TENANT, "other")], "Contradiction");
        check(&[(APPLICATION, "other")], "Contradiction");
        check(&[(TENANT, "acme"), (TENANT, "acme")], "Ambiguous");
        check(&[(APPLICATION, "a"), (APPLICATION, "b")], "Ambiguous");
        check(&[(USER, "a"), (USER, "b")], "Ambiguous");
        check(&[(SESSION, "a"), (SESSION, "b")], "Ambiguous");
        check(&[(TENANT, "acme, other")], "InvalidName");
        check(&[(TENANT, "")], "InvalidName");
        check(&[(TENANT, "\u{e9}")], "InvalidName");
        check(&[(APPLICATION, "a b")], "InvalidName");
    }

    #[test]
    fn an_ignored_contradiction_keeps_the_header_and_says_so() {
        let settings = Settings {
            on_contradiction: OnContradiction::IgnoreAndCount,
            ..Settings::default()
        };
        let check = |headers: &[(&'static str, &str)], expected: [&str; 2], contradicted| {
            let request = Request {
                headers,
                path_tenant: "acme",
                path_application: "chat",
                ..PLAIN
            };
            let principal = identify(settings.clone(), request).unwrap();
            let named = [principal.tenant.as_str(), principal.application.as_str()];
            assert_eq!((named, principal.contradicted), (expected, contradicted));
        };
        check(&[(TENANT, "other")], ["other", "chat"], true);
        check(&[(APPLICATION, "other")], ["acme", "other"], true);
        check(&[(TENANT, "acme")], ["acme", "chat"], false);
    }

    #[test]
    fn an_alias_counts_as_the_header_itself() {
        let mut settings = Settings::default();
        let alias = HeaderName::from_static("x-team");
        settings.headers.tenant.push(alias.clone());
        let tenant = |headers| {
            let named = identify(settings.clone(), Request { headers, ..PLAIN });
            named.map(|principal| principal.tenant.to_string())
        };
        assert_eq!(tenant(&[("x-team", "acme")]), Ok("acme".to_owned()));
        assert_eq!(
            tenant(&[("x-team", "acme"), (TENANT, "acme")]),
            Err(IdentityError::Ambiguous {
                claim: Claim::Tenant
            })
        );
        let identity = Identity::new(settings.clone(), &Secret::new("key"));
        let names = identity.tenancy_headers();
        assert!(names.contains(&alias) && names.len() == 5, "{names:?}");
    }

    #[test]
    fn a_closed_list_admits_what_it_lists() {
        let named = |tenant: &str, application: &str| {
            let all = [(TENANT, tenant), (APPLICATION, application)];
            let given: Vec<_> = all.into_iter().filter(|(_, v)| !v.is_empty()).collect();
            let request = Request {
                headers: &given,
                ..PLAIN
            };
            match identify(closed_list(), request) {
                Ok(principal) => principal.application.to_string(),
                Err(error) => variant(&error),
            }
        };
        assert_eq!(named("acme", "chat"), "chat");
        assert_eq!(named("acme", ""), "search");
        assert_eq!(named("acme", "other"), "UnlistedApplication");
        assert_eq!(named("open", "anything"), "anything");
        assert_eq!(named("open", ""), "unknown");
        assert_eq!(named("other", ""), "UnknownTenant");
        assert_eq!(named("unknown", ""), "UnknownTenant");
        assert_eq!(named("", ""), "unknown");
    }

    #[test]
    fn a_call_without_tenant_is_refused_where_the_settings_say_so() {
        let settings = Settings {
            identity_unknown: IdentityUnknown::Refuse,
            ..Settings::default()
        };
        let refused = identify(settings, PLAIN).unwrap_err();
        assert_eq!(variant(&refused), "TenantMissing");
        assert!(refused.to_string().contains(TENANT), "{refused}");
    }

    #[test]
    fn user_and_session_come_from_header_body_and_trace() {
        let check = |request: Request<'_>, user: Option<&str>, session: Option<&str>| {
            let principal = identify(stored(), request).unwrap();
            assert_eq!(principal.user.as_deref(), user);
            assert_eq!(principal.session.as_deref(), session);
        };
        check(PLAIN, None, None);
        let body_user_id = Some("ann");
        let body = Request {
            body_user_id,
            ..PLAIN
        };
        check(body, Some("ann"), None);
        let headers = &[(USER, "bob"), (SESSION, "run 7"), ("traceparent", TRACE)];
        check(Request { headers, ..body }, Some("bob"), Some("run 7"));
        let headers = &[(SESSION, ""), ("traceparent", TRACE)];
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(Request { headers, ..body }, Some("ann"), Some(trace));
        let blank = Some("  ");
        check(
            Request {
                body_user_id: blank,
                ..PLAIN
            },
            None,
            None,
        );
    }

    #[test]
    fn by_default_the_user_is_a_pseudonym() {
        let of = |body_user_id| {
            let request = Request {
                body_user_id,
                ..PLAIN
            };
            identify(Settings::default(), request).unwrap().user
        };
        let ann = of(Some("ann")).unwrap();
        assert_eq!(ann.len(), 32);
        assert_eq!(of(Some(" ann ")).as_ref(), Some(&ann));
        assert_ne!(of(Some("bob")).as_ref(), Some(&ann));
    }
}
