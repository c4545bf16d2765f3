//! Whether a proven or named caller may do what it asks for: on the resolved model, so that an
//! opaque ARN does not slip past.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::address;
use crate::domain::{ApplicationId, Glob, ModelRef, Operation, Region};
use crate::registry::{Enforcement, Key, OnContradiction, Policy, Tenant};

/// The policies that apply to a caller: its key's and its tenant's. Both must allow a call.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// The key that proved it.
    pub key: Option<Arc<Key>>,
    /// The tenant, where the registry knows it.
    pub tenant: Option<Arc<Tenant>>,
}

/// Equal where key and tenant are: policies follow from them.
impl PartialEq for Grants {
    fn eq(&self, other: &Self) -> bool {
        let ids = |grants: &Self| {
            let key = grants.key.as_ref().map(|key| key.id);
            (
                key,
                grants.tenant.as_ref().map(|tenant| tenant.name.clone()),
            )
        };
        ids(self) == ids(other)
    }
}

impl Eq for Grants {}

impl Grants {
    /// The policies, the key's first.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        let key = self.key.as_ref().map(|key| &*key.policy);
        key.into_iter()
            .chain(self.tenant.as_ref().map(|tenant| &tenant.policy))
    }

    /// The first thing that any policy says of something.
    pub(super) fn first<T>(&self, of: impl Fn(&Policy) -> Option<T>) -> Option<T> {
        self.policies().find_map(of)
    }

    /// What happens on a contradiction, where a policy says.
    pub(super) fn on_contradiction(&self) -> Option<OnContradiction> {
        self.first(|policy| policy.on_contradiction)
    }
}

/// What a call asks for, resolved.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is called.
    pub operation: Operation,
    /// The model, as it is priced.
    pub model: Option<&'a ModelRef>,
    /// Where.
    pub region: &'a Region,
    /// From where.
    pub client: IpAddr,
    /// For which workload.
    pub application: &'a ApplicationId,
}

/// What the policies say of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What forbids it.
    pub refused: Option<Forbidden>,
    /// What would have, had it not only been observed.
    pub observed: Option<Forbidden>,
}

/// What a policy forbids; the text finishes "may not".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// An application that the list lacks.
    Application(ApplicationId),
    /// A model that no pattern fits, or that the id does not tell.
    Model(Arc<str>),
    /// A geography that no pattern fits.
    Geography(Arc<str>),
    /// A region that the list lacks.
    Region(Region),
    /// An operation that the list lacks.
    Operation(Operation),
    /// An address in none of the networks.
    Network(IpAddr),
    /// A resource of the account that is not the tenant's.
    Resource(Arc<str>),
    /// A model call without the guardrail that is demanded.
    WithoutGuardrail(Glob),
}

impl Forbidden {
    /// Its kind: a closed set, for metrics and refusals.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Application(_) => "application_not_allowed",
            Self::Model(_) => "model_not_allowed",
            Self::Geography(_) => "geography_not_allowed",
            Self::Region(_) => "region_not_allowed",
            Self::Operation(_) => "operation_not_allowed",
            Self::Network(_) => "network_not_allowed",
            Self::Resource(_) => "resource_not_allowed",
            Self::WithoutGuardrail(_) => "guardrail_required",
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(name) => write!(f, "call for application {name}"),
            Self::Model(name) => write!(f, "use model {name}"),
            Self::Geography(name) => write!(f, "have inference in geography {name}"),
            Self::Region(region) => write!(f, "call region {region}"),
            Self::Operation(operation) => write!(f, "call {}", operation.name()),
            Self::Network(address) => write!(f, "call from {address}"),
            Self::Resource(name) => write!(f, "use {name}, which is not its own"),
            Self::WithoutGuardrail(guardrail) => {
                write!(f, "call a model without guardrail {guardrail}")
            }
        }
    }
}

impl Grants {
    /// What the policies say of a call.
    pub fn judge(&self, asked: &Asked<'_>) -> Judgement {
        self.each(|policy| forbidden(policy, asked))
    }

    /// What the policies say of a caller's address, whatever it asks.
    pub fn judge_network(&self, client: IpAddr) -> Judgement {
        self.each(|policy| lacks_network(policy, client).map(Forbidden::Network))
    }

    /// What the policies say of a resource of the account: it has to be listed as the caller's own
    /// by every policy that lists any, or by the settings as everybody's.
    pub fn judge_resource(&self, name: &str, shared: &[Glob]) -> Judgement {
        if any(shared, name) {
            return Judgement::default();
        }
        let mut listing = self
            .policies()
            .map(|policy| &policy.resources)
            .filter(|list| !list.is_empty())
            .peekable();
        let own = listing.peek().is_some() && listing.all(|list| any(list, name));
        if own {
            return Judgement::default();
        }
        let forbidden = Some(Forbidden::Resource(name.into()));
        let observes = |policy: &Policy| policy.enforcement == Enforcement::Observe;
        if self.policies().any(observes) {
            Judgement {
                observed: forbidden,
                ..Judgement::default()
            }
        } else {
            Judgement {
                refused: forbidden,
                ..Judgement::default()
            }
        }
    }

    /// What the policies say of a model call with this guardrail, or with none.
    pub fn judge_guardrail(&self, named: Option<&str>) -> Judgement {
        self.each(|policy| {
            let demanded = policy.require_guardrail.as_ref()?;
            let has = named.is_some_and(|named| demanded.matches(named));
            (!has).then(|| Forbidden::WithoutGuardrail(demanded.clone()))
        })
    }

    /// What the policies say, by one question to each.
    fn each(&self, ask: impl Fn(&Policy) -> Option<Forbidden>) -> Judgement {
        let mut judgement = Judgement::default();
        for policy in self.policies() {
            let Some(forbidden) = ask(policy) else {
                continue;
            };
            match policy.enforcement {
                Enforcement::Enforce => judgement.refused = Some(forbidden),
                Enforcement::Observe => judgement.observed = Some(forbidden),
            }
        }
        judgement
    }
}

fn forbidden(policy: &Policy, asked: &Asked<'_>) -> Option<Forbidden> {
    let lacks_operation =
        !policy.operations.is_empty() && !policy.operations.contains(&asked.operation);
    let lacks_region = !policy.regions.is_empty() && !policy.regions.contains(asked.region);
    let lacks_application =
        !policy.applications.is_empty() && !policy.applications.contains(asked.application);
    if let Some(client) = lacks_network(policy, asked.client) {
        return Some(Forbidden::Network(client));
    }
    if lacks_application {
        return Some(Forbidden::Application(asked.application.clone()));
    }
    if lacks_operation {
        return Some(Forbidden::Operation(asked.operation));
    }
    if lacks_region {
        return Some(Forbidden::Region(asked.region.clone()));
    }
    asked.model.and_then(|model| forbidden_model(policy, model))
}

/// The address that a policy does not let in.
fn lacks_network(policy: &Policy, client: IpAddr) -> Option<IpAddr> {
    let client = client.to_canonical();
    let lacks = !policy.networks.is_empty() && !address::contains(&policy.networks, client);
    lacks.then_some(client)
}

fn forbidden_model(policy: &Policy, model: &ModelRef) -> Option<Forbidden> {
    let Some(base) = &model.base else {
        // What an opaque id stands for is not known here: only one that is the caller's own by
        // name may pass where models or geographies are limited.
        let limited = !policy.models.is_empty() || !policy.geographies.is_empty();
        let own = any(&policy.models, &model.asked) || any(&policy.resources, &model.asked);
        return (limited && !own).then(|| Forbidden::Model(Arc::clone(&model.asked)));
    };
    let geography = model.geography.name();
    if !policy.geographies.is_empty() && !any(&policy.geographies, geography) {
        return Some(Forbidden::Geography(geography.into()));
    }
    let label = model.label();
    let fits = any(&policy.models, &label) || any(&policy.models, base);
    (!policy.models.is_empty() && !fits).then(|| Forbidden::Model(label.as_ref().into()))
}

pub(super) fn any(patterns: &[Glob], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::parse_model_ref;
    use crate::registry::PolicyDocument;

    fn policy(json: &str) -> PolicyDocument {
        serde_json::from_str(json).unwrap()
    }

    fn judge(document: &PolicyDocument, asked: &Asked<'_>) -> Judgement {
        let policy = document.check().unwrap();
        let tenant = Tenant {
            name: "acme".parse().unwrap(),
            owner: None,
            cost_centre: None,
            contact: None,
            starts_at: None,
            ends_at: None,
            suspended_at: None,
            policy,
        };
        let grants = Grants {
            key: None,
            tenant: Some(Arc::new(tenant)),
        };
        grants.judge(asked)
    }

    fn kind(document: &PolicyDocument, model: &str) -> Option<&'static str> {
        let model = parse_model_ref(model);
        let asked = Asked {
            operation: Operation::Converse,
            model: Some(&model),
            region: &"us-east-1".parse().unwrap(),
            client: IpAddr::from([10, 1, 2, 3]),
            application: &"chat".parse().unwrap(),
        };
        judge(document, &asked)
            .refused
            .map(|forbidden| forbidden.kind())
    }

    const CLAUDE: &str = "us.anthropic.claude-opus-5";
    const PROFILE: &str = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc";

    #[test]
    fn each_list_refuses_what_it_lacks() {
        let check = |json: &str, model: &str, expected: Option<&str>| {
            assert_eq!(kind(&policy(json), model), expected, "{json} {model}");
        };
        let global = "global.anthropic.claude-opus-5";
        check("{}", CLAUDE, None);
        check(r#"{"models":["us.anthropic.*"]}"#, CLAUDE, None);
        check(r#"{"models":["anthropic.*"]}"#, CLAUDE, None);
        let model = Some("model_not_allowed");
        check(r#"{"models":["amazon.*"]}"#, CLAUDE, model);
        check(r#"{"geographies":["us"]}"#, CLAUDE, None);
        let geography = Some("geography_not_allowed");
        check(r#"{"geographies":["eu","in-region"]}"#, CLAUDE, geography);
        check(r#"{"geographies":["eu"]}"#, global, geography);
        check(r#"{"applications":["chat"]}"#, CLAUDE, None);
        let application = Some("application_not_allowed");
        check(r#"{"applications":["search"]}"#, CLAUDE, application);
        check(r#"{"regions":["us-east-1"]}"#, CLAUDE, None);
        let region = Some("region_not_allowed");
        check(r#"{"regions":["eu-west-1"]}"#, CLAUDE, region);
        check(r#"{"operations":["Converse"]}"#, CLAUDE, None);
        let operation = Some("operation_not_allowed");
        check(r#"{"operations":["InvokeModel"]}"#, CLAUDE, operation);
        check(r#"{"networks":["10.0.0.0/8"]}"#, CLAUDE, None);
        let network = Some("network_not_allowed");
        check(r#"{"networks":["192.168.0.0/16"]}"#, CLAUDE, network);
    }

    #[test]
    fn an_opaque_id_reaches_nothing_that_is_limited() {
        let check = |json: &str, model: &str, expected: Option<&str>| {
            assert_eq!(kind(&policy(json), model), expected, "{json} {model}");
        };
        let unknown = Some("model_not_allowed");
        check("{}", PROFILE, None);
        check(r#"{"models":["us.*"]}"#, PROFILE, unknown);
        check(r#"{"geographies":["us"]}"#, PROFILE, unknown);
        let own = r#"{"models":["us.*"],"resources":["*/abc"]}"#;
        check(own, PROFILE, None);
        // An ARN that holds an id is read, not believed.
        let eu = "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-opus-5";
        check(
            r#"{"geographies":["us"]}"#,
            eu,
            Some("geography_not_allowed"),
        );
    }

    #[test]
    fn what_is_observed_passes_and_is_said() {
        let model = parse_model_ref(CLAUDE);
        let asked = Asked {
            operation: Operation::Converse,
            model: Some(&model),
            region: &"us-east-1".parse().unwrap(),
            client: IpAddr::from([10, 1, 2, 3]),
            application: &"chat".parse().unwrap(),
        };
        let observed = policy(r#"{"models":["amazon.*"],"mode":"observe"}"#);
        let judgement = judge(&observed, &asked);
        assert_eq!(judgement.refused, None);
        assert_eq!(judgement.observed, Some(Forbidden::Model(CLAUDE.into())));
    }
}
