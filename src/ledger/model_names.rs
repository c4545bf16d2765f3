//! The words of records for where a model is called and how it is paid for.

use crate::domain::{Capacity, Geography};

/// The geography whose [`Geography::name`] this is.
pub(super) fn geography_of(name: &str) -> Geography {
    match name {
        "in-region" => Geography::InRegion,
        "global" => Geography::Global,
        prefix => Geography::Profile(prefix.into()),
    }
}

/// The word of a capacity. Never changed: records on disk have it.
pub(super) const fn capacity_name(capacity: Capacity) -> &'static str {
    match capacity {
        Capacity::OnDemand => "on_demand",
        Capacity::Provisioned => "provisioned",
        Capacity::CustomOnDemand => "custom_on_demand",
        Capacity::Imported => "imported",
        Capacity::Marketplace => "marketplace",
    }
}

/// The capacity of a word, if this version knows it.
pub(super) fn capacity_of(name: &str) -> Option<Capacity> {
    let all = [
        Capacity::OnDemand,
        Capacity::Provisioned,
        Capacity::CustomOnDemand,
        Capacity::Imported,
        Capacity::Marketplace,
    ];
    all.into_iter()
        .find(|capacity| capacity_name(*capacity) == name)
}
