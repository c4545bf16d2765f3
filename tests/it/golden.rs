//! The golden exchanges of every model family, through the running proxy: the client gets the
//! answer's bytes, and the entry has the usage and the charge that the file works out by hand.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::{Entry, Proxy, Request, Upstream, event};

const DIMENSIONS: [&str; 6] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_30m_tokens",
    "cache_write_1h_tokens",
];

#[test]
fn every_golden_exchange_is_metered_and_charged_as_worked_out_by_hand() {
    let answers: Arc<Mutex<VecDeque<Vec<u8>>>> = Arc::default();
    let script = Arc::clone(&answers);
    let upstream = Upstream::start(move |mut connection| {
        while connection.request().is_some() {
            let answer = script.lock().unwrap().pop_front().unwrap();
            connection.write(&answer);
        }
    });
    let proxy = Proxy::before(upstream.address);
    let mut disagreements = 0.0;
    let mut calls = 0;
    for (family, exchange) in exchanges() {
        let answer = &exchange["answer"];
        let body = body(answer);
        let sent = [head(answer, body.len()), body.clone()].concat();
        answers.lock().unwrap().push_back(sent);
        let received = proxy.client().call(&request(&exchange));
        let name = format!("{family}: {} {}", exchange["operation"], exchange["model"]);
        assert_eq!(u64::from(received.status), answer["status"], "{name}");
        assert!(received.whole && received.body == body, "{name}");

        calls += 1;
        let entry = proxy.entries(calls).pop().unwrap();
        check(&name, &entry, &exchange["expect"]);
        disagreements += f64::from(u8::from(exchange["expect"]["disagreement"] == true));
    }
    assert!(calls > 0, "no golden exchange was found");
    let counted = proxy.metric("bedrock_meter_usage_disagreement_total");
    assert!((counted - disagreements).abs() < 0.5, "{counted}");
}

/// Every exchange with the file that holds it, in the order of the files.
fn exchanges() -> Vec<(String, Value)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut exchanges = Vec::new();
    for path in files {
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for exchange in file["exchanges"].as_array().unwrap() {
            exchanges.push((name.clone(), exchange.clone()));
        }
    }
    exchanges
}

fn request(exchange: &Value) -> Request {
    let operation = match text(&exchange["operation"]) {
        "InvokeModel" => "invoke",
        "InvokeModelWithResponseStream" => "invoke-with-response-stream",
        "Converse" => "converse",
        "ConverseStream" => "converse-stream",
        other => unreachable!("{other} is no operation of a golden exchange"),
    };
    let model = text(&exchange["model"]).replace(':', "%3A");
    let path = format!("/model/{}/{operation}", model.replace('/', "%2F"));
    Request::at(path).body(exchange["request"].to_string().into_bytes())
}

fn head(answer: &Value, length: usize) -> Vec<u8> {
    let kind = if answer["body"].is_null() {
        "application/vnd.amazon.eventstream"
    } else {
        "application/json"
    };
    let mut head = format!(
        "HTTP/1.1 {} OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n",
        answer["status"]
    );
    for (name, value) in answer["headers"].as_object().unwrap() {
        head.extend([name, ": ", text(value), "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A plain `body`, the `chunks` of an Invoke stream, or the `events` of a Converse stream.
fn body(answer: &Value) -> Vec<u8> {
    if let Some(chunks) = answer["chunks"].as_array() {
        let chunk = |json: &Value| {
            let bytes = BASE64_STANDARD.encode(json.to_string());
            event("chunk", &format!(r#"{{"bytes":"{bytes}","p":"abcd"}}"#))
        };
        return chunks.iter().flat_map(chunk).collect();
    }
    if let Some(events) = answer["events"].as_array() {
        let frame = |of: &Value| event(text(&of[0]), &of[1].to_string());
        return events.iter().flat_map(frame).collect();
    }
    answer["body"].to_string().into_bytes()
}

fn check(name: &str, entry: &Entry, expect: &Value) {
    for dimension in DIMENSIONS {
        let expected = &expect["usage"][dimension];
        let expected = expected.as_u64().map(|quantity| quantity.to_string());
        let expected = expected.unwrap_or_default();
        assert_eq!(entry.get(dimension), expected, "{name}: {dimension}");
    }
    let quantities = expect["usage"].as_object().unwrap().iter();
    let units = quantities.filter(|(dimension, _)| !dimension.ends_with("_tokens"));
    let units: Vec<_> = units.map(|(unit, n)| format!("{unit:?}:{n}")).collect();
    let units = (!units.is_empty()).then(|| format!("{{{}}}", units.join(",")));
    assert_eq!(entry.get("units"), units.unwrap_or_default(), "{name}");
    assert_eq!(
        entry.get("usage_source"),
        text(&expect["usage_source"]),
        "{name}"
    );
    let reason = expect["usage_reason"].as_str().unwrap_or_default();
    assert_eq!(entry.get("usage_reason"), reason, "{name}");
    assert_eq!(entry.get("read_from"), text(&expect["read_from"]), "{name}");
    let disagreement = u8::from(expect["disagreement"] == true).to_string();
    assert_eq!(entry.get("disagreement"), disagreement, "{name}");
    let charged = expect["charge_usd"].is_string();
    let status = if charged { "priced" } else { "unpriced" };
    let status = expect["price_status"].as_str().unwrap_or(status);
    assert_eq!(entry.get("price_status"), status, "{name}");
    let charge = if charged {
        dollars(entry)
    } else {
        String::new()
    };
    let expected = expect["charge_usd"].as_str().unwrap_or_default();
    assert_eq!(charge, expected, "{name}: {}", expect["sum"]);
}

/// The charge as a decimal without trailing zeros.
fn dollars(entry: &Entry) -> String {
    let number = |column: &str| entry.get(column).parse::<u64>().unwrap();
    let (micro, femto) = (number("cost_microusd"), number("cost_femtousd"));
    let decimal = format!("{}.{:06}{femto:09}", micro / 1_000_000, micro % 1_000_000);
    decimal
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
