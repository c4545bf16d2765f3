//! The one integration binary: what is true of the whole product, seen from outside.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod abort;
mod abuse;
mod abuse_http2;
mod abuse_paths;
mod abuse_slow;
mod architecture;
mod bearer;
mod budgets;
mod client_certificates;
mod doctor;
mod documents;
mod fuzz;
mod golden;
mod left_out;
mod limits;
mod quote;
mod quote_oracle;
mod rate_limits;
mod reload;
mod resumption;
mod roles;
mod streaming;
mod support;
mod upstream;
