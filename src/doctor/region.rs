//! Is the region one that calls may go to, and has it prices?

use super::finding::Finding;
use super::visit::Patient;
use crate::pricing::Selection;

const CHECK: &str = "region";

pub(super) fn check(patient: &Patient<'_>) -> Finding {
    let region = &patient.region;
    if !patient.upstream.regions.contains(region) {
        let seen = format!("{region} is not one of upstream.regions");
        let mend = format!("add \"{region}\" to upstream.regions, or name another with --region");
        return Finding::failed(CHECK, seen, mend);
    }
    let selection = Selection {
        model: None,
        region: Some(region),
        at: Some(patient.clock.now()),
    };
    if patient.catalogue.list(&selection).next().is_none() {
        let seen = format!("{region} has no price in the catalogue");
        let mend = "every call there will be unpriced: update the program or prices.catalogue_file";
        return Finding::warning(CHECK, seen, mend);
    }
    let count = patient.upstream.regions.len();
    Finding::ok(CHECK, format!("{region}, one of {count} configured"))
}
