//! Names that a rule makes of what the caller proved: `team-{namespace}`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where a workload runs in Kubernetes, as its token or certificate says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Workload<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) service_account: Option<&'a str>,
}

/// A name with places for `{namespace}` and `{service_account}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Arc<str>);

/// A text that is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a name: expected 1 to 64 letters, digits or . _ - : @ /, {{namespace}} or {{service_account}}"
)]
pub struct InvalidTemplate;

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let example =
            filled(text, |place| is_place(place).then_some("a")).ok_or(InvalidTemplate)?;
        // What it is filled with is a Kubernetes name, so only the text around it can be wrong.
        let is_name = crate::domain::TenantId::new(&example).is_ok();
        is_name.then(|| Self(text.into())).ok_or(InvalidTemplate)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Template {
    /// The name; `None` when a place has nothing to fill it.
    pub(super) fn fill(&self, workload: &Workload<'_>) -> Option<String> {
        filled(&self.0, |place| match place {
            NAMESPACE => workload.namespace,
            SERVICE_ACCOUNT => workload.service_account,
            _ => None,
        })
    }
}

/// The text with each `{place}` replaced; `None` when one has no value or a brace has no partner.
fn filled<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}')?;
        name.push_str(before);
        name.push_str(value(place)?);
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

fn is_place(place: &str) -> bool {
    [NAMESPACE, SERVICE_ACCOUNT].contains(&place)
}

const NAMESPACE: &str = "namespace";
const SERVICE_ACCOUNT: &str = "service_account";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_with_what_is_known() {
        let workload = Workload {
            namespace: Some("search-prod"),
            service_account: Some("api"),
        };
        let check = |template: &str, workload: &Workload<'_>, expected: Option<&str>| {
            let filled = template.parse::<Template>().unwrap().fill(workload);
            assert_eq!(filled.as_deref(), expected, "{template}");
        };
        check("search", &workload, Some("search"));
        check("{namespace}", &workload, Some("search-prod"));
        check(
            "k8s-{namespace}/{service_account}",
            &workload,
            Some("k8s-search-prod/api"),
        );
        check("search", &Workload::default(), Some("search"));
        check("{namespace}", &Workload::default(), None);
    }

    #[test]
    fn other_places_and_bad_names_are_refused() {
        for text in [
            "",
            "{pod}",
            "a{namespace",
            "namespace}",
            "two words",
            "-a",
            "{}",
        ] {
            assert_eq!(text.parse::<Template>(), Err(InvalidTemplate), "{text}");
        }
    }
}
