//! Has every model that the account can call a price here and now?

use std::collections::BTreeSet;

use super::finding::Finding;
use super::visit::Patient;
use crate::aws::parse_model_ref;
use crate::pricing::Selection;

const CHECK: &str = "prices";

pub(super) fn check(patient: &Patient<'_>, callable: &BTreeSet<String>) -> Finding {
    let unpriced: Vec<String> = callable
        .iter()
        .filter(|id| !is_priced(patient, id))
        .cloned()
        .collect();
    let priced = callable.len().saturating_sub(unpriced.len());
    let seen = format!(
        "{priced} of {} callable models have a price",
        callable.len()
    );
    if unpriced.is_empty() {
        return Finding::ok(CHECK, seen);
    }
    let mend = "calls of the others are metered and marked unpriced: update the program or \
                prices.catalogue_file, say in [prices.models] what they cost, or refuse them with \
                when.price_unknown = \"refuse\"";
    Finding::warning(CHECK, seen, mend).with_details(unpriced)
}

/// Whether the catalogue has a rate of this model for this region now.
pub(super) fn is_priced(patient: &Patient<'_>, id: &str) -> bool {
    let model = parse_model_ref(id);
    if patient.catalogue.model_id(&model).is_none() {
        return false;
    }
    let selection = Selection {
        model: Some(&model),
        region: Some(&patient.region),
        at: Some(patient.clock.now()),
    };
    patient.catalogue.list(&selection).next().is_some()
}
