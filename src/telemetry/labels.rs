//! The guard of label values: one tenant's junk must not cost another tenant its series.
//!
//! Two limits. *Names*: each tenant may add so many applications and so many models, and the
//! process so many tenants, that the configuration does not name; what comes later is `other`.
//! *Series*: within a family a tenant may hold as many series as are still free. One tenant
//! alone stops at half of the family, a second at half of the rest, so that whoever comes next
//! finds room. Names that the configuration or the price catalogue knows pass both limits, as
//! they are bounded by themselves. Refused names are not remembered: memory is bounded too.

use std::collections::HashMap;
use std::sync::Arc;

use super::Settings;
use crate::domain::{ApplicationId, TenantId};

/// The label value in place of a refused one.
pub(super) const OTHER: &str = "other";
/// The tenant of callers that proved nothing.
pub(super) const UNPROVEN: &str = "unproven";
/// Longer names are refused, as a model id is whatever a client wrote. The longest ARN of the
/// Bedrock service model that names a model has about 200 characters.
const NAME_BYTES_MAX: usize = 256;
/// Series of a family for each tenant that is not configured, when all come: the default limit
/// of 20,000 series leaves room for 1,000 such tenants with a small workload each.
const SERIES_PER_TENANT: usize = 20;

/// The names that the configuration lists: always admitted.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    /// Each tenant with its applications.
    pub tenants: Vec<(TenantId, Vec<ApplicationId>)>,
}

/// The names of one kind in one scope.
#[derive(Debug, Default)]
struct Names {
    /// Each name, and whether it counts towards the quota.
    admitted: HashMap<Arc<str>, Origin>,
    added: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Known,
    Added,
}

impl Names {
    fn know(&mut self, name: &str) {
        self.admitted.insert(name.into(), Origin::Known);
    }

    /// The shared text of an admitted name; admits it when the quota has room.
    fn admit(&mut self, name: &str, quota: usize) -> Option<(Arc<str>, Origin)> {
        if let Some((admitted, origin)) = self.admitted.get_key_value(name) {
            return Some((Arc::clone(admitted), *origin));
        }
        if self.added >= quota || name.len() > NAME_BYTES_MAX {
            return None;
        }
        self.added = self.added.saturating_add(1);
        let name: Arc<str> = name.into();
        self.admitted.insert(Arc::clone(&name), Origin::Added);
        Some((name, Origin::Added))
    }
}

/// The label values of a call, after the guard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    pub(super) tenant: Arc<str>,
    pub(super) application: Arc<str>,
    pub(super) model: Arc<str>,
}

/// What the guard made of a call's names.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) labels: Labels,
    /// All names are known beforehand: their series are not limited.
    pub(super) known: bool,
    /// Which names were replaced: `tenant`, `application`, `model`.
    pub(super) replaced: [Option<&'static str>; 3],
}

#[derive(Debug, Default)]
struct Tenant {
    applications: Names,
    models: Names,
}

/// Admits names.
#[derive(Debug)]
pub(super) struct Guard {
    /// Applications, and models, that each tenant may add.
    quota: usize,
    /// Tenants that the process may add.
    tenants_max: usize,
    tenants: Names,
    of_tenant: HashMap<Arc<str>, Tenant>,
    other: Arc<str>,
}

impl Guard {
    pub(super) fn new(settings: &Settings, known: &KnownNames) -> Self {
        let mut guard = Self {
            quota: settings.names_per_tenant_max,
            tenants_max: settings.series_per_family_max.div_euclid(SERIES_PER_TENANT),
            tenants: Names::default(),
            of_tenant: HashMap::new(),
            other: OTHER.into(),
        };
        guard.tenants.know(OTHER);
        guard.know(known);
        guard
    }

    /// Admits these names always.
    pub(super) fn know(&mut self, known: &KnownNames) {
        for (tenant, applications) in &known.tenants {
            self.tenants.know(tenant.as_str());
            let of_tenant = self.of_tenant.entry(tenant.as_str().into()).or_default();
            for application in applications {
                of_tenant.applications.know(application.as_str());
            }
        }
    }

    /// The label value for a tenant.
    pub(super) fn tenant(&mut self, tenant: &TenantId) -> Arc<str> {
        let admitted = self.tenants.admit(tenant.as_str(), self.tenants_max);
        admitted.map_or_else(|| Arc::clone(&self.other), |(name, _)| name)
    }

    /// The label values for a tenant's application, and whether both are known beforehand.
    pub(super) fn application(
        &mut self,
        tenant: &TenantId,
        application: &ApplicationId,
    ) -> (Arc<str>, Arc<str>, bool) {
        let tenant = self.tenants.admit(tenant.as_str(), self.tenants_max);
        let (tenant, tenant_origin) = self.or_other(tenant);
        let names = self.of_tenant.entry(Arc::clone(&tenant)).or_default();
        let application = names.applications.admit(application.as_str(), self.quota);
        let (application, origin) = self.or_other(application);
        let known = [tenant_origin, origin]
            .iter()
            .all(|origin| *origin == Some(Origin::Known));
        (tenant, application, known)
    }

    /// The label values for a call. A priced model is a real one: it costs no quota.
    pub(super) fn call(
        &mut self,
        tenant: &TenantId,
        application: &ApplicationId,
        model: &str,
        priced: bool,
    ) -> Admitted {
        let tenant = self.tenants.admit(tenant.as_str(), self.tenants_max);
        let (tenant, tenant_origin) = self.or_other(tenant);
        let names = self.of_tenant.entry(Arc::clone(&tenant)).or_default();
        if priced && !names.models.admitted.contains_key(model) {
            names.models.know(model);
        }
        let application = names.applications.admit(application.as_str(), self.quota);
        let model = names.models.admit(model, self.quota);
        let (application, application_origin) = self.or_other(application);
        let (model, model_origin) = self.or_other(model);
        let origins = [tenant_origin, application_origin, model_origin];
        let replaced = |origin: Option<Origin>, kind| origin.is_none().then_some(kind);
        Admitted {
            known: origins.iter().all(|origin| *origin == Some(Origin::Known)),
            replaced: [
                replaced(tenant_origin, "tenant"),
                replaced(application_origin, "application"),
                replaced(model_origin, "model"),
            ],
            labels: Labels {
                tenant,
                application,
                model,
            },
        }
    }

    fn or_other(&self, admitted: Option<(Arc<str>, Origin)>) -> (Arc<str>, Option<Origin>) {
        match admitted {
            Some((name, origin)) => (name, Some(origin)),
            None => (Arc::clone(&self.other), None),
        }
    }
}

/// The series of one family, shared out among tenants.
#[derive(Debug)]
pub(super) struct Budget {
    free: usize,
    held: HashMap<Arc<str>, usize>,
}

impl Budget {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            free: series_max,
            held: HashMap::new(),
        }
    }

    /// Takes one series for a tenant, when it holds fewer than are free.
    pub(super) fn take(&mut self, tenant: &Arc<str>) -> bool {
        let held = self.held.get(tenant).copied().unwrap_or(0);
        if held >= self.free {
            return false;
        }
        self.free = self.free.saturating_sub(1);
        self.held.insert(Arc::clone(tenant), held.saturating_add(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard_of(names_per_tenant_max: usize, known: &KnownNames) -> Guard {
        let settings = Settings {
            series_per_family_max: 40,
            names_per_tenant_max,
            ..Settings::default()
        };
        Guard::new(&settings, known)
    }

    fn call(guard: &mut Guard, tenant: &str, application: &str, model: &str) -> [String; 3] {
        let tenant = TenantId::new(tenant).unwrap();
        let application = ApplicationId::new(application).unwrap();
        let labels = guard.call(&tenant, &application, model, false).labels;
        [labels.tenant, labels.application, labels.model].map(|label| label.to_string())
    }

    #[test]
    fn a_million_junk_names_cost_another_tenant_nothing_and_are_forgotten() {
        let mut guard = guard_of(200, &KnownNames::default());
        for junk in 0..1_000_000 {
            let model = format!("junk.{junk}");
            call(&mut guard, "noisy", &format!("junk-{junk}"), &model);
        }
        let names = &guard.of_tenant["noisy"];
        assert_eq!(names.applications.admitted.len(), 200);
        assert_eq!(names.models.admitted.len(), 200);
        let quiet = call(&mut guard, "quiet", "new", "amazon.titan");
        assert_eq!(quiet, ["quiet", "new", "amazon.titan"]);
        assert_eq!(
            call(&mut guard, "noisy", "late", "late"),
            ["noisy", "other", "other"]
        );
        assert_eq!(
            call(&mut guard, "noisy", "junk-7", "junk.7"),
            ["noisy", "junk-7", "junk.7"]
        );
    }

    #[test]
    fn configured_names_are_admitted_after_any_number_of_junk_tenants() {
        let team = TenantId::new("team").unwrap();
        let known = KnownNames {
            tenants: vec![(team, vec![ApplicationId::new("app").unwrap()])],
        };
        let mut guard = guard_of(2, &known);
        for junk in 0..10 {
            call(&mut guard, &format!("junk-{junk}"), "a", "m");
        }
        assert_eq!(call(&mut guard, "junk-9", "a", "m"), ["other", "a", "m"]);
        for junk in 0..10 {
            call(&mut guard, "team", &format!("junk-{junk}"), "m");
        }
        assert_eq!(call(&mut guard, "team", "app", "m"), ["team", "app", "m"]);
        assert_eq!(
            call(&mut guard, "team", "junk-9", "m"),
            ["team", "other", "m"]
        );
    }

    #[test]
    fn priced_models_cost_no_quota_and_long_names_are_refused() {
        let mut guard = guard_of(0, &KnownNames::default());
        let tenant = TenantId::new("t").unwrap();
        let application = ApplicationId::new("a").unwrap();
        assert_eq!(
            &*guard.call(&tenant, &application, "m", true).labels.model,
            "m"
        );
        assert_eq!(
            &*guard.call(&tenant, &application, "n", false).labels.model,
            "other"
        );
        let mut guard = guard_of(9, &KnownNames::default());
        let long = "m".repeat(257);
        assert_eq!(
            &*guard.call(&tenant, &application, &long, false).labels.model,
            "other"
        );
    }

    #[test]
    fn greedy_tenants_always_leave_room_for_the_next() {
        let mut budget = Budget::new(1000);
        let mut taken = Vec::new();
        for tenant in ["first", "second", "third", "fourth"] {
            let tenant = Arc::from(tenant);
            taken.push((0..5000).filter(|_| budget.take(&tenant)).count());
        }
        assert_eq!(taken, [500, 250, 125, 63]);
        assert!(budget.take(&"late".into()));
    }
}
