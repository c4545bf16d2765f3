//! bedrock-meter: a token-metering reverse proxy in front of Amazon Bedrock.
//!
//! The rooms, in rank order: a room imports only rooms of lower rank. ARCHITECTURE.md has the
//! table and the reasons; `tests/it/architecture.rs` holds it.

pub mod domain;

pub mod aws;
pub mod codec;
pub mod registry;
pub mod telemetry;

pub mod alerts;
pub mod budgets;
pub mod identity;
pub mod ledger;
pub mod limits;
pub mod meters;
pub mod pricing;
pub mod relay;
pub mod replicas;
pub mod routing;
pub mod upstream;

pub mod doctor;
pub mod plan;
pub mod proxy;
pub mod report;
pub mod simulator;

pub mod admin;
pub mod config;

pub mod app;
pub mod cli;
