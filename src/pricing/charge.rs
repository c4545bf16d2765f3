//! Usage and terms to a charge: each quantity above zero times its rate, exact, or no price.

use super::catalogue::Catalogue;
use super::matching::{Matching, Terms};
use crate::domain::{Capacity, Charge, ChargeLine, Dimension, ServiceTier, UnpricedReason, Usage};

impl Catalogue {
    /// What this usage costs under these terms.
    ///
    /// Priced only when every quantity above zero has a rate: a part of a price is no price.
    pub fn charge(&self, terms: &Terms<'_>, usage: &Usage) -> Charge {
        if is_paid_by_capacity(terms) {
            return Charge::allocated();
        }
        match self.lines(terms, usage) {
            Ok(lines) => Charge::of(lines),
            Err(reason) => Charge::unpriced(reason),
        }
    }

    fn lines(&self, terms: &Terms<'_>, usage: &Usage) -> Result<Vec<ChargeLine>, UnpricedReason> {
        let asked = self.substitute(terms.model);
        let base = asked
            .base
            .as_deref()
            .ok_or(UnpricedReason::UnresolvedModel)?;
        let model = self.model_named(base).ok_or(UnpricedReason::UnknownModel)?;
        if usage.is_none() {
            return Err(UnpricedReason::UsageMissing);
        }
        let prompt = usage.prompt_tokens();
        let matching = Matching::new(self, model, &asked.geography, *terms, prompt);
        let used = usage.iter().filter(|(_, quantity)| *quantity > 0);
        used.map(|(dimension, quantity)| line(&matching, dimension, quantity))
            .collect()
    }
}

/// Provisioned, imported and marketplace capacity and the reserved tier are paid by the hour.
pub(super) fn is_paid_by_capacity(terms: &Terms<'_>) -> bool {
    match terms.model.capacity {
        Capacity::Provisioned | Capacity::Imported | Capacity::Marketplace => true,
        Capacity::OnDemand | Capacity::CustomOnDemand => *terms.tier == ServiceTier::Reserved,
    }
}

fn line(
    matching: &Matching<'_>,
    dimension: &Dimension,
    quantity: u64,
) -> Result<ChargeLine, UnpricedReason> {
    let Some(rate) = matching.rate(dimension) else {
        return Err(matching.reason(dimension));
    };
    let amount = rate.per_unit.checked_mul(quantity);
    Ok(ChargeLine {
        dimension: dimension.clone(),
        quantity,
        rate: rate.clone(),
        amount: amount.ok_or(UnpricedReason::OutOfRange)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Geography, Latency, ModelRef, PriceStatus, Region, Timestamp};
    use crate::pricing::Endpoint;

    fn model(base: Option<&str>, geography: Geography, capacity: Capacity) -> ModelRef {
        ModelRef {
            asked: "asked".into(),
            base: base.map(Into::into),
            geography,
            capacity,
        }
    }

    fn charge(model: &ModelRef, tier: &str, usage: &[(&str, u64)]) -> Charge {
        let catalogue = Catalogue::embedded().unwrap();
        let terms = Terms {
            model,
            region: &Region::new("us-east-1").unwrap(),
            tier: &ServiceTier::from_name(tier),
            latency: Latency::Standard,
            endpoint: Endpoint::Runtime,
            at: "2026-11-01".parse::<Timestamp>().unwrap(),
        };
        let usage = usage
            .iter()
            .map(|(name, quantity)| (Dimension::from_name(name), *quantity))
            .collect();
        catalogue.charge(&terms, &usage)
    }

    fn sonnet() -> ModelRef {
        let base = Some("anthropic.claude-sonnet-4-5-20250929-v1:0");
        model(base, Geography::Global, Capacity::OnDemand)
    }

    #[test]
    fn a_charge_is_the_exact_sum_of_its_lines() {
        // Sonnet 4.5, global: 1,000 x 3.00/1M = 0.003 and 7 x 15.00/1M = 0.000105.
        let usage = [("input_tokens", 1_000), ("output_tokens", 7)];
        let charge = charge(&sonnet(), "default", &usage);
        let amounts: Vec<_> = charge.lines.iter().map(|l| l.amount.to_string()).collect();
        assert_eq!(amounts, ["0.003", "0.000105"]);
        assert_eq!(charge.total.unwrap().to_string(), "0.003105");
    }

    #[test]
    fn nothing_used_costs_nothing_and_needs_no_rate() {
        let charge = charge(&sonnet(), "no-such-tier", &[("flying_carpets", 0)]);
        assert_eq!(charge.status, PriceStatus::Priced);
        assert_eq!((charge.lines.len(), charge.total.unwrap().femto()), (0, 0));
    }

    #[test]
    fn one_dimension_without_a_rate_leaves_the_call_unpriced() {
        let usage = [("input_tokens", 1_000), ("flying_carpets", 1)];
        let expected = Charge::unpriced(UnpricedReason::NoRateForDimension);
        assert_eq!(charge(&sonnet(), "default", &usage), expected);
    }

    #[test]
    fn what_is_paid_by_capacity_is_allocated_whatever_was_used() {
        for capacity in [
            Capacity::Provisioned,
            Capacity::Imported,
            Capacity::Marketplace,
        ] {
            let opaque = model(None, Geography::InRegion, capacity);
            assert_eq!(charge(&opaque, "default", &[]), Charge::allocated());
        }
        let usage = [("input_tokens", 5)];
        assert_eq!(charge(&sonnet(), "reserved", &usage), Charge::allocated());
    }

    #[test]
    fn what_is_unknown_is_unpriced_for_its_own_reason() {
        let opaque = model(None, Geography::InRegion, Capacity::OnDemand);
        let stranger = model(Some("a.b"), Geography::InRegion, Capacity::OnDemand);
        for (model, usage, reason) in [
            (
                &opaque,
                vec![("input_tokens", 1)],
                UnpricedReason::UnresolvedModel,
            ),
            (
                &stranger,
                vec![("input_tokens", 1)],
                UnpricedReason::UnknownModel,
            ),
            (&sonnet(), vec![], UnpricedReason::UsageMissing),
        ] {
            assert_eq!(charge(model, "default", &usage), Charge::unpriced(reason));
        }
    }
}
