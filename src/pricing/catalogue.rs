//! The catalogue in memory: an immutable snapshot, looked up by exact model name.
//!
//! It must not know where a call comes from or when "now" is: the terms say so.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::listing::Source;
use super::sheet::{PricedRegion, Sheet, SheetRate};
use super::{PricingError, Settings, text};
use crate::domain::{ModelRef, Region};

/// All prices with their dates. Immutable: a call pins the snapshot it was admitted under.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) version: Arc<str>,
    pub(super) models: Vec<Model>,
    /// Every name of a model (its id and its spellings on the mantle endpoint) to its number.
    pub(super) names: HashMap<Arc<str>, usize>,
    /// Every region named, to its number.
    pub(super) regions: HashMap<Arc<str>, PricedRegion>,
    /// Tier names; a sheet holds an index into them.
    pub(super) tiers: Vec<Arc<str>>,
    pub(super) sources: Vec<Source>,
    /// The operator's word on identifiers that do not name their model.
    pub(super) substitutes: HashMap<String, ModelRef>,
}

/// A model and its rate sheets.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) id: Arc<str>,
    pub(super) sheets: Vec<Sheet>,
}

impl Catalogue {
    /// The catalogue that is part of the program.
    ///
    /// # Errors
    /// Only if the program was built with a broken catalogue.
    pub fn embedded() -> Result<Self, PricingError> {
        text::read(include_str!("../../config/prices/catalogue.txt"))
    }

    /// The catalogue of a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a catalogue.
    pub fn load(file: &Path) -> Result<Self, PricingError> {
        let text = std::fs::read_to_string(file).map_err(|cause| PricingError::Unreadable {
            file: file.to_owned(),
            cause,
        })?;
        text::read(&text)
    }

    /// The catalogue that the settings name. `parse` reads a model identifier; reading them is
    /// not this room's business.
    ///
    /// # Errors
    /// As [`Self::load`]; also when an identifier is to have the price of an unknown model.
    pub fn open(
        settings: &Settings,
        parse: impl Fn(&str) -> ModelRef,
    ) -> Result<Self, PricingError> {
        let mut catalogue = match &settings.catalogue_file {
            Some(file) => Self::load(file)?,
            None => Self::embedded()?,
        };
        for (asked, priced) in &settings.models {
            let model = parse(priced);
            if catalogue.model_id(&model).is_none() {
                return Err(PricingError::UnknownPricedModel {
                    asked: asked.clone(),
                    priced: priced.clone(),
                });
            }
            catalogue.substitutes.insert(asked.clone(), model);
        }
        Ok(catalogue)
    }

    /// Identifies the content: it changes exactly when a rate or source does.
    pub const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The id under which the catalogue lists this model; `None` where it does not.
    pub fn model_id(&self, model: &ModelRef) -> Option<&Arc<str>> {
        let model = self.substitute(model);
        let found = self.model_named(model.base.as_deref()?)?;
        Some(&found.id)
    }

    /// What the operator said this identifier stands for, or itself.
    pub(super) fn substitute<'a>(&'a self, model: &'a ModelRef) -> &'a ModelRef {
        if self.substitutes.is_empty() {
            return model;
        }
        self.substitutes.get(&*model.asked).unwrap_or(model)
    }

    /// The model of exactly that name.
    pub(super) fn model_named(&self, name: &str) -> Option<&Model> {
        self.models.get(*self.names.get(name)?)
    }

    pub(super) fn region(&self, region: &Region) -> Option<PricedRegion> {
        self.regions.get(region.as_str()).copied()
    }

    pub(super) fn tier(&self, name: &str) -> Option<usize> {
        self.tiers.iter().position(|tier| **tier == *name)
    }

    /// Every rate, with the sheet and the model it belongs to.
    pub(super) fn rates(&self) -> impl Iterator<Item = (&Model, &Sheet, &SheetRate)> {
        let sheets = self
            .models
            .iter()
            .flat_map(|model| model.sheets.iter().map(move |sheet| (model, sheet)));
        sheets.flat_map(|(model, sheet)| sheet.rates.iter().map(move |rate| (model, sheet, rate)))
    }
}
