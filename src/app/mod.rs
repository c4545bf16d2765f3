//! The running process: listeners, workers, wiring, shutdown.

mod acceptor;
mod callers;
mod collector;
mod connection;
mod follow;
mod keyring;
mod outlets;
mod pages;
mod prefixed;
mod pseudonym_key;
mod reload;
mod server;
mod stall;
mod sums;
mod tls;
mod worker;

pub use follow::Load;
pub use keyring::{client_url, master_keys, open_registry};
pub use server::Server;
