//! Documents against the program: what they name exists, what they show is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedrock_meter::config;
use bedrock_meter::proxy::refusals_markdown;
use bedrock_meter::telemetry::{Kind, catalogue, catalogue_markdown};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, its folders included, that end so.
fn files(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| path.to_str().unwrap().ends_with(end)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no {ends:?}");
    found
}

/// The pages that people read.
fn pages() -> Vec<(PathBuf, String)> {
    let names = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ];
    let at_root = names.map(|name| root().join(name));
    let all = at_root.into_iter().chain(files("docs", &[".md"]));
    all.map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The fenced examples of a page in one language.
fn examples<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let after = page.split(&fence).skip(1);
    after
        .map(|text| text.split("```").next().unwrap())
        .collect()
}

/// Names in the text that begin as our metrics do.
fn metrics_named(text: &str) -> BTreeSet<String> {
    let tails = text.split(PREFIX).skip(1);
    let word = |tail: &str| {
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        format!("{PREFIX}{}", &tail[..end.unwrap_or(tail.len())])
    };
    tails.map(word).collect()
}

const PREFIX: &str = "bedrock_meter_";

/// The names under which Prometheus knows the catalogue.
fn series_names() -> BTreeSet<String> {
    let names = catalogue().iter().flat_map(|metric| {
        let suffixes: &[&str] = match metric.kind {
            Kind::Counter | Kind::Gauge => &[""],
            Kind::Histogram => &["", "_bucket", "_sum", "_count"],
        };
        suffixes
            .iter()
            .map(|suffix| format!("{}{suffix}", metric.name))
    });
    names.collect()
}

#[test]
fn every_configuration_file_is_accepted() {
    let secrets = tempfile::TempDir::new().unwrap();
    for name in ["admin-token", "metrics-token"] {
        fs::write(secrets.path().join(name), "value".repeat(8)).unwrap();
    }
    let shipped = files("config", &[".toml"]).into_iter();
    for path in shipped.chain(files("deploy", &[".toml"])) {
        let environment = |name: &str| match name {
            "AWS_REGION" => Some("eu-west-1".to_owned()),
            _ => name
                .starts_with("BEDROCK_METER_")
                .then(|| "value".repeat(8)),
        };
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/run/secrets", &secrets.path().display().to_string());
        let loaded = config::parse(&text, &environment);
        assert!(loaded.is_ok(), "{}: {:?}", path.display(), loaded.err());
    }
}

#[test]
fn every_example_of_a_configuration_is_accepted() {
    for (path, page) in pages() {
        for example in examples(&page, "toml") {
            // A proxy's name must be a URL.
            let environment =
                |name: &str| (!name.eq_ignore_ascii_case("https_proxy")).then(|| "value".repeat(8));
            let parsed = config::parse(example, &environment);
            let problems = parsed.err();
            assert!(
                problems.is_none(),
                "{}: {problems:?}\n{example}",
                path.display()
            );
        }
    }
}

#[test]
fn every_metric_that_is_named_exists() {
    let known = series_names();
    let dashboards = files("grafana", &[".json", ".yaml"]);
    let dashboards = dashboards
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()));
    for (path, text) in pages().into_iter().chain(dashboards) {
        for name in metrics_named(&text) {
            assert!(known.contains(&name), "{}: {name}", path.display());
        }
    }
}

#[test]
fn the_page_of_metrics_has_the_catalogue() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    assert!(page.ends_with(&catalogue_markdown()));
    let named = metrics_named(&page);
    for metric in catalogue() {
        assert!(named.contains(metric.name), "{}", metric.name);
    }
}

#[test]
fn the_page_of_refusals_has_the_table() {
    let page = fs::read_to_string(root().join("docs/refusals.md")).unwrap();
    let table = refusals_markdown();
    assert!(page.ends_with(&table), "the table is:\n{table}");
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    for (path, page) in pages() {
        for target in page.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let exists = path.parent().unwrap().join(file).exists();
            assert!(exists, "{}: {target}", path.display());
        }
    }
}

/// The last cells of a page's tables, each with its row.
fn last_cells(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit_once('|'));
    cells
        .map(|(row, cell)| (row.to_owned(), cell.trim().to_owned()))
        .filter(|(_, cell)| !["test", "why", "personal"].contains(&cell.as_str()))
        .collect()
}

#[test]
fn every_test_that_a_threat_or_a_limit_names_exists() {
    let sources = files("src", &[".rs"]).into_iter();
    let sources = sources.chain(files("tests/it", &[".rs"]));
    let code: String = sources
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let check = |page: &str, is_table: fn(&str) -> bool, rows_without_max: usize| {
        let (mut without, mut named) = (0, 0);
        let rows = last_cells(page).into_iter();
        for (row, cell) in rows.filter(|(row, _)| is_table(row)) {
            without += usize::from(cell.is_empty());
            for name in cell.split('`').skip(1).step_by(2) {
                named += 1;
                let exists = match name.strip_suffix(".py") {
                    Some(_) => root().join("tests/sdk").join(name).exists(),
                    None => code.contains(&format!("fn {name}(")),
                };
                assert!(exists, "{page}: there is no test {name}: {row}");
            }
        }
        assert!(named > 20, "{page} names {named}");
        assert!(
            without <= rows_without_max,
            "{page}: {without} rows without a test"
        );
    };
    // Of the threats only what comes to be known of dependencies; of the limits those of the
    // libraries and of what waits inside.
    let of_threats = |row: &str| row.matches('|').count() >= 2;
    check("docs/threat-model.md", of_threats, 1);
    check("docs/limits.md", of_threats, 6);
}

#[test]
fn every_key_that_a_limit_names_exists() {
    let reference = fs::read_to_string(root().join("config/bedrock-meter.toml")).unwrap();
    let reference: toml::Table = reference.parse().unwrap();
    let limits = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let sections = ["listener", "upstream", "drain", "metrics", "telemetry"];
    let names = limits.split('`').skip(1).step_by(2);
    let keys = names.filter(|name| sections.iter().any(|s| name.starts_with(&format!("{s}."))));
    let mut count = 0;
    for key in keys {
        let mut parts = key.split('.');
        let section = reference.get(parts.next().unwrap());
        let found = parts.fold(section, |value, part| value?.get(part));
        assert!(found.is_some(), "there is no key {key}");
        count += 1;
    }
    assert!(count >= 12, "only {count} keys");
}

#[test]
fn the_data_inventory_has_every_column() {
    let directory = tempfile::TempDir::new().unwrap();
    let settings = bedrock_meter::ledger::Settings {
        directory: directory.path().into(),
        ..Default::default()
    };
    drop(bedrock_meter::ledger::Ledger::open(&settings).unwrap());
    let file = bedrock_meter::ledger::ledger_file(directory.path());
    let ledger = rusqlite::Connection::open(file).unwrap();
    let mut columns = ledger
        .prepare("SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'")
        .unwrap();
    let columns = columns.query_map((), |row| Ok((row.get(0)?, row.get(1)?)));
    let columns: Vec<(String, String)> = columns.unwrap().map(Result::unwrap).collect();
    let page = fs::read_to_string(root().join("docs/data-inventory.md")).unwrap();
    assert!(columns.len() > 40, "{columns:?}");
    for (table, column) in columns {
        let listed = table == "schema" || page.contains(&format!("`{column}`"));
        assert!(listed, "{table}.{column} is not in the data inventory");
    }
}

#[test]
fn the_rules_of_dependencies_are_held_by_every_test_run() {
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    for name in ["unknown-registry", "unknown-git"] {
        assert_eq!(rules["sources"][name].as_str(), Some("deny"), "{name}");
    }
    assert_eq!(rules["bans"]["multiple-versions"].as_str(), Some("deny"));
    let banned: Vec<_> = rules["bans"]["deny"].as_array().unwrap().iter().collect();
    for name in ["openssl", "native-tls", "ring", "async-std"] {
        let is_banned = banned.iter().any(|ban| ban["crate"].as_str() == Some(name));
        assert!(is_banned, "{name}");
    }
    for skip in rules["bans"]["skip"].as_array().unwrap() {
        assert!(skip["reason"].as_str().is_some(), "{skip:?}");
    }
    let script = fs::read_to_string(root().join("scripts/test")).unwrap();
    assert!(script.contains("cargo-deny\" --locked check licenses bans sources"));
}

/// The names of all alert rules, each with the text of its rule.
fn alerts() -> Vec<(String, String)> {
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules/bedrock-meter.rules.yml"));
    let rules = rules.unwrap();
    let alert = |text: &str| {
        let (name, rule) = text.split_once('\n').unwrap();
        (name.to_owned(), rule.to_owned())
    };
    rules.split("- alert: ").skip(1).map(alert).collect()
}

#[test]
fn every_alert_says_what_it_means_and_has_its_runbook() {
    let alerts = alerts();
    assert!(alerts.len() >= 13, "{}", alerts.len());
    for (name, rule) in &alerts {
        let line = |key: &str| {
            let found = rule.lines().find_map(|line| line.trim().strip_prefix(key));
            found.unwrap_or_else(|| panic!("{name} has no {key}"))
        };
        assert!(["critical", "warning", "info"].contains(&line("severity: ")));
        assert!(!line("summary: ").is_empty());
        assert!(
            line("description: ").contains("value"),
            "{name}: the number"
        );
        let page = format!("docs/runbooks/{name}.md");
        assert_eq!(line("runbook_url: "), page);
        let page = fs::read_to_string(root().join(page)).unwrap();
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let title = format!("# {name}");
        let expected = [
            &title,
            "## What it means",
            "## How to check",
            "## What to do",
            "## False positives",
        ];
        assert!(headings.eq(expected), "{name}");
    }
}

#[test]
fn every_runbook_has_its_alert_and_the_list_has_both() {
    let alerts = alerts();
    let list = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let pages = files("docs/runbooks", &[".md"]);
    assert_eq!(pages.len(), alerts.len());
    for page in pages {
        let name = page.file_stem().unwrap().to_str().unwrap();
        assert!(alerts.iter().any(|(alert, _)| alert == name), "{name}");
        assert!(
            list.contains(&format!("[{name}](runbooks/{name}.md)")),
            "{name}"
        );
    }
}

#[test]
fn every_metric_that_a_rule_reads_exists() {
    let known = series_names();
    let files = files("deploy/prometheus/rules", &[".yml"]);
    let text = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let named: BTreeSet<_> = text.flat_map(|text| metrics_named(&text)).collect();
    assert!(named.len() >= 10, "{named:?}");
    assert!(named.is_subset(&known), "{:?}", named.difference(&known));
}

#[test]
fn every_command_that_is_shown_exists() {
    let mut shown = BTreeSet::new();
    for (_, page) in pages() {
        let lines = page.split("bedrock-meter ").skip(1);
        shown.extend(lines.filter_map(command).filter(|words| !words.is_empty()));
    }
    for words in &shown {
        let help = Command::new(env!("CARGO_BIN_EXE_bedrock-meter"))
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        assert!(help.status.success(), "{words:?}");
    }
    assert!(shown.len() >= 5, "only {shown:?}");
}

/// The command and its subcommand that a line begins with; `None` where the name is part of a
/// sentence.
fn command(line: &str) -> Option<Vec<String>> {
    let line = line.split(['`', '\n', '#']).next().unwrap();
    let words = line.split(' ').take_while(|word| {
        let lower = |c: char| c.is_ascii_lowercase() || c == '-';
        !word.is_empty() && !word.starts_with('-') && word.chars().all(lower)
    });
    let words: Vec<String> = words.map(str::to_owned).collect();
    COMMANDS
        .contains(&words.first()?.as_str())
        .then(|| match words[0].as_str() {
            "prices" | "ledger" => words.into_iter().take(2).collect(),
            _ => words.into_iter().take(1).collect(),
        })
}

/// Words that can only be commands.
const COMMANDS: [&str; 9] = [
    "serve",
    "demo",
    "simulate",
    "prices",
    "check-config",
    "report",
    "explain",
    "ledger",
    "completions",
];
