//! Who may see what: bearer tokens, compared in constant time.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;

use super::Settings;
use super::role::{Login, Role};
use crate::domain::Secret;

/// The tokens, and whether a page without a token may be shown.
#[derive(Clone, Debug)]
pub(super) struct Access {
    tokens: Vec<(Secret, Login)>,
    metrics_token: Option<Secret>,
    /// Whether whoever comes over loopback is an admin.
    open: bool,
}

impl Access {
    pub(super) fn new(settings: &Settings, listening: IpAddr) -> Self {
        let admin = settings.token.iter().map(|token| {
            let login = admin("token:admin");
            (token.clone(), login)
        });
        let named = settings.tokens.iter().filter_map(|named| {
            let login = Login {
                actor: format!("token:{}", named.name),
                role: named.role,
                tenant: named.tenant.clone(),
            };
            Some((named.token.clone()?, login))
        });
        let tokens: Vec<_> = admin.chain(named).collect();
        let loopback = listening.to_canonical().is_loopback();
        Self {
            open: loopback && tokens.is_empty() && !settings.login.is_on(),
            metrics_token: settings.metrics_token.clone(),
            tokens,
        }
    }

    /// Who shows these headers. Without any token or login of people, whoever comes over loopback is
    /// an admin, and nobody elsewhere.
    pub(super) fn login(&self, headers: &HeaderMap) -> Option<Login> {
        if self.open {
            return names_this_machine(headers).then(|| admin("loopback"));
        }
        let shown = bearer(headers);
        // Every token is compared, so that the time does not tell which one was near.
        let compare = |found, (token, login)| {
            if matches(token, shown) {
                Some(login)
            } else {
                found
            }
        };
        let tokens = self.tokens.iter().map(|(token, login)| (token, login));
        tokens.fold(None, compare).cloned()
    }

    /// Who shows these headers before the metrics, which may have a token of their own: it shuts
    /// them on loopback too.
    pub(super) fn metrics(&self, headers: &HeaderMap) -> Option<Login> {
        let Some(token) = &self.metrics_token else {
            return self.login(headers);
        };
        let scraper = matches(token, bearer(headers)).then(|| admin("token:metrics"));
        let others = if self.open { None } else { self.login(headers) };
        scraper.or(others)
    }
}

fn admin(actor: &str) -> Login {
    Login {
        actor: actor.to_owned(),
        role: Role::Admin,
        tenant: None,
    }
}

/// Whether a request without a token was meant for an address or for `localhost`. A page of
/// another site that has its name point to loopback is so kept from reading here (DNS rebinding).
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok())
    else {
        return false;
    };
    let name = authority.host();
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

pub(super) fn bearer(headers: &HeaderMap) -> &[u8] {
    let value = headers
        .get(AUTHORIZATION)
        .map_or(&[][..], |value| value.as_bytes());
    match value.split_at_checked(b"bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        Some(_) | None => &[],
    }
}

fn matches(token: &Secret, shown: &[u8]) -> bool {
    let token = token.as_str().as_bytes();
    !token.is_empty() && verify_slices_are_equal(token, shown).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::TokenSettings;
    use std::net::Ipv4Addr;

    const OFF: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn check(listening: IpAddr, tokens: [&str; 2], shown: &str, admin: bool, metrics: bool) {
        let [token, metrics_token] = tokens.map(|t| (!t.is_empty()).then(|| Secret::new(t)));
        let settings = Settings {
            token,
            metrics_token,
            ..Settings::default()
        };
        let access = Access::new(&settings, listening);
        let mut headers = HeaderMap::new();
        if !shown.is_empty() {
            headers.insert(AUTHORIZATION, shown.parse().unwrap());
        }
        let row = format!("{listening} {tokens:?} {shown:?}");
        let login = access.login(&headers);
        assert_eq!(login.is_some(), admin, "{row}");
        assert_eq!(access.metrics(&headers).is_some(), metrics, "{row}");
    }

    #[test]
    fn a_name_that_points_to_loopback_opens_nothing_without_a_token() {
        let access = |token: Option<&str>| {
            let settings = Settings {
                token: token.map(Secret::new),
                ..Settings::default()
            };
            Access::new(&settings, LOOPBACK)
        };
        let asks = |host: &str, token: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            headers.insert(AUTHORIZATION, "Bearer t".parse().unwrap());
            access(token).login(&headers).is_some()
        };
        for host in [
            "127.0.0.1:8081",
            "[::1]:8081",
            "localhost",
            "LOCALHOST.:1",
            "10.1.2.3",
        ] {
            assert!(asks(host, None), "{host}");
        }
        for host in [
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "a b",
        ] {
            assert!(!asks(host, None), "{host}");
            assert!(asks(host, Some("t")), "{host}");
        }
    }

    #[test]
    fn where_people_log_in_loopback_is_not_open() {
        let mut settings = Settings::default();
        settings.login.issuer = Some("https://login.example".to_owned());
        let access = Access::new(&settings, LOOPBACK);
        assert_eq!(access.login(&HeaderMap::new()), None);
        assert_eq!(access.metrics(&HeaderMap::new()), None);
    }

    #[test]
    fn each_token_logs_in_as_what_the_settings_name() {
        let named = |name: &str, role, tenant: Option<&str>| TokenSettings {
            name: name.to_owned(),
            token: Some(Secret::new(&format!("{name}-token"))),
            role,
            tenant: tenant.map(|name| name.parse().unwrap()),
        };
        let settings = Settings {
            tokens: vec![
                named("lead", Role::TeamLead, Some("acme")),
                named("money", Role::Finance, None),
            ],
            ..Settings::default()
        };
        let access = Access::new(&settings, LOOPBACK);
        let login = |shown: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, shown.parse().unwrap());
            access.login(&headers)
        };
        let lead = login("Bearer lead-token").unwrap();
        assert_eq!(
            (lead.actor.as_str(), lead.role),
            ("token:lead", Role::TeamLead)
        );
        assert_eq!(lead.tenant.unwrap().as_str(), "acme");
        assert_eq!(login("Bearer money-token").unwrap().role, Role::Finance);
        assert!(login("Bearer lead-toke").is_none());
        assert!(
            access.login(&HeaderMap::new()).is_none(),
            "a token is demanded now"
        );
    }

    #[test]
    fn doors_open_to_their_tokens_only() {
        check(LOOPBACK, ["", ""], "", true, true);
        check(OFF, ["", ""], "", false, false);
        check(OFF, ["", ""], "Bearer ", false, false);
        check(OFF, ["a", ""], "Bearer a", true, true);
        check(OFF, ["a", ""], "bearer a", true, true);
        check(OFF, ["a", ""], "Bearer b", false, false);
        check(OFF, ["a", ""], "Basic a", false, false);
        check(OFF, ["a", ""], "a", false, false);
        check(OFF, ["a", "m"], "Bearer m", false, true);
        check(OFF, ["a", "m"], "Bearer a", true, true);
        check(OFF, ["", "m"], "Bearer m", false, true);
        check(LOOPBACK, ["a", ""], "", false, false);
        check(LOOPBACK, ["", "m"], "", true, false);
        check(
            "::ffff:127.0.0.1".parse().unwrap(),
            ["", ""],
            "",
            true,
            true,
        );
    }
}
