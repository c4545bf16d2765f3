//! The running process: listeners, workers, wiring, shutdown.

mod acceptor;
mod collector;
mod connection;
mod outlets;
mod pages;
mod prefixed;
mod pseudonym_key;
mod server;
mod stall;
mod tls;
mod worker;

pub use server::Server;
