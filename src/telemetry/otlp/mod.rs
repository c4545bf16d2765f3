//! OTLP: settled calls as spans and as GenAI metrics, encoded. Who sends the bytes is not known
//! here.
//!
//! Messages and field numbers: `open-telemetry/opentelemetry-proto` 1.x. The two requests need a
//! dozen messages, so they are written by hand; the tests read them with the official classes.

mod attributes;
mod genai;
mod resource;
mod span;
mod wire;

pub(super) use genai::GenAi;
pub use resource::Resource;
pub use span::traces_request;
