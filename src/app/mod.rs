//! The running process: listeners, workers, wiring, shutdown.

mod acceptor;
mod alerts;
mod books;
mod callers;
mod collector;
mod connection;
mod door;
mod follow;
mod issuer_keys;
mod key_source;
mod keyring;
mod leases;
mod outlets;
mod pages;
mod prefixed;
mod pseudonym_key;
mod reload;
mod server;
mod shared;
mod stall;
mod sums;
mod takers;
mod tls;
mod worker;

pub use alerts::{LogPlace, TestedOutlet, test_alert};
pub use follow::Load;
pub use keyring::{client_url, master_keys, open_registry};
pub use server::Server;
