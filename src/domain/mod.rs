//! The vocabulary every room shares: plain values with checked arithmetic.
//!
//! This room knows nothing of HTTP, files, clocks of the system or other rooms, and holds no
//! floating-point number.

#![deny(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::integer_division
)]

mod base_path;
mod call;
mod charge;
mod clock;
mod entry;
mod glob;
mod ids;
mod keyword;
mod model;
mod money;
mod places;
mod rates;
mod scope;
mod secret;
mod shared;
mod standing;
mod time;
mod usage;

pub use base_path::BasePath;
pub use call::{Operation, Outcome};
pub use charge::{Charge, ChargeLine, PriceStatus, Rate, UnpricedReason};
pub use clock::{Clock, ManualClock, SystemClock};
pub use entry::Entry;
pub use glob::Glob;
pub use ids::{ApplicationId, CallId, InvalidName, ReplicaId, TenantId};
pub use keyword::Keyword;
pub(crate) use keyword::keywords;
pub use model::{Capacity, Geography, Latency, ModelRef, Region, ServiceTier};
pub use money::{InvalidUsd, Usd};
pub use places::{SharedPlace, SharedPlaceWant, SharedPlaces};
pub use rates::{
    SharedLot, SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates, SharedSaid, SharedShare,
    SharedWants,
};
pub use scope::{Facet, Scope, Subject};
pub use secret::Secret;
pub use shared::{SharedBook, SharedCounter, SharedHolds, SharedLate, SharedPosition, SharedWant};
pub use standing::BudgetStanding;
pub use time::{InvalidTimestamp, Timestamp};
pub use usage::{Dimension, Reading, Usage, UsageReason, UsageSource};
