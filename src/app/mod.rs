//! The running process: listeners, workers, wiring, shutdown.

mod acceptor;
mod collector;
mod connection;
mod door;
mod follow;
mod outlets;
mod pages;
mod prefixed;
mod pseudonym_key;
mod reload;
mod server;
mod stall;
mod sums;
mod takers;
mod tls;
mod worker;

pub use follow::Load;
pub use server::Server;
