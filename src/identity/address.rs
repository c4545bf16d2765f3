//! The address of the client behind trusted proxies.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// The client's address: the right-most hop of `X-Forwarded-For` that is no trusted proxy.
///
/// Each proxy appends the address it saw, so only entries to the right of the first untrusted
/// one were written by hops we trust. An entry that is no address ends the search at the hop
/// before it. IPv4 addresses written as IPv6 are read as IPv4.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    for hop in lines.flat_map(hops_from_the_right) {
        if !contains(trusted_proxies, client) {
            return client;
        }
        match hop {
            Some(address) => client = address,
            None => return client,
        }
    }
    client
}

/// Whether an address lies in one of the networks.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn hops_from_the_right(line: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    // Bytes that are no text become an entry that is no address.
    let line = line.to_str().unwrap_or_default();
    line.rsplit(',').map(|entry| parse_hop(entry.trim()))
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`.
fn parse_hop(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().map(|hop| hop.ip()).ok();
    let address: IpAddr = entry.parse().ok().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append("x-forwarded-for", value);
        }
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_hop() {
        let check = |peer: &str, lines: &[&str], expected: &str| {
            assert_eq!(address(peer, lines), expected, "{peer} {lines:?}");
        };
        check("203.0.113.9", &[], "203.0.113.9");
        check("203.0.113.9", &["127.0.0.1"], "203.0.113.9");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check(
            "10.0.0.1",
            &["127.0.0.1, 198.51.100.7, 10.2.3.4"],
            "198.51.100.7",
        );
        check(
            "10.0.0.1",
            &["127.0.0.1", "198.51.100.7 , 10.2.3.4"],
            "198.51.100.7",
        );
        check("10.0.0.1", &["10.0.0.9,10.0.0.8"], "10.0.0.9");
        check("10.0.0.1", &["198.51.100.7:50000"], "198.51.100.7");
        check("10.0.0.1", &["[2001:db8:2::7]:443"], "2001:db8:2::7");
        check("10.0.0.1", &["[2001:db8:2::7]"], "2001:db8:2::7");
        check(
            "10.0.0.1",
            &["2001:db8:2::7, 2001:db8:1::1"],
            "2001:db8:2::7",
        );
        check("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7");
        check("::ffff:203.0.113.9", &["127.0.0.1"], "203.0.113.9");
    }

    #[test]
    fn garbage_ends_at_the_hop_before_it() {
        let check = |lines: &[&str], expected: &str| {
            assert_eq!(address("10.0.0.1", lines), expected, "{lines:?}");
        };
        check(&["127.0.0.1, unknown"], "10.0.0.1");
        check(&["127.0.0.1, unknown, 10.0.0.2"], "10.0.0.2");
        check(&["127.0.0.1,"], "10.0.0.1");
        check(&[""], "10.0.0.1");
        check(&["127.0.0.1", "\u{e9}"], "10.0.0.1");
        check(&["_hidden"], "10.0.0.1");
        check(&["1.2.3.4.5"], "10.0.0.1");
        check(&["[127.0.0.1"], "10.0.0.1");
    }

    proptest! {
        #[test]
        fn a_peer_that_is_no_trusted_proxy_is_the_client(line in "[ -~]{0,60}") {
            prop_assert_eq!(address("203.0.113.9", &[&line]), "203.0.113.9");
        }

        #[test]
        fn what_a_client_prepends_changes_nothing(forged in "[ -~]{0,60}") {
            let line = format!("{forged}, 198.51.100.7, 10.0.0.2");
            prop_assert_eq!(address("10.0.0.1", &[&line]), "198.51.100.7");
        }
    }
}
