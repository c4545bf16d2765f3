//! The catalogue for people and programs to read: each rate with its conditions and sources.

use std::sync::Arc;

use super::catalogue::{Catalogue, Model};
use super::sheet::{Endpoint, Place, Scope, Sheet, SheetRate};
use crate::domain::{Dimension, ModelRef, Rate, Region, Timestamp};

/// Where a figure was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its short name; `config/prices/facts.json` says what it is.
    pub name: Arc<str>,
    /// The age of what was read, as the source states it.
    pub as_of: Arc<str>,
}

/// One rate with everything that the catalogue says of it.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    /// The model's id.
    pub model: &'a Arc<str>,
    /// Which ways of asking it covers.
    pub scope: Scope,
    /// The source region, `*` for every commercial one, `us-gov` for every one of GovCloud.
    pub region: &'a str,
    /// The tier.
    pub tier: &'a str,
    /// Covers prompts of more tokens than this.
    pub over: u64,
    /// `None` covers both endpoints.
    pub endpoint: Option<Endpoint>,
    /// First instant in force.
    pub from: Option<Timestamp>,
    /// First instant no longer in force.
    pub until: Option<Timestamp>,
    /// What is counted.
    pub dimension: &'a Dimension,
    /// The rate, with its id.
    pub rate: &'a Rate,
    /// Where the figure was read.
    pub sources: Vec<&'a Source>,
    /// The sources disagree.
    pub disputed: bool,
}

/// Which rates to list; `None` lists all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// A model, in any spelling.
    pub model: Option<&'a ModelRef>,
    /// A source region.
    pub region: Option<&'a Region>,
    /// In force at this instant.
    pub at: Option<Timestamp>,
}

impl Catalogue {
    /// The rates of a selection, in the catalogue's order.
    pub fn list<'a>(&'a self, selection: &'a Selection<'a>) -> impl Iterator<Item = Listing<'a>> {
        let model = selection.model.map(|model| self.model_id(model));
        self.rates()
            .filter(move |(listed, ..)| model.is_none_or(|asked| asked == Some(&listed.id)))
            .filter(|(_, sheet, _)| selection.region.is_none_or(|r| self.covers(sheet, r)))
            .filter(|(_, sheet, _)| selection.at.is_none_or(|at| sheet.in_force(at)))
            .map(|(model, sheet, rate)| self.listing(model, sheet, rate))
    }

    fn listing<'a>(
        &'a self,
        model: &'a Model,
        sheet: &'a Sheet,
        rate: &'a SheetRate,
    ) -> Listing<'a> {
        let is_source =
            |(bit, _): &(u32, &Source)| rate.sources.checked_shr(*bit).unwrap_or(0) & 1 == 1;
        Listing {
            model: &model.id,
            scope: sheet.scope,
            region: self.place_name(sheet.place),
            tier: self.tiers.get(sheet.tier).map_or("", |tier| tier),
            over: sheet.over,
            endpoint: sheet.endpoint,
            from: sheet.from,
            until: sheet.until,
            dimension: &rate.dimension,
            rate: &rate.rate,
            sources: (0_u32..)
                .zip(&self.sources)
                .filter(is_source)
                .map(|(_, s)| s)
                .collect(),
            disputed: rate.disputed,
        }
    }

    fn covers(&self, sheet: &Sheet, region: &Region) -> bool {
        sheet.place.covers(region, self.region(region))
    }

    fn place_name(&self, place: Place) -> &str {
        match place {
            Place::Commercial => "*",
            Place::GovCloud => "us-gov",
            Place::Region(number) => {
                let mut regions = self.regions.iter();
                let found = regions.find(|(_, region)| region.number == number);
                found.map_or("", |(name, _)| name)
            }
        }
    }
}
