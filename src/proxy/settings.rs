//! The data listener, its limits and its end (`[listener]`, `[when]`, `[shutdown]`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::keywords;

/// The data listener and what it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Says in words that callers nobody can prove may reach it from other machines.
    pub allow_unproven_callers_off_loopback: bool,
    /// Load balancers whose `X-Forwarded-For` or PROXY header is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections of trusted proxies begin with a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// The most client connections at once.
    pub connections_max: usize,
    /// The most connections at once of one client address.
    pub connections_per_peer_max: usize,
    /// The most bytes of a request head.
    pub header_bytes_max: usize,
    /// The most bytes of a request body.
    pub body_bytes_max: usize,
    /// The most bytes of request bodies held in memory at once, over all calls.
    pub gathered_bytes_max: usize,
    /// Limit for the first bytes of a connection (PROXY header, TLS handshake, h2 preface).
    pub preface_timeout: Duration,
    /// Limit for a complete request head.
    pub header_timeout: Duration,
    /// The longest silence in mid-body; a whole body may take it and a second for each 1,000 bytes.
    pub body_timeout: Duration,
    /// The longest that a client may take nothing, or next to nothing, of an answer.
    pub stall_timeout: Duration,
    /// The most calls in flight; also the length of the settlement queue.
    pub calls_in_flight_max: usize,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// Certificate and key; absent: clear text.
    pub tls: Option<TlsSettings>,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            allow_unproven_callers_off_loopback: false,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            connections_max: 10_000,
            connections_per_peer_max: 1_000,
            header_bytes_max: 64 * 1024,
            // The limit of InvokeModel in the Bedrock service model.
            body_bytes_max: 25_000_000,
            gathered_bytes_max: 512 * 1024 * 1024,
            preface_timeout: Duration::from_secs(10),
            // An idle connection ends with it too: longer than load balancers keep theirs (ALB: 60 s).
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_mins(1),
            stall_timeout: Duration::from_mins(5),
            calls_in_flight_max: 4_096,
            workers: 0,
            tls: None,
        }
    }
}

/// The listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with the certificate chain, the listener's own first.
    pub certificate_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
    /// The certificates of clients.
    pub clients: TlsClientSettings,
}

/// Whether clients show certificates, and whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClientSettings {
    /// Whether they are asked for one.
    pub certificates: ClientCertificates,
    /// PEM file with the authorities that may have signed it; present where one is asked for.
    pub ca_file: Option<PathBuf>,
}

keywords!(
    /// Whether clients are asked for a certificate.
    ClientCertificates {
        /// They are not asked.
        Off = "off",
        /// They may show one; one that does not verify ends the handshake.
        Optional = "optional",
        /// Without one the handshake ends.
        Required = "required",
    }
);

/// What happens to a call when something it needs is unknown or full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhenSettings {
    /// The model has no price.
    pub price_unknown: PriceUnknown,
    /// The ledger and its spill can take no more entries.
    pub ledger_full: LedgerFull,
}

keywords!(
    /// What happens to a call whose model has no price.
    PriceUnknown {
        /// It passes, and its entry is `unpriced`.
        Allow = "allow",
        /// It is refused.
        Refuse = "refuse",
        /// It passes, and budgets hold the price of the dearest model for it.
        ReserveHigh = "reserve-high",
    }
);

keywords!(
    /// What happens to new calls when the ledger can take no more entries.
    LedgerFull {
        /// They are refused; to let them pass would lose their entries.
        Refuse = "refuse",
    }
);

/// The end of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// How long new calls are still accepted after the signal, unready already.
    pub drain_delay: Duration,
    /// How long calls in flight may take after that.
    pub drain_timeout: Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_mins(15),
        }
    }
}
