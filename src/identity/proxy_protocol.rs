//! The PROXY protocol v2 header that a load balancer puts before a connection (section 2.2 of
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>). Whether the peer may send one is decided elsewhere.

use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Addresses, Command, Header, ParseError};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The beginning of a header: read more.
    Incomplete,
    /// No header, or a broken one: close the connection.
    Invalid,
    /// A header.
    Complete {
        /// The client; `None` where the balancer speaks for itself (a health check) or the
        /// client has no IP address: then the connection's peer is the client.
        source: Option<SocketAddr>,
        /// How many bytes the header takes.
        consumed: usize,
    },
}

/// Reads a PROXY protocol v2 header from the first bytes of a connection.
pub fn parse_proxy_v2(bytes: &[u8]) -> ProxyHeader {
    match Header::try_from(bytes) {
        Ok(header) if header.len() > HEADER_BYTES_MAX => ProxyHeader::Invalid,
        Ok(header) => ProxyHeader::Complete {
            source: source(&header),
            consumed: header.len(),
        },
        Err(ParseError::Incomplete(_)) => ProxyHeader::Incomplete,
        Err(ParseError::Partial(_, announced)) if announced <= HEADER_BYTES_MAX => {
            ProxyHeader::Incomplete
        }
        Err(
            ParseError::Partial(..)
            | ParseError::Prefix
            | ParseError::Version(_)
            | ParseError::Command(_)
            | ParseError::AddressFamily(_)
            | ParseError::Protocol(_)
            | ParseError::InvalidAddresses(..)
            | ParseError::InvalidTLV(..)
            | ParseError::Leftovers(_),
        ) => ProxyHeader::Invalid,
    }
}

fn source(header: &Header<'_>) -> Option<SocketAddr> {
    if header.command == Command::Local {
        return None;
    }
    match &header.addresses {
        Addresses::IPv4(v4) => Some((v4.source_address, v4.source_port).into()),
        Addresses::IPv6(v6) => {
            let address = IpAddr::from(v6.source_address).to_canonical();
            Some((address, v6.source_port).into())
        }
        Addresses::Unix(_) | Addresses::Unspecified => None,
    }
}

/// Far above what balancers send (addresses and a few fields), far below the format's 64 KiB:
/// an unproven peer should not make us hold much.
const HEADER_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version_command, family], &length, payload].concat()
    }

    fn v4() -> Vec<u8> {
        header(
            0x21,
            0x11,
            &[198, 51, 100, 7, 10, 0, 0, 1, 0xC3, 0x50, 0x1F, 0x90],
        )
    }

    fn complete(source: Option<&str>, consumed: usize) -> ProxyHeader {
        let source = source.map(|source| source.parse().unwrap());
        ProxyHeader::Complete { source, consumed }
    }

    #[test]
    fn headers_name_the_client() {
        let check = |bytes: &[u8], expected: ProxyHeader| {
            assert_eq!(parse_proxy_v2(bytes), expected, "{bytes:?}");
        };
        check(&v4(), complete(Some("198.51.100.7:50000"), 28));
        let followed = [&v4()[..], b"POST /model"].concat();
        check(&followed, complete(Some("198.51.100.7:50000"), 28));
        let v6 = [
            &[0x20, 1, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
            &[0; 16],
            &[0, 80, 0, 81],
        ]
        .concat();
        check(
            &header(0x21, 0x21, &v6),
            complete(Some("[2001:db8:2::7]:80"), 52),
        );
        let mapped = [
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 9][..],
            &[0; 16],
            &[0, 80, 0, 81],
        ]
        .concat();
        check(
            &header(0x21, 0x21, &mapped),
            complete(Some("10.0.0.9:80"), 52),
        );
        check(&header(0x20, 0x00, &[]), complete(None, 16));
        check(&header(0x21, 0x31, &[0; 216]), complete(None, 232));
    }

    #[test]
    fn other_bytes_are_incomplete_or_invalid() {
        let whole = v4();
        for length in 0..whole.len() {
            assert_eq!(
                parse_proxy_v2(&whole[..length]),
                ProxyHeader::Incomplete,
                "{length}"
            );
        }
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            &header(0x11, 0x11, &[0; 12]),
            &header(0x22, 0x11, &[0; 12]),
            &header(0x21, 0x41, &[0; 12]),
            &header(0x21, 0x13, &[0; 12]),
            &header(0x21, 0x11, &[0; 11]),
            &header(0x21, 0x11, &[0; 5000]),
            &header(0x21, 0x11, &[0; 5000])[..100],
        ] {
            assert_eq!(parse_proxy_v2(bytes), ProxyHeader::Invalid, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            prefix in 0..=SIGNATURE.len(),
            tail in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [&SIGNATURE[..prefix], &tail].concat();
            if let ProxyHeader::Complete { consumed, .. } = parse_proxy_v2(&bytes) {
                prop_assert!(consumed <= bytes.len());
            }
        }
    }
}
