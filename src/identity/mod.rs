//! Who is calling: claims in, a principal or a refusal out.
//!
//! This room reads heads, addresses and small facts of a request; it knows nothing of models,
//! prices or the way upstream.

mod settings;

pub use settings::{
    HeaderNames, IdentityUnknown, Mode, OnContradiction, Settings, TenantSettings, UserPolicy,
};
