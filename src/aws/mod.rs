//! Facts of AWS: signatures, error shapes, hosts. Pure: no connection, no clock.

mod endpoint;
mod error_body;
mod sigv4;

pub use endpoint::{Plane, public_url};
pub use error_body::{ERROR_TYPE, REQUEST_ID, error_class, error_response};
pub use sigv4::{Credentials, Scope, Signable, Signer, hex};
