//! Which sheets of a model apply to a call, and if none does, why not.

use super::catalogue::{Catalogue, Model};
use super::sheet::{Endpoint, PricedRegion, Sheet};
use crate::domain::{
    Dimension, Geography, Latency, ModelRef, Rate, Region, ServiceTier, Timestamp, UnpricedReason,
};

/// What a call's rates depend on, besides its usage.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The model that was asked for, or that a prompt router says it invoked.
    pub model: &'a ModelRef,
    /// The region that the request was sent to (not where it was processed).
    pub region: &'a Region,
    /// The tier that was served; what was asked for where the answer does not say.
    pub tier: &'a ServiceTier,
    /// The latency mode that was served.
    pub latency: Latency,
    /// The endpoint family.
    pub endpoint: Endpoint,
    /// The instant the call was admitted.
    pub at: Timestamp,
}

/// The terms of one call in the catalogue's own numbers.
pub(super) struct Matching<'a> {
    model: &'a Model,
    terms: Terms<'a>,
    geography: &'a Geography,
    region: Option<PricedRegion>,
    tier: Option<usize>,
    /// Prompts of more tokens than this; 0 is the plain band.
    band: u64,
}

impl<'a> Matching<'a> {
    pub(super) fn new(
        catalogue: &'a Catalogue,
        model: &'a Model,
        geography: &'a Geography,
        terms: Terms<'a>,
        prompt_tokens: u64,
    ) -> Self {
        let mut matching = Self {
            model,
            terms,
            geography,
            region: catalogue.region(terms.region),
            tier: None,
            band: 0,
        };
        matching.tier = matching.tier_at(catalogue);
        matching.band = matching.band_of(prompt_tokens);
        matching
    }

    /// The rate of a dimension. A unit that is no token (a search, an image) has no context step.
    pub(super) fn rate(&self, dimension: &Dimension) -> Option<&'a Rate> {
        let in_band = self.rate_in(self.band, dimension);
        if in_band.is_some() || dimension.is_tokens() {
            return in_band;
        }
        self.rate_in(0, dimension)
    }

    fn rate_in(&self, band: u64, dimension: &Dimension) -> Option<&'a Rate> {
        let sheets = self.sheets().filter(|sheet| sheet.over == band);
        let mut in_force = sheets.filter(|sheet| sheet.in_force(self.terms.at));
        in_force.find_map(|sheet| sheet.rate(dimension))
    }

    /// The sheets that apply to the call, of every band and date.
    fn sheets(&self) -> impl Iterator<Item = &'a Sheet> {
        let sheets = self.model.sheets.iter();
        sheets.filter(|sheet| {
            self.is_tier(sheet)
                && self.is_region(sheet)
                && self.is_geography(sheet)
                && self.is_endpoint(sheet)
        })
    }

    /// The tier whose sheets apply: once a model's extended access has begun, standard calls
    /// cost its rate, although no answer names that tier.
    fn tier_at(&self, catalogue: &Catalogue) -> Option<usize> {
        let name = tier_name(&self.terms)?;
        if let Some(extended) = extended_access(name).and_then(|name| catalogue.tier(name)) {
            let mut sheets = self.model.sheets.iter();
            let begun = |sheet: &Sheet| {
                sheet.tier == extended && self.is_region(sheet) && sheet.in_force(self.terms.at)
            };
            if sheets.any(begun) {
                return Some(extended);
            }
        }
        catalogue.tier(name)
    }

    /// The highest context step that the prompt passes: strictly more tokens than the step.
    fn band_of(&self, prompt_tokens: u64) -> u64 {
        let steps = self.sheets().map(|sheet| sheet.over);
        steps
            .filter(|over| *over < prompt_tokens)
            .max()
            .unwrap_or(0)
    }

    fn is_tier(&self, sheet: &Sheet) -> bool {
        self.tier == Some(sheet.tier)
    }

    fn is_endpoint(&self, sheet: &Sheet) -> bool {
        sheet
            .endpoint
            .is_none_or(|endpoint| endpoint == self.terms.endpoint)
    }

    fn is_region(&self, sheet: &Sheet) -> bool {
        sheet.place.covers(self.terms.region, self.region)
    }

    fn is_geography(&self, sheet: &Sheet) -> bool {
        match self.geography {
            Geography::Global => sheet.scope.covers_global(),
            Geography::InRegion => sheet.scope.covers_regional(),
            Geography::Profile(prefix) => {
                let elsewhere = &**prefix == "us-gov" && !self.terms.region.is_govcloud();
                sheet.scope.covers_regional() && !elsewhere
            }
        }
    }

    /// Why a dimension has no rate: the first condition that no sheet passes.
    pub(super) fn reason(&self, dimension: &Dimension) -> UnpricedReason {
        let mut left: Vec<&Sheet> = self.model.sheets.iter().collect();
        let mut empty_after = |keep: &dyn Fn(&Sheet) -> bool| {
            left.retain(|sheet| keep(sheet));
            left.is_empty()
        };
        if empty_after(&|sheet| self.is_geography(sheet)) {
            UnpricedReason::NoRateForGeography
        } else if empty_after(&|sheet| self.is_region(sheet)) {
            UnpricedReason::NoRateForRegion
        } else if empty_after(&|sheet| self.is_tier(sheet)) {
            match self.terms.latency {
                Latency::Optimized => UnpricedReason::NoRateForLatency,
                Latency::Standard => UnpricedReason::NoRateForTier,
            }
        } else if empty_after(&|sheet| self.is_endpoint(sheet)) {
            UnpricedReason::NoRateForEndpoint
        } else if empty_after(&|sheet| self.is_in_band(sheet) && sheet.rate(dimension).is_some()) {
            UnpricedReason::NoRateForDimension
        } else {
            UnpricedReason::NoRateAtInstant
        }
    }

    fn is_in_band(&self, sheet: &Sheet) -> bool {
        sheet.over == self.band
    }
}

/// The catalogue's tier of a call. Latency-optimised is listed as a tier of its own, and is not
/// combined with another.
fn tier_name<'a>(terms: &Terms<'a>) -> Option<&'a str> {
    match (terms.latency, terms.tier) {
        (Latency::Standard, tier) => Some(tier.name()),
        (Latency::Optimized, ServiceTier::Standard) => Some(LATENCY_OPTIMIZED),
        (Latency::Optimized, tier) => {
            (tier.name() == LATENCY_OPTIMIZED).then_some(LATENCY_OPTIMIZED)
        }
    }
}

/// The tier that takes the place of another when a model is past its normal end of life.
fn extended_access(tier: &str) -> Option<&'static str> {
    match tier {
        "standard" => Some("extended-access"),
        "batch" => Some("extended-access-batch"),
        _ => None,
    }
}

const LATENCY_OPTIMIZED: &str = "latency-optimized";
