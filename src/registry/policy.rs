//! What a key or a tenant may do. It judges names, and does not know how they were resolved.

use ipnet::IpNet;

use super::settings::OnContradiction;
use crate::domain::{ApplicationId, Glob, Operation, Region, keywords};

/// What a key or a tenant may do. An empty list allows everything of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The applications it may name.
    pub applications: Vec<ApplicationId>,
    /// The application of calls that name none.
    pub default_application: Option<ApplicationId>,
    /// The models, by label (`us.anthropic.claude-opus-5-5`) or base id.
    pub models: Vec<Glob>,
    /// The geographies: `in-region`, `global`, or a profile's prefix (`us`, `eu`, ...).
    pub geographies: Vec<Glob>,
    /// The regions that may be called.
    pub regions: Vec<Region>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The networks that it may call from.
    pub networks: Vec<IpNet>,
    /// Resources of the account that are its own: ARNs, ids, `s3://` URIs.
    pub resources: Vec<Glob>,
    /// The guardrail that every model call must name, by id or ARN.
    pub require_guardrail: Option<Glob>,
    /// The region of calls that name none.
    pub region: Option<Region>,
    /// The role that is assumed for its calls.
    pub role_arn: Option<String>,
    /// What happens when a weaker claim contradicts the proof; absent: as the settings say.
    pub on_contradiction: Option<OnContradiction>,
    /// Whether what it forbids is refused, or only counted.
    pub enforcement: Enforcement,
}

keywords!(
    /// Whether what a policy forbids is refused.
    Enforcement {
        /// It is refused.
        Enforce = "enforce",
        /// It passes, and is counted as what would have been refused.
        Observe = "observe",
    }
);

impl Policy {
    /// Whether it forbids nothing and sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of it reaches further than `outer` lets its callers: the name of the first such list or
    /// value. A list that is empty here reaches no further, as a call is judged by both; resources
    /// do where `outer` has none, as it owns none then.
    pub fn exceeds(&self, outer: &Self) -> Option<&'static str> {
        let checks = [
            (
                "applications",
                subset(&self.applications, &outer.applications),
            ),
            ("models", covered(&self.models, &outer.models)),
            (
                "geographies",
                covered(&self.geographies, &outer.geographies),
            ),
            ("regions", subset(&self.regions, &outer.regions)),
            ("operations", subset(&self.operations, &outer.operations)),
            ("networks", enclosed(&self.networks, &outer.networks)),
            ("resources", all_covered(&self.resources, &outer.resources)),
            (
                "role_arn",
                self.role_arn.is_none() || self.role_arn == outer.role_arn,
            ),
            ("on_contradiction", self.is_as_strict_as(outer)),
            (
                "mode",
                self.enforcement == Enforcement::Enforce || self.enforcement == outer.enforcement,
            ),
        ];
        let beyond = checks.into_iter().find(|(_, within)| !within);
        beyond.map(|(name, _)| name)
    }

    fn is_as_strict_as(&self, outer: &Self) -> bool {
        matches!(self.on_contradiction, None | Some(OnContradiction::Refuse))
            || self.on_contradiction == outer.on_contradiction
    }
}

fn subset<T: PartialEq>(inner: &[T], outer: &[T]) -> bool {
    outer.is_empty() || inner.iter().all(|one| outer.contains(one))
}

fn enclosed(inner: &[IpNet], outer: &[IpNet]) -> bool {
    let within = |one: &IpNet| outer.iter().any(|network| network.contains(one));
    outer.is_empty() || inner.iter().all(within)
}

fn covered(inner: &[Glob], outer: &[Glob]) -> bool {
    outer.is_empty() || all_covered(inner, outer)
}

/// A pattern that matches another one's text matches all that the other does: only its stars can
/// stand for the other's.
fn all_covered(inner: &[Glob], outer: &[Glob]) -> bool {
    let within = |one: &Glob| outer.iter().any(|pattern| pattern.matches(one.as_str()));
    inner.iter().all(within)
}

#[cfg(test)]
mod tests {
    use crate::registry::PolicyDocument;

    #[test]
    fn a_policy_that_reaches_further_than_another_is_told_by_its_list() {
        let policy = |json: &str| {
            let document: PolicyDocument = serde_json::from_str(json).unwrap();
            document.check().unwrap()
        };
        let check = |inner: &str, outer: &str, expected: Option<&str>| {
            assert_eq!(
                policy(inner).exceeds(&policy(outer)),
                expected,
                "{inner} {outer}"
            );
        };
        let nothing = "{}";
        check(nothing, nothing, None);
        check(r#"{"models":["us.*"]}"#, nothing, None);
        check(
            nothing,
            r#"{"models":["us.*"],"resources":["s3://a/*"]}"#,
            None,
        );
        check(
            r#"{"models":["us.anthropic.*"]}"#,
            r#"{"models":["us.*"]}"#,
            None,
        );
        check(
            r#"{"models":["us.*"]}"#,
            r#"{"models":["us.anthropic.*"]}"#,
            Some("models"),
        );
        check(
            r#"{"models":["*"]}"#,
            r#"{"models":["us.*","eu.*"]}"#,
            Some("models"),
        );
        check(
            r#"{"geographies":["eu"]}"#,
            r#"{"geographies":["us"]}"#,
            Some("geographies"),
        );
        check(
            r#"{"regions":["us-west-2"]}"#,
            r#"{"regions":["us-east-1"]}"#,
            Some("regions"),
        );
        check(
            r#"{"operations":["Converse"]}"#,
            r#"{"operations":["InvokeModel"]}"#,
            Some("operations"),
        );
        check(
            r#"{"networks":["10.1.0.0/16"]}"#,
            r#"{"networks":["10.0.0.0/8"]}"#,
            None,
        );
        check(
            r#"{"networks":["10.0.0.0/8"]}"#,
            r#"{"networks":["10.1.0.0/16"]}"#,
            Some("networks"),
        );
        check(
            r#"{"applications":["a"]}"#,
            r#"{"applications":["b"]}"#,
            Some("applications"),
        );
        check(
            r#"{"resources":["s3://a/x"]}"#,
            r#"{"resources":["s3://a/*"]}"#,
            None,
        );
        check(r#"{"resources":["s3://a/x"]}"#, nothing, Some("resources"));
        let role = r#"{"role_arn":"arn:aws:iam::123456789012:role/a"}"#;
        check(role, nothing, Some("role_arn"));
        check(role, role, None);
        check(r#"{"mode":"observe"}"#, nothing, Some("mode"));
        check(r#"{"mode":"observe"}"#, r#"{"mode":"observe"}"#, None);
        let lax = r#"{"on_contradiction":"ignore-and-count"}"#;
        check(lax, nothing, Some("on_contradiction"));
        check(lax, lax, None);
        check(r#"{"on_contradiction":"refuse"}"#, lax, None);
    }
}
