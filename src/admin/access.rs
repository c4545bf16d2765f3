//! Who may see what: bearer tokens, compared in constant time.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;

use super::Settings;
use crate::domain::Secret;

/// What a page needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Health, and the files of the page, which hold no data: no token.
    Open,
    /// `/metrics`: its own token where there is one; the admin token opens it too.
    Metrics,
    /// Everything else: the admin token.
    Admin,
}

/// The tokens, and whether a page without a token may be shown.
#[derive(Clone, Debug)]
pub(super) struct Access {
    token: Option<Secret>,
    metrics_token: Option<Secret>,
    loopback: bool,
}

impl Access {
    pub(super) fn new(settings: &Settings, listening: IpAddr) -> Self {
        Self {
            token: settings.token.clone(),
            metrics_token: settings.metrics_token.clone(),
            loopback: listening.to_canonical().is_loopback(),
        }
    }

    /// Whether a request with these headers may pass. Without any token that could open a door,
    /// it is open on loopback and shut elsewhere.
    pub(super) fn allows(&self, door: Door, headers: &HeaderMap) -> bool {
        let tokens = match door {
            Door::Open => return true,
            Door::Metrics => [self.token.as_ref(), self.metrics_token.as_ref()],
            Door::Admin => [self.token.as_ref(), None],
        };
        let mut tokens = tokens.into_iter().flatten().peekable();
        if tokens.peek().is_none() {
            return self.loopback && names_this_machine(headers);
        }
        let shown = bearer(headers);
        // Every token is compared, so that the time does not tell which one was near.
        tokens.fold(false, |opened, token| opened | matches(token, shown))
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

fn bearer(headers: &HeaderMap) -> &[u8] {
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
        assert!(access.allows(Door::Open, &headers), "{row}");
        assert_eq!(access.allows(Door::Admin, &headers), admin, "{row}");
        assert_eq!(access.allows(Door::Metrics, &headers), metrics, "{row}");
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
            access(token).allows(Door::Admin, &headers)
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
