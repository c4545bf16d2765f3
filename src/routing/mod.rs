//! What is being called: method and raw path in, operation and model id out.
//!
//! This room reads text only; it knows nothing of callers, hosts or configuration.

mod base_path;
mod error;
mod named;
mod operation;
mod region;
mod route;

pub use crate::domain::BasePath;
pub use error::{Malformed, RoutingError};
pub use named::{Named, named};
pub use region::claimed_region;
pub use route::{Route, route};
