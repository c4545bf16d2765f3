//! The keys of alerts, bound to their fields, and the rules that join several of them.

use std::time::Duration;

use super::form::{Form, Named};
use super::problem::Problem;
use super::settings::Settings;
use crate::alerts::{self, Outlet, OutletKind, OutletSettings};
use crate::upstream::CredentialSettings;

pub(super) fn bind<F: Form>(form: &mut F, s: &mut alerts::Settings) {
    form.list("default_outlets", &mut s.default_outlets);
    form.optional("file", &mut s.file);
    form.within("timeout", &mut s.timeout, SECOND..=MINUTE);
    form.within("retry_for", &mut s.retry_for, SECOND..=WEEK);
    form.within("keep_for", &mut s.keep_for, DAY..=TEN_YEARS);
    form.table("sudden", |form| {
        form.within("percent", &mut s.sudden.percent, 0..=1_000_000);
        form.within("floor_usd", &mut s.sudden.floor_usd, 0..=1_000_000_000);
    });
    form.named_tables("outlets", &mut s.outlets, outlet);
}

fn outlet<F: Form>(form: &mut F, s: &mut OutletSettings) {
    form.value("kind", &mut s.kind);
    form.secret("url", &mut s.url);
    form.list("urls", &mut s.urls);
    form.secret("secret", &mut s.secret);
    form.secret("next_secret", &mut s.next_secret);
    form.secret("authorization", &mut s.authorization);
    form.optional("topic_arn", &mut s.topic_arn);
    form.optional("endpoint", &mut s.endpoint);
    form.optional("ca_file", &mut s.ca_file);
    form.value("through_proxy", &mut s.through_proxy);
}

impl Named for OutletSettings {
    const EXPECTED: &'static str = "1 to 64 letters, digits, _ or -";

    fn named(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_plain = (1..=64).contains(&name.len()) && name.bytes().all(fits);
        is_plain.then(|| Self::named(name))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// What outlets lack, or cannot be.
pub(super) fn outlets(settings: &Settings) -> Vec<Problem> {
    let signs = !matches!(settings.upstream.credentials, CredentialSettings::Bearer(_));
    let mut problems = Vec::new();
    for outlet in &settings.alerts.outlets {
        let mut report = |key: &str, what: &str, mend: &str| {
            let path = format!("alerts.outlets.{}.{key}", outlet.name);
            problems.push(Problem::new(&path, what, mend));
        };
        if let Err(invalid) = Outlet::new(outlet) {
            report(invalid.key, invalid.what, invalid.mend);
        }
        if outlet.kind == OutletKind::Sns && !signs {
            let what = "a Bedrock API key signs nothing, and SNS needs a signature";
            report("kind", what, "use a profile, a role or an access key");
        }
        if let Some(file) = &outlet.ca_file
            && let Err(cause) = std::fs::File::open(file)
        {
            let what = format!("the file {} cannot be read: {cause}", file.display());
            report("ca_file", &what, "create it, or let this process read it");
        }
    }
    problems
}

/// Outlets that are named and do not exist.
pub(super) fn named_outlets(settings: &Settings) -> Vec<Problem> {
    let alerts = &settings.alerts;
    let is_known = |name: &str| alerts.outlets.iter().any(|outlet| outlet.name == name);
    let default = alerts.default_outlets.iter().map(|name| {
        let path = "alerts.default_outlets".to_owned();
        (path, &**name)
    });
    let of_budgets = settings.budgets.iter().flat_map(|budget| {
        let path = format!("budgets.{}.outlets", budget.name);
        budget
            .outlets
            .iter()
            .map(move |name| (path.clone(), &**name))
    });
    default
        .chain(of_budgets)
        .filter(|(_, name)| !is_known(name))
        .map(|(path, name)| {
            Problem::new(
                &path,
                format!("there is no outlet {name}"),
                format!("add [alerts.outlets.{name}], or name another"),
            )
        })
        .collect()
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);
const TEN_YEARS: Duration = Duration::from_hours(3_653 * 24);
