//! The paths of keys and tenants: which there are, what may be done there, and which right that
//! needs. It does none of it.

use http::Method;
use percent_encoding::percent_decode_str;

use super::role::Right;

/// A path under which keys, tenants or the audit log are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Keys,
    Key(String, KeyAct),
    Tenants,
    Tenant(String),
    TenantAct(String, TenantAct),
    Audit,
}

/// What is done with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAct {
    Rotate,
    Revoke,
    Expire,
    Policy,
}

/// What is done with one tenant, beside describing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TenantAct {
    Suspend,
    Resume,
    Rename,
}

impl Place {
    /// The place of a path below `/api/v1/`. Names in it are percent-encoded.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let place = match (parts.next()?, parts.next(), parts.next()) {
            ("keys", None, None) => Self::Keys,
            ("keys", Some(id), Some(act)) => Self::Key(decoded(id)?, key_act(act)?),
            ("tenants", None, None) => Self::Tenants,
            ("tenants", Some(name), None) => Self::Tenant(decoded(name)?),
            ("tenants", Some(name), Some(act)) => Self::TenantAct(decoded(name)?, tenant_act(act)?),
            ("audit", None, None) => Self::Audit,
            _ => return None,
        };
        parts.next().is_none().then_some(place)
    }

    /// What may be asked of it.
    pub(super) const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Keys => &[Method::GET, Method::HEAD, Method::POST],
            Self::Tenants | Self::Audit => &[Method::GET, Method::HEAD],
            Self::Tenant(_) => &[Method::GET, Method::HEAD, Method::PUT],
            Self::Key(_, KeyAct::Policy) => &[Method::PUT],
            Self::Key(_, KeyAct::Rotate | KeyAct::Revoke | KeyAct::Expire)
            | Self::TenantAct(..) => &[Method::POST],
        }
    }

    /// What whoever reads or writes there must be allowed to do.
    pub(super) const fn right(&self, writes: bool) -> Right {
        match (self, writes) {
            (Self::Keys, false) => Right::Keys,
            (Self::Keys, true) | (Self::Key(_, KeyAct::Rotate | KeyAct::Revoke), _) => {
                Right::IssueKeys
            }
            (Self::Key(_, KeyAct::Expire | KeyAct::Policy), _) => Right::ChangeKeys,
            (Self::Tenants, _) | (Self::Tenant(_), false) => Right::Tenants,
            (Self::Tenant(_), true) | (Self::TenantAct(..), _) => Right::ChangeTenants,
            (Self::Audit, _) => Right::Audit,
        }
    }
}

fn decoded(part: &str) -> Option<String> {
    let text = percent_decode_str(part).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn key_act(word: &str) -> Option<KeyAct> {
    Some(match word {
        "rotate" => KeyAct::Rotate,
        "revoke" => KeyAct::Revoke,
        "expire" => KeyAct::Expire,
        "policy" => KeyAct::Policy,
        _ => return None,
    })
}

fn tenant_act(word: &str) -> Option<TenantAct> {
    Some(match word {
        "suspend" => TenantAct::Suspend,
        "resume" => TenantAct::Resume,
        "rename" => TenantAct::Rename,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_places_and_nothing_else_does() {
        let check = |path: &str, expected: Option<Place>| {
            assert_eq!(Place::of(path), expected, "{path}");
        };
        let id = || "BMAK".to_owned();
        check("keys", Some(Place::Keys));
        check("keys/BMAK/revoke", Some(Place::Key(id(), KeyAct::Revoke)));
        check("keys/BMAK", None);
        check("keys/BMAK/fly", None);
        check("keys/BMAK/revoke/now", None);
        check("tenants/a%2Fb", Some(Place::Tenant("a/b".to_owned())));
        check(
            "tenants/a/rename",
            Some(Place::TenantAct("a".to_owned(), TenantAct::Rename)),
        );
        check("tenants/%ff", None);
        check("audit", Some(Place::Audit));
        check("audit/1", None);
        check("", None);
    }
}
