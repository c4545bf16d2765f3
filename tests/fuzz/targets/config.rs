//! Configuration files: every text is settings or problems, and settings print as what they are.

use bedrock_meter::config::{explain, parse};

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Keys that name files are read; a fuzzer may name a device.
    if text.contains("file") || text.contains("/dev") {
        return;
    }
    let environment = |name: &str| (name == "SET").then(|| "value".repeat(8));
    match parse(text, &environment) {
        Err(problems) => assert!(!problems.0.is_empty()),
        Ok(settings) => {
            let printed = explain(&settings);
            // A masked secret is no secret any more.
            if printed.contains("***") {
                return;
            }
            let again = parse(&printed, &environment).unwrap();
            assert_eq!(explain(&again), printed);
        }
    }
}
