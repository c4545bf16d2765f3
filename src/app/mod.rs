//! The running process: listeners, workers, wiring, shutdown.

mod acceptor;
mod connection;
mod pages;
mod prefixed;
mod pseudonym_key;
mod server;
mod stall;
mod sums;
mod tls;
mod worker;

pub use server::Server;
