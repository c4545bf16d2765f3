//! The PROXY protocol's header: what is whole stays whole, and nothing is waited for without end.

use bedrock_meter::identity::{ProxyHeader, parse_proxy_v2};

/// Above the longest header that is taken.
const WAITED_FOR_MAX: usize = 5_000;

pub(super) fn run(data: &[u8]) {
    let parsed = parse_proxy_v2(data);
    match parsed {
        ProxyHeader::Incomplete => assert!(data.len() < WAITED_FOR_MAX),
        ProxyHeader::Invalid => {}
        ProxyHeader::Complete {
            source: _,
            consumed,
        } => {
            let (header, _rest) = data.split_at(consumed);
            assert_eq!(
                parse_proxy_v2(header),
                parsed,
                "what follows does not matter"
            );
            for end in 0..consumed {
                assert_eq!(
                    parse_proxy_v2(&header[..end]),
                    ProxyHeader::Incomplete,
                    "{end}"
                );
            }
        }
    }
}
