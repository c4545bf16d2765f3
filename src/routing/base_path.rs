//! Takes the base path off a raw path. It does not judge what the parts name.

use super::error::Malformed;
use super::route::decode;
use crate::domain::{ApplicationId, BasePath, InvalidName, Region, TenantId};

/// Splits a raw path into its base path and the raw rest. The parts may come in any order, each
/// once: Bedrock's own paths begin with none of their keywords.
pub(super) fn split(raw_path: &str) -> Result<(BasePath, &str), Malformed> {
    let mut base = BasePath::default();
    let mut rest = raw_path;
    while let Some(after) = take_part(&mut base, rest)? {
        rest = single_slash(after);
    }
    Ok((base, rest))
}

fn take_part<'a>(base: &mut BasePath, path: &'a str) -> Result<Option<&'a str>, Malformed> {
    let (keyword, after) = first_segment(path);
    match keyword {
        "tenant" => take_name("tenant", after, &mut base.tenant, TenantId::new),
        "application" => take_name(
            "application",
            after,
            &mut base.application,
            ApplicationId::new,
        ),
        "region" => take_name("region", after, &mut base.region, Region::new),
        "mantle" if base.mantle => Err(Malformed::RepeatedPart("mantle")),
        "mantle" => {
            base.mantle = true;
            Ok(Some(after))
        }
        _ => Ok(None),
    }
}

fn take_name<'a, T>(
    keyword: &'static str,
    path: &'a str,
    slot: &mut Option<T>,
    parse: fn(&str) -> Result<T, InvalidName>,
) -> Result<Option<&'a str>, Malformed> {
    let (raw_name, after) = first_segment(path);
    let name = parse(&decode(raw_name)?)?;
    if slot.replace(name).is_some() {
        return Err(Malformed::RepeatedPart(keyword));
    }
    Ok(Some(after))
}

/// The first segment without its slash, and the rest with its own.
fn first_segment(path: &str) -> (&str, &str) {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let end = inner.find('/').unwrap_or(inner.len());
    inner.split_at_checked(end).unwrap_or((inner, ""))
}

/// Clients that join a base URL with a trailing slash and a path send `//` between them.
fn single_slash(mut path: &str) -> &str {
    while path.starts_with("//") {
        path = path.strip_prefix('/').unwrap_or_default();
    }
    path
}
