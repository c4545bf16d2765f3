//! The running process: listeners, workers, wiring, shutdown.

mod acceptor;
mod connection;
mod pages;
mod prefixed;
mod pseudonym_key;
mod server;
mod tls;
mod worker;

pub use server::Server;
