//! A stand-in for the Amazon Bedrock runtime, for tests, `simulate` and `demo`.
//!
//! It is a witness: it imports no room of ours, so that it cannot share our mistakes. It checks
//! signatures with the AWS crate, encodes streams with the AWS crate, and writes down what it
//! served and would bill, one JSON line per request, by `x-amzn-requestid`.
//!
//! # Scripting an answer
//!
//! Without a script the answer is drawn from the seed and the number of the request. The request
//! header `x-simulate` holds a comma list of these; a word that is not here is refused with 400.
//!
//! | word | effect |
//! |---|---|
//! | `input=N` `output=N` `cache-read=N` | token counts reported and billed |
//! | `cache-write-5m=N` `cache-write-1h=N` `cache-write-30m=N` | cache writes, where the family has them |
//! | `tier=NAME` | the service tier served (otherwise the one asked for) |
//! | `response-bytes=N` | bytes of generated text |
//! | `frames=N` | content frames of a stream |
//! | `frame-delay-ms=N` | pause before each write of a stream after the first |
//! | `delay-head-ms=N` | pause before the response head (any operation) |
//! | `write=frame` | one frame per write (the default) |
//! | `write=whole` | the stream in one write |
//! | `write=many` | writes of seeded sizes: several frames, cut at awkward places |
//! | `write=split:N` | writes of N bytes |
//! | `status=N` `status=N:Class` | refuse with that status (and error class; any operation) |
//! | `exception-after=N` `exception-after=N:class` | exception frame after N frames (`throttlingException`); a plain body is refused with 429 |
//! | `reset-before-head` | close without an answer (any operation) |
//! | `reset-after=N` | close (or reset the HTTP/2 stream) after N frames, or bytes of a plain body |
//! | `stall-after=N` | the same point, but stay open and silent |
//! | `no-usage` | leave out every count |
//! | `garbage-after=N` | after N frames, bytes that are no frame |
//! | `bad-crc-at=N` | the last checksum of frame N (from 0) is wrong |
//! | `huge-length-at=N` | frame N announces 2 GiB under a valid prelude checksum |
//! | `short-body` | the announced length is larger than the plain body |
//!
//! # What is billed
//!
//! A generation is billed in full as soon as it is accepted, whether or not the client stays: so
//! does Bedrock. A refusal bills nothing; a stream that ends in an exception frame bills nothing
//! here (Bedrock does not document it).

mod answer;
mod bill;
mod bodies;
mod control;
mod draws;
mod exchange;
mod family;
mod frames;
mod generate;
mod heads;
mod operation;
mod plain_operations;
mod refusal;
mod request;
mod scenario;
mod server;
mod sessions;
mod signature;
mod streams;
pub mod traffic;
mod usage;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use control::{InvalidRefusal, RefusedAction};
pub use server::{Running, start};

/// How the simulator runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Where to append the bill, one JSON line per request.
    pub bill_log: Option<PathBuf>,
    /// Whether to check signatures; `false` accepts any caller.
    pub verify: bool,
    /// The one access key that may call.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The one Bedrock API key that may call, as `Authorization: Bearer`.
    pub bearer_key: String,
    /// The regions that a signature may be scoped to; empty accepts any.
    pub regions: Vec<String>,
    /// Of 100 generations, how many fail in a way that is drawn.
    pub faults_percent: u8,
    /// Pause before each response head.
    pub think_time: Duration,
    /// How far the simulator's clock is ahead of the machine's, in seconds.
    pub clock_skew_seconds: i64,
    /// How long the sessions of assumed roles last, whatever is asked for.
    pub session_seconds: Option<u32>,
    /// Which actions are always refused, and how.
    pub refused: Vec<RefusedAction>,
    /// A model that is not offered here: its id, without a profile's prefix.
    pub absent_models: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            bill_log: None,
            verify: true,
            access_key_id: "AKIASIMULATOREXAMPLE".to_owned(),
            secret_access_key: "simulator/secret/EXAMPLEKEY".to_owned(),
            bearer_key: "ABSKsimulatorEXAMPLE".to_owned(),
            regions: Vec::new(),
            faults_percent: 0,
            think_time: Duration::ZERO,
            clock_skew_seconds: 0,
            session_seconds: None,
            refused: Vec::new(),
            absent_models: Vec::new(),
        }
    }
}

/// Why the simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// The bill cannot be appended to.
    #[error("cannot open the bill log {}: {cause}", path.display())]
    BillLog {
        /// The file asked for.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}
