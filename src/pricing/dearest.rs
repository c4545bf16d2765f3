//! The most that a call can cost before it is sent: its bounds at the dearest rates that may come
//! to apply to it.

use super::catalogue::Catalogue;
use super::charge::is_paid_by_capacity;
use super::matching::{Matching, Terms};
use crate::domain::{Dimension, Latency, ServiceTier, Timestamp, UnpricedReason, Usage, Usd};

/// What a call uses at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Tokens of the prompt, whatever class each turns into.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// The request writes a cache: its tokens may cost a cache write.
    pub writes_cache: bool,
    /// The request asks for the latency-optimised mode, which may be served or not.
    pub asks_latency: bool,
    /// Units that stand in the request.
    pub units: &'a Usage,
}

impl Catalogue {
    /// The most that a call within these bounds can cost. The tier that was asked for may not be
    /// the one that is served: standard counts too.
    ///
    /// # Errors
    /// Why it has no price, where no tier has one.
    pub fn dearest(&self, terms: &Terms<'_>, bounds: &Bounds<'_>) -> Result<Usd, UnpricedReason> {
        if is_paid_by_capacity(terms) {
            return Ok(Usd::ZERO);
        }
        let latencies: &[Latency] = if bounds.asks_latency {
            &[Latency::Standard, Latency::Optimized]
        } else {
            &[Latency::Standard]
        };
        let mut dearest = Err(UnpricedReason::UnknownModel);
        let standard = &ServiceTier::Standard;
        let other = Some(standard).filter(|standard| *standard != terms.tier);
        for tier in std::iter::once(terms.tier).chain(other) {
            for latency in latencies {
                let terms = Terms {
                    tier,
                    latency: *latency,
                    ..*terms
                };
                dearest = match (dearest, self.most(&terms, bounds)) {
                    (Ok(one), Ok(other)) => Ok(one.max(other)),
                    (Ok(known), Err(_)) | (Err(_), Ok(known)) => Ok(known),
                    (Err(_), Err(reason)) => Err(reason),
                };
            }
        }
        dearest
    }

    /// What a call within these bounds would cost at the dearest token rates of any model: for one
    /// whose own price is not known.
    pub fn dearest_of_all(&self, bounds: &Bounds<'_>, at: Timestamp) -> Usd {
        let in_force = self.rates().filter(|(_, sheet, _)| sheet.in_force(at));
        let mut most = [Usd::ZERO; 2];
        for (_, _, rate) in in_force {
            let is_output = rate.dimension == Dimension::OutputTokens;
            let place = most.get_mut(usize::from(is_output));
            if let Some(place) = place.filter(|_| rate.dimension.is_tokens()) {
                *place = (*place).max(rate.rate.per_unit);
            }
        }
        let [input, output] = most;
        let input = input.checked_mul(bounds.prompt_tokens).unwrap_or_default();
        let output = output.checked_mul(bounds.output_tokens).unwrap_or_default();
        input.saturating_add(output)
    }

    fn most(&self, terms: &Terms<'_>, bounds: &Bounds<'_>) -> Result<Usd, UnpricedReason> {
        let asked = self.substitute(terms.model);
        let base = asked.base.as_deref();
        let base = base.ok_or(UnpricedReason::UnresolvedModel)?;
        let model = self.model_named(base).ok_or(UnpricedReason::UnknownModel)?;
        let prompt = bounds.prompt_tokens;
        let matching = Matching::new(self, model, &asked.geography, *terms, prompt);
        let cost = |dimension: &Dimension, quantity: u64| {
            let rate = matching.rate(dimension)?;
            Some(
                rate.per_unit
                    .checked_mul(quantity)
                    .ok_or(UnpricedReason::OutOfRange),
            )
        };
        let needed = |dimension: &Dimension, quantity: u64| {
            if quantity == 0 {
                return Ok(Usd::ZERO);
            }
            cost(dimension, quantity).unwrap_or_else(|| Err(matching.reason(dimension)))
        };
        let mut input = needed(&Dimension::InputTokens, prompt)?;
        let writes: &[Dimension] = if bounds.writes_cache { &WRITES } else { &[] };
        for class in CLASSES.iter().chain(writes) {
            // A class without a rate is one that the model does not have.
            input = input.max(cost(class, prompt).unwrap_or(Ok(Usd::ZERO))?);
        }
        let mut total =
            input.saturating_add(needed(&Dimension::OutputTokens, bounds.output_tokens)?);
        for (unit, quantity) in bounds.units.iter() {
            total = total.saturating_add(needed(unit, quantity)?);
        }
        Ok(total)
    }
}

/// What any prompt may turn into: caches that a model keeps by itself.
const CLASSES: [Dimension; 2] = [Dimension::CacheReadTokens, Dimension::CacheWrite30mTokens];
/// What a prompt may turn into that says where to cache.
const WRITES: [Dimension; 2] = [Dimension::CacheWrite5mTokens, Dimension::CacheWrite1hTokens];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Capacity, Geography, ModelRef, Region};
    use crate::pricing::Endpoint;

    fn model(base: &str) -> ModelRef {
        ModelRef {
            asked: base.into(),
            base: Some(base.into()),
            geography: Geography::Global,
            capacity: Capacity::OnDemand,
        }
    }

    const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

    fn terms<'a>(model: &'a ModelRef, region: &'a Region, tier: &'a ServiceTier) -> Terms<'a> {
        Terms {
            model,
            region,
            tier,
            latency: Latency::Standard,
            endpoint: Endpoint::Runtime,
            at: "2026-11-01".parse().unwrap(),
        }
    }

    fn check(base: &str, prompt: u64, output: u64, writes_cache: bool, expected: &str) {
        let catalogue = Catalogue::embedded().unwrap();
        let (model, region) = (model(base), Region::new("us-east-1").unwrap());
        let bounds = Bounds {
            prompt_tokens: prompt,
            output_tokens: output,
            writes_cache,
            asks_latency: false,
            units: &Usage::none(),
        };
        let most = catalogue.dearest(&terms(&model, &region, &ServiceTier::Standard), &bounds);
        let most = most.map_or_else(|reason| reason.name().to_owned(), |most| most.to_string());
        assert_eq!(most, expected);
    }

    #[test]
    fn bounds_cost_their_dearest_class() {
        // Sonnet 4.5, global: input 3, output 15, cache write 1h 6 per million.
        check(SONNET, 1_000, 100, false, "0.0045");
        check(SONNET, 1_000, 100, true, "0.0075");
        // Above 200,000 tokens: input 6, output 22.5, cache write 1h 12.
        check(SONNET, 200_001, 0, false, "1.200006");
        check("no.model", 1, 1, false, "unknown_model");
    }

    proptest! {
        /// However the tokens within the bounds turn out, the call costs no more.
        #[test]
        fn nothing_within_the_bounds_costs_more(
            parts in prop::collection::vec(0_u64..300_000, 5),
            output in 0_u64..100_000,
            more in 0_u64..1_000,
        ) {
            let catalogue = Catalogue::embedded().unwrap();
            let (model, region) = (model(SONNET), Region::new("us-east-1").unwrap());
            let classes = [
                Dimension::InputTokens, Dimension::CacheReadTokens, Dimension::CacheWrite5mTokens,
                Dimension::CacheWrite1hTokens,
            ];
            let prompt: u64 = parts[..4].iter().sum();
            let used = classes.into_iter().zip(parts).chain([(Dimension::OutputTokens, output)]);
            let used: Usage = used.collect();
            let terms = terms(&model, &region, &ServiceTier::Standard);
            let bounds = Bounds {
                prompt_tokens: prompt.saturating_add(more),
                output_tokens: output.saturating_add(more),
                writes_cache: true,
                asks_latency: false,
                units: &Usage::none(),
            };
            let cost = catalogue.charge(&terms, &used).total.unwrap();
            prop_assert!(cost <= catalogue.dearest(&terms, &bounds).unwrap());
        }
    }
}
