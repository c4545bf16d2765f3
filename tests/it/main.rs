//! The one integration binary: what is true of the whole product, seen from outside.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod quote;
mod quote_oracle;
