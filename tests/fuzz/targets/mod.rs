//! What is fuzzed: readers of bytes that others wrote. Each target takes any bytes and panics when
//! a promise is broken; `tests/fuzz/corpus/NAME/` holds its seeds.
//!
//! `tests/it/fuzz.rs` runs all of them over the seeds and seeded mutations, `scripts/soak` under
//! libFuzzer.

mod config;
mod eventstream;
mod json;
mod jwt;
mod meter;
mod model_ref;
mod named;
mod proxy_header;
mod request_facts;
mod route;
mod signature;

/// A reader and the promises it is held to.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

pub(crate) const TARGETS: [Target; 11] = [
    target("config", config::run),
    target("eventstream", eventstream::run),
    target("json", json::run),
    target("jwt", jwt::run),
    target("meter", meter::run),
    target("model_ref", model_ref::run),
    target("named", named::run),
    target("proxy_header", proxy_header::run),
    target("request_facts", request_facts::run),
    target("route", route::run),
    target("signature", signature::run),
];

/// The bytes in pieces whose sizes the first byte decides, and all of them.
fn pieces(data: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let (size, bytes) = data.split_first().unwrap_or((&0, data));
    (bytes.chunks(usize::from(*size % 32) + 1), bytes)
}
