//! Limits: how fast calls and tokens may come, and how the account's own quota is shared.
//!
//! A call takes from every limit that applies, in one step: all have room, or nothing is taken and
//! the refusal says when it would fit. Tokens are taken at what the call may use and corrected at
//! its end; a call of unknown usage keeps what it took. Nobody waits here, there is no queue.
//!
//! This room knows nothing of HTTP, bodies or files, and holds no lock that all calls share: each
//! counter has its own. `docs/rate-limits.md` says what is promised and why it holds.

#![cfg_attr(
    not(test),
    deny(
        clippy::float_arithmetic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        clippy::integer_division
    )
)]

mod applying;
mod asker;
mod bucket;
mod counter;
mod fair;
mod hold;
mod lack;
mod places;
mod quotas;
mod rates;
mod refused;
mod settings;
#[cfg(test)]
pub(crate) mod simulation;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together;
mod weights;

pub use applying::{Admitted, Applying, Demand};
pub use counter::COUNTERS_MAX;
pub use hold::Hold;
pub use rates::Rates;
pub use refused::{Refused, What};
pub use settings::{AccountSettings, LimitMode, LimitSettings, Settings};
pub use table::{LimitUse, Limits};
