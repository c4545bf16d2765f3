//! From a call's names to its labels and series: (tenant, application, model) is a subject.
//!
//! A call whose names were met before costs two look-ups. The guard and the limits of
//! [`super::labels`] are asked for new names only, and for refused ones each time, as those are
//! not remembered.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use prometheus::IntCounterVec;

use super::Settings;
use super::counting::{NONE, Series};
use super::labels::{Budget, Guard, KnownNames, Labels, OTHER};
use crate::domain::{ApplicationId, Entry, Geography, ModelRef, PriceStatus, TenantId};

/// One (tenant, application, model) after the guard.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) labels: Labels,
    /// All of the labels are known beforehand.
    pub(super) known: bool,
    pub(super) series: Series,
}

/// What of a model makes its label, so that all spellings with one label are one key.
#[derive(Debug, PartialEq, Eq)]
struct ModelKey {
    name: Arc<str>,
    geography: Option<Geography>,
}

impl ModelKey {
    fn of(model: &ModelRef) -> Self {
        let (name, geography) = Self::parts(model);
        Self {
            name: Arc::clone(name),
            geography: geography.cloned(),
        }
    }

    fn parts(model: &ModelRef) -> (&Arc<str>, Option<&Geography>) {
        match &model.base {
            Some(base) => (base, Some(&model.geography)),
            None => (&model.asked, None),
        }
    }

    fn fits(&self, model: &ModelRef) -> bool {
        (&self.name, self.geography.as_ref()) == Self::parts(model)
    }
}

/// The subjects of an application by model: few, so a list.
type ByModel = Vec<(Option<ModelKey>, usize)>;

/// All subjects.
#[derive(Debug)]
pub(super) struct Subjects {
    pub(super) guard: Guard,
    budget: Budget,
    all: Vec<Subject>,
    by_labels: HashMap<Labels, usize>,
    /// Only calls of which no name was replaced: as bounded as the guard.
    by_names: HashMap<TenantId, HashMap<ApplicationId, ByModel>>,
    overflow: IntCounterVec,
    other: Arc<str>,
}

impl Subjects {
    pub(super) fn new(settings: &Settings, known: &KnownNames, overflow: IntCounterVec) -> Self {
        Self {
            guard: Guard::new(settings, known),
            budget: Budget::new(settings.series_per_family_max),
            all: Vec::new(),
            by_labels: HashMap::new(),
            by_names: HashMap::new(),
            overflow,
            other: OTHER.into(),
        }
    }

    /// The subject of a call; always there.
    pub(super) fn of(&mut self, entry: &Entry) -> Option<&mut Subject> {
        let place = self.met(entry).unwrap_or_else(|| self.admit(entry));
        self.all.get_mut(place)
    }

    fn met(&self, entry: &Entry) -> Option<usize> {
        let models = self.by_names.get(&entry.tenant)?.get(&entry.application)?;
        let fits = |key: &Option<ModelKey>| match (key, &entry.model) {
            (Some(key), Some(model)) => key.fits(model),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        models
            .iter()
            .find(|(key, _)| fits(key))
            .map(|(_, place)| *place)
    }

    fn admit(&mut self, entry: &Entry) -> usize {
        let model = entry
            .model
            .as_ref()
            .map_or(Cow::Borrowed(NONE), ModelRef::label);
        let admitted = self
            .guard
            .call(&entry.tenant, &entry.application, &model, is_real(entry));
        for replaced in admitted.replaced.into_iter().flatten() {
            self.overflow.with_label_values(&[replaced]).inc();
        }
        let mut labels = admitted.labels;
        let fits = admitted.known
            || self.by_labels.contains_key(&labels)
            || self.budget.take(&labels.tenant);
        if !fits {
            self.overflow.with_label_values(&["series"]).inc();
            labels.application = Arc::clone(&self.other);
            labels.model = Arc::clone(&self.other);
        }
        let place = self.place(labels, admitted.known);
        if fits && admitted.replaced.iter().all(Option::is_none) {
            self.remember(entry, place);
        }
        place
    }

    fn place(&mut self, labels: Labels, known: bool) -> usize {
        if let Some(place) = self.by_labels.get(&labels) {
            return *place;
        }
        let place = self.all.len();
        self.by_labels.insert(labels.clone(), place);
        self.all.push(Subject {
            labels,
            known,
            series: Series::default(),
        });
        place
    }

    fn remember(&mut self, entry: &Entry, place: usize) {
        let applications = self.by_names.entry(entry.tenant.clone()).or_default();
        let models = applications.entry(entry.application.clone()).or_default();
        models.push((entry.model.as_ref().map(ModelKey::of), place));
    }
}

/// Whether the model is one that the price catalogue knows. A charge without lines is priced
/// too (a call that Bedrock refused costs nothing), whatever the client wrote as its model.
fn is_real(entry: &Entry) -> bool {
    let charged = entry.charge.status == PriceStatus::Priced && !entry.charge.lines.is_empty();
    charged || entry.model.is_none()
}
