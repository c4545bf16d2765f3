//! The other end of a client connection, as it is known before any request.

use std::net::IpAddr;
use std::sync::Arc;

use super::names::{CertificateName, names};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; behind a balancer that sends the PROXY protocol, the balancer's client.
    pub address: IpAddr,
    /// The certificate that TLS verified, where it showed one.
    pub certificate: Option<ClientCertificate>,
}

impl From<IpAddr> for Peer {
    /// A peer without a certificate.
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            certificate: None,
        }
    }
}

/// A client's certificate that was verified, as far as it matters: its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub(super) names: Arc<[CertificateName]>,
}

impl ClientCertificate {
    /// Reads the names of a certificate in DER that was verified. It may have none.
    pub fn read(certificate: &[u8]) -> Self {
        Self {
            names: names(certificate).into(),
        }
    }

    /// Its names.
    pub fn names(&self) -> &[CertificateName] {
        &self.names
    }
}
