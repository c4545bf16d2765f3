//! What `cargo test` alone leaves out, said aloud: those tests need Python, Node or Prometheus.

use std::io::Write as _;
use std::path::Path;

/// Says something even where the test harness keeps what tests print to itself.
pub(crate) fn say(text: &str) {
    let line = format!("{text}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn scripts_test_runs_what_cargo_test_leaves_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(root.join("scripts/test")).unwrap();
    let mut left_out = vec![
        "tests/bill_test.py".to_owned(),
        "tests/panels.py".to_owned(),
        "tests/deploy.py".to_owned(),
        "tests/alerts.py".to_owned(),
        "tests/page/suite_page.py".to_owned(),
        "tests/grafana/check.mjs".to_owned(),
    ];
    for entry in std::fs::read_dir(root.join("tests/sdk")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(suite) = name
            .strip_prefix("suite_")
            .and_then(|n| n.strip_suffix(".py"))
        {
            left_out.push(suite.to_owned());
        }
    }
    assert!(left_out.len() > 2, "the SDK suites are in tests/sdk");
    for name in &left_out {
        assert!(
            script.contains(name.as_str()),
            "scripts/test does not run {name}"
        );
    }
    say(&format!(
        "left out of cargo test, run by scripts/test: {}",
        left_out.join(", ")
    ));
}
