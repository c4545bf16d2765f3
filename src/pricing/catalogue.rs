//! The catalogue in memory: an immutable snapshot, looked up by exact model name.
//!
//! It must not know where a call comes from or when "now" is: the terms say so.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::listing::Source;
use super::sheet::{PricedRegion, Sheet, SheetRate};
use super::{PricingError, Settings, text};
use crate::domain::{ModelRef, Region, Timestamp};

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

    /// Up to when its newest source goes: the first instant of that day or month.
    pub fn as_of(&self) -> Option<Timestamp> {
        let instant = |source: &Source| {
            let date = &*source.as_of;
            date.parse()
                .or_else(|_month| format!("{date}-01").parse())
                .ok()
        };
        self.sources.iter().filter_map(instant).max()
    }

    /// The id under which the catalogue lists this model; `None` where it does not.
    pub fn model_id(&self, model: &ModelRef) -> Option<&Arc<str>> {
        let model = self.substitute(model);
        let found = self.model_named(model.base.as_deref()?)?;
        Some(&found.id)
    }

    /// What the operator said this identifier stands for, or itself.
    pub fn substitute<'a>(&'a self, model: &'a ModelRef) -> &'a ModelRef {
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::{Capacity, Geography};

    /// Stands in for the parser of identifiers: the text is the base.
    fn parse(asked: &str) -> ModelRef {
        ModelRef {
            asked: asked.into(),
            base: Some(asked.into()),
            geography: Geography::InRegion,
            capacity: Capacity::OnDemand,
        }
    }

    fn with_model(asked: &str, priced: &str) -> Settings {
        Settings {
            catalogue_file: None,
            models: [(asked.to_owned(), priced.to_owned())].into(),
        }
    }

    #[test]
    fn every_rate_has_an_id_of_its_own_and_a_source() {
        let catalogue = Catalogue::embedded().unwrap();
        let ids: HashSet<_> = catalogue.rates().map(|(.., rate)| &rate.rate.id).collect();
        assert_eq!(ids.len(), catalogue.rates().count());
        assert!(catalogue.rates().all(|(.., rate)| rate.sources != 0));
    }

    #[test]
    fn an_opaque_identifier_has_the_model_that_the_operator_says() {
        let settings = with_model("profile", "amazon.nova-lite-v1:0");
        let catalogue = Catalogue::open(&settings, parse).unwrap();
        let opaque = ModelRef {
            base: None,
            ..parse("profile")
        };
        let id = catalogue.model_id(&opaque).unwrap();
        assert_eq!(&**id, "amazon.nova-lite-v1:0");
        assert_eq!(catalogue.model_id(&parse("other")), None);
    }

    #[test]
    fn an_identifier_cannot_have_the_price_of_nothing() {
        let opened = Catalogue::open(&with_model("profile", "no.model"), parse);
        assert!(matches!(
            opened,
            Err(PricingError::UnknownPricedModel { .. })
        ));
    }

    #[test]
    fn a_catalogue_that_is_not_there_is_an_error_with_its_path() {
        let missing = Catalogue::load(Path::new("no/such/file")).unwrap_err();
        let said = "cannot read the price catalogue no/such/file";
        assert_eq!(missing.to_string(), said);
    }

    #[test]
    fn the_embedded_catalogue_can_also_be_loaded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let loaded = Catalogue::load(&root.join("config/prices/catalogue.txt")).unwrap();
        assert_eq!(loaded.version(), Catalogue::embedded().unwrap().version());
    }
}
