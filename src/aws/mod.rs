//! Facts of AWS: names and identifiers, signatures, error shapes, hosts. Pure: no connection, no
//! clock, no configuration.

mod arn;
mod endpoint;
mod error_body;
mod model_ref;
mod sigv4;
mod verify;

pub use arn::Arn;
pub use endpoint::{Plane, public_url, sns_url, sts_url};
pub use error_body::{ERROR_TYPE, REQUEST_ID, error_class, error_response};
pub use model_ref::parse_model_ref;
pub use sigv4::{Credentials, Scope, Signable, Signer, hex};
pub use verify::{Arrived, MalformedSignature, SignedHead, verify};
