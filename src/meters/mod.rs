//! Usage from the bytes of Bedrock's answers, and the fallback where they do not tell.
//!
//! One [`Meter`] watches one answer: its head, then every byte of its body in order, then its end.
//! It does no I/O, reads no clock, knows no price, and never holds back or changes a byte. What it
//! cannot read it reports as missing with the reason, never as zero.

mod answer;
mod asked;
mod asked_max;
mod bound;
mod converse;
mod counts;
mod estimate;
mod families;
mod head;
mod invoke;
mod invoke_stream;
mod meter;
mod request;
mod shapes;
mod tails;
#[cfg(test)]
mod tests;
mod windows;

pub use asked_max::{AskedTokens, asked_tokens};
pub use bound::{CallBound, call_bound};
pub use estimate::{Estimator, Received};
pub use meter::{End, Meter};
pub use request::{RequestFacts, request_facts};
pub use tails::{Learned, Tails};
pub use windows::{Window, WindowRule, Windows};
