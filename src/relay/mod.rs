//! Bodies on their way through: gathered on the way in, merged on the way out, headers filtered.
//!
//! This room touches no byte of a body and knows nothing of what the bytes mean.

mod gather;
mod head;
mod headers;
mod merge;
mod settings;

pub use gather::{GatherError, GatherLimits, Gathered, discard, gather};
pub use head::{HeadError, check_head};
pub use headers::{
    DROPPED_ANSWER_HEADERS, DROPPED_REQUEST_HEADERS, RequestHeaderFilter, filter_answer,
};
pub use merge::{Frames, Merged, Next, poll_merged};
pub use settings::{DrainSettings, OnClientDisconnect};
