//! Runs one target under libFuzzer; BEDROCK_METER_FUZZ_TARGET names it.

#![no_main]

use std::sync::LazyLock;

#[path = "../targets/mod.rs"]
mod targets;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("BEDROCK_METER_FUZZ_TARGET").expect("names a target");
    let mut targets = targets::TARGETS.iter();
    targets
        .find(|target| target.name == name)
        .expect("a target of that name")
        .run
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
