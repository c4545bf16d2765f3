//! Facts of AWS, as pure functions: names and identifiers. No I/O and no configuration.

mod arn;
mod model_ref;

pub use arn::Arn;
pub use model_ref::parse_model_ref;
