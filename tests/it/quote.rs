//! `prices quote --stdin` against `tests/quote/cases.ndjson`: cases of every pricing rule whose
//! amounts were worked out by hand, with the sum written out in `why`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

/// Runs the program on these lines and returns its exit code and its lines.
fn quote(lines: String) -> (i32, Vec<Value>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bedrock-meter"))
        .args(["prices", "quote", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    (done.status.code().unwrap(), lines.collect())
}

fn cases() -> Vec<Value> {
    let text = include_str!("../quote/cases.ndjson");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The prices of the lines by dimension, as the case states them.
fn prices(answer: &Value) -> Value {
    let lines = answer["lines"].as_array().unwrap();
    let pair = |line: &Value| {
        let dimension = line["dimension"].as_str().unwrap().to_owned();
        (dimension, line["price_usd"].clone())
    };
    Value::Object(lines.iter().map(pair).collect())
}

#[test]
fn every_hand_computed_case_is_quoted_to_the_last_digit() {
    let cases = cases();
    let asked = cases.iter().map(|case| format!("{}\n", case["ask"]));
    let (code, answers) = quote(asked.collect());
    assert_eq!((code, answers.len()), (0, cases.len()));
    for (case, answer) in cases.iter().zip(&answers) {
        let expected = &case["expect"];
        for member in ["status", "cost_usd", "reason"] {
            assert_eq!(answer[member], expected[member], "{member}: {case}");
        }
        if expected["status"] == "priced" {
            assert_eq!(
                answer["resolved_model"], expected["resolved_model"],
                "{case}"
            );
            assert_eq!(prices(answer), expected["prices"], "{case}");
        }
    }
}

#[test]
fn the_cases_cover_what_was_promised() {
    let count = |status: &str| {
        let cases = cases();
        let of_status = cases
            .iter()
            .filter(|case| case["expect"]["status"] == status);
        of_status.count()
    };
    assert!(count("priced") >= 100 && count("unpriced") >= 30 && count("allocated") >= 3);
}

#[test]
fn a_bad_line_is_answered_in_its_place_and_the_rest_is_priced() {
    let good = r#"{"model_id":"amazon.nova-lite-v1:0","region":"us-east-1","at":"2026-11-01","usage":{"input_tokens":100}}"#;
    for bad in [
        "",
        "{",
        "null",
        r#"{"model_id":"a.b","region":"us-east-1"}"#,
        r#"{"model_id":"a.b","region":"us-east-1","usage":{"input_tokens":-1}}"#,
        r#"{"model_id":"a.b","region":"us-east-1","usage":{"input_tokens":1.5}}"#,
        r#"{"model_id":"a.b","region":"US EAST","usage":{"input_tokens":1}}"#,
        r#"{"model_id":"a.b","region":"us-east-1","at":"soon","usage":{"input_tokens":1}}"#,
        r#"{"model_id":"a.b","region":"us-east-1","endpoint":"moon","usage":{"input_tokens":1}}"#,
    ] {
        let (code, answers) = quote(format!("{good}\n{bad}\n{good}"));
        let statuses: Vec<_> = answers.iter().map(|answer| &answer["status"]).collect();
        assert_eq!(statuses, ["priced", "error", "priced"], "{bad}");
        assert_eq!(code, 1, "{bad}");
        // 100 x 0.06/1M = 0.000006
        assert_eq!(answers.last().unwrap()["cost_usd"], "0.000006");
    }
}
