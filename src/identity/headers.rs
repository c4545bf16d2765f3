//! Reads the tenancy headers. It does not judge whether their sender may say so.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use super::error::{Claim, IdentityError};
use crate::domain::InvalidName;

/// The one value that the headers of these names carry.
///
/// # Errors
/// When more than one of them is there: which one a hop meant cannot be told.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    names: &[HeaderName],
    claim: Claim,
) -> Result<Option<Cow<'a, str>>, IdentityError> {
    let mut values = names.iter().flat_map(|name| headers.get_all(name));
    let first = values.next();
    match values.next() {
        Some(_) => Err(IdentityError::Ambiguous { claim }),
        None => Ok(first.map(|value| String::from_utf8_lossy(value.as_bytes()))),
    }
}

/// The one name that the headers of these names carry.
///
/// # Errors
/// As [`single`], and when the name is invalid.
pub(super) fn single_name<T>(
    headers: &HeaderMap,
    names: &[HeaderName],
    claim: Claim,
    parse: fn(&str) -> Result<T, InvalidName>,
) -> Result<Option<T>, IdentityError> {
    let value = single(headers, names, claim)?;
    let name = value.as_deref().map(parse).transpose();
    name.map_err(|cause| IdentityError::InvalidName { claim, cause })
}

/// Whether any header of these names is there.
pub(super) fn any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    names.iter().any(|name| headers.contains_key(name))
}
