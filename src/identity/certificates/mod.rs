//! Client certificates: whose names they hold, and which tenant a name belongs to.
//!
//! Nothing here judges a certificate. That it is genuine was found out before: by TLS, from the
//! authorities of `listener.tls.client_ca_file`, or by a hop that is trusted to say so.

mod forwarded;
mod names;
mod peer;
mod rules;

pub use names::CertificateName;
pub use peer::{ClientCertificate, Peer};
pub use rules::{CertificateCaller, CertificateRule, Certificates};
