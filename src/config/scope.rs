//! The keys that say whom a budget or a limit is for.

use super::form::Form;
use crate::domain::{Facet, Scope};

/// A key for each facet, and those whose star makes one counter.
pub(super) fn scope<F: Form>(form: &mut F, scope: &mut Scope) {
    let mut facets = Vec::new();
    for facet in Facet::EVERY {
        let named = scope.facets.iter().find(|(known, _)| *known == facet);
        let mut pattern = named.map(|(_, pattern)| pattern.clone());
        form.optional(facet.word(), &mut pattern);
        facets.extend(pattern.map(|pattern| (facet, pattern)));
    }
    scope.facets = facets;
    form.list("shared", &mut scope.shared);
}
