//! Which limits somebody's calls are held to, as configured: for callers who ask.

use super::settings::LimitSettings;
use super::table::Limits;
use crate::domain::{Facet, Subject};

impl Limits {
    /// The limits that calls of these facets are held to, whatever their model; without a
    /// session, those of any.
    pub fn met_by(&self, subject: &Subject<'_>) -> Vec<LimitSettings> {
        let limits = self.settings();
        let meets = |limit: &LimitSettings| {
            let mut facets = limit.scope.facets.iter();
            facets.all(|(facet, pattern)| match (facet, facet.of(subject)) {
                (Facet::Model, _) | (Facet::Session, None) => true,
                (_, said) => said.is_some_and(|said| pattern.matches(said)),
            })
        };
        limits.into_iter().filter(meets).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{ManualClock, TenantId};

    #[test]
    fn a_caller_is_met_by_limits_for_it_and_for_all_and_by_no_other_s() {
        let text = "[limits.all]\nrequests_per_minute = 9\n\
                    [limits.keys]\nkey = \"*\"\nrequests_per_minute = 9\n\
                    [limits.opus]\nmodel = \"*opus*\"\ntokens_per_minute = 9\n\
                    [limits.runs]\nsession = \"*\"\nconcurrent_calls = 1\n\
                    [limits.sales]\ntenant = \"sales\"\nrequests_per_minute = 9\n\
                    [limits.teams]\ntenant = \"*\"\nrequests_per_minute = 9";
        let settings = crate::config::parse(text, &|_| None).unwrap().limits;
        let limits = Limits::new(&settings, Arc::new(ManualClock::default()));
        let search = TenantId::new("search").unwrap();
        let subject = Subject {
            tenant: &search,
            application: "web",
            model: None,
            key: None,
            user: None,
            session: None,
        };
        let met = limits.met_by(&subject);
        let names: Vec<_> = met.iter().map(|limit| limit.name.as_str()).collect();
        assert_eq!(names, ["all", "opus", "runs", "teams"]);
    }
}
