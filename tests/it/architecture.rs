//! The rooms of `src` and their direction, as data, and the check that the code keeps to it.
//!
//! The check reads text, not syntax: it takes comments and literals out and looks for the paths
//! that leave a room. What a room's tests use is their own affair (a test may look at a room from
//! above): modules under `#[cfg(test)]` are left out. That another room's inner modules stay
//! private is held by the compiler.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One room: a folder of `src`.
struct Room {
    rank: u8,
    name: &'static str,
    imports: Imports,
    purpose: &'static str,
}

/// What a room may import.
struct Imports {
    /// Every room up to this rank.
    up_to: Option<u8>,
    /// And these.
    rooms: &'static [&'static str],
}

impl Room {
    const fn new(rank: u8, name: &'static str, imports: Imports, purpose: &'static str) -> Self {
        Self {
            rank,
            name,
            imports,
            purpose,
        }
    }

    fn may_import(&self, other: &Self) -> bool {
        let Imports { up_to, rooms } = self.imports;
        up_to.is_some_and(|rank| other.rank <= rank) || rooms.contains(&other.name)
    }
}

const fn only(rooms: &'static [&'static str]) -> Imports {
    let up_to = None;
    Imports { up_to, rooms }
}

const fn up_to(rank: u8, rooms: &'static [&'static str]) -> Imports {
    let up_to = Some(rank);
    Imports { up_to, rooms }
}

/// The rooms whose settings the configuration fills, and the vocabulary.
const SETTINGS: Imports = only(&[
    "domain",
    "telemetry",
    "registry",
    "identity",
    "pricing",
    "budgets",
    "replicas",
    "meters",
    "relay",
    "ledger",
    "limits",
    "upstream",
    "alerts",
    "proxy",
    "admin",
]);

/// The table. `ARCHITECTURE.md` shows it.
const ROOMS: [Room; 25] = [
    Room::new(
        0,
        "domain",
        only(&[]),
        "the vocabulary: money, usage, entries, ids; plain values",
    ),
    Room::new(
        1,
        "codec",
        only(&["domain"]),
        "event streams and JSON, read as they arrive",
    ),
    Room::new(
        1,
        "aws",
        only(&["domain"]),
        "facts of AWS: ids, ARNs, signatures, hosts, errors",
    ),
    Room::new(
        1,
        "telemetry",
        only(&["domain"]),
        "metrics, their table and guard; the logs; OTLP bodies",
    ),
    Room::new(
        1,
        "registry",
        only(&["domain"]),
        "tenants and the keys issued to them; nothing of requests",
    ),
    Room::new(
        2,
        "identity",
        only(&["domain", "aws", "registry"]),
        "who is calling, and whether that may be",
    ),
    Room::new(
        2,
        "routing",
        only(&["domain", "codec", "aws"]),
        "what is being called",
    ),
    Room::new(
        2,
        "meters",
        only(&["domain", "codec"]),
        "usage from bytes; no I/O, no clock",
    ),
    Room::new(
        2,
        "pricing",
        only(&["domain"]),
        "dated prices; usage becomes a charge",
    ),
    Room::new(
        2,
        "budgets",
        only(&["domain"]),
        "what may be spent: held before a call, settled after it",
    ),
    Room::new(
        2,
        "replicas",
        only(&["domain", "telemetry"]),
        "budgets and limits of several replicas, in Redis or Valkey",
    ),
    Room::new(
        2,
        "relay",
        only(&["domain"]),
        "bodies in and out, headers that pass",
    ),
    Room::new(
        2,
        "ledger",
        only(&["domain", "telemetry"]),
        "open calls, entries, sums",
    ),
    Room::new(
        2,
        "limits",
        only(&["domain"]),
        "how fast calls and tokens may come; the account's quota, shared",
    ),
    Room::new(
        2,
        "upstream",
        only(&["domain", "aws", "telemetry"]),
        "connections to Bedrock, credentials for it",
    ),
    Room::new(
        2,
        "alerts",
        only(&["domain", "aws", "telemetry"]),
        "what people are told about money, and what each outlet was told",
    ),
    Room::new(
        3,
        "doctor",
        only(&["domain", "aws", "pricing", "replicas", "ledger", "upstream"]),
        "the road to AWS, proven step by step; charges nothing",
    ),
    Room::new(
        3,
        "plan",
        only(&["domain", "budgets", "ledger"]),
        "budgets over past calls: replayed, compared, suggested",
    ),
    Room::new(
        3,
        "proxy",
        up_to(2, &[]),
        "one call, top to bottom; here rooms meet",
    ),
    Room::new(
        3,
        "report",
        only(&["domain", "ledger", "pricing"]),
        "the ledger as tables",
    ),
    Room::new(
        3,
        "simulator",
        only(&[]),
        "a stand-in for Bedrock; an independent witness",
    ),
    Room::new(
        4,
        "admin",
        up_to(2, &["report"]),
        "the admin listener: health, metrics, reports",
    ),
    Room::new(
        5,
        "config",
        SETTINGS,
        "TOML into each room's settings, every problem at once",
    ),
    Room::new(
        6,
        "app",
        up_to(5, &[]),
        "listeners, workers, wiring, shutdown",
    ),
    Room::new(7, "cli", up_to(6, &[]), "one file per command"),
];

/// The table as the document shows it.
fn table_markdown() -> String {
    let mut table = "| rank | room | may import | what it is for |\n|---|---|---|---|\n".to_owned();
    for room in &ROOMS {
        let Imports { up_to, rooms } = room.imports;
        let ranks = up_to.map(|rank| format!("ranks 0 to {rank}"));
        let names = rooms.iter().map(|name| format!("`{name}`"));
        let imports: Vec<String> = ranks.into_iter().chain(names).collect();
        let imports = match imports.len() {
            0 => "nothing of ours".to_owned(),
            _ => imports.join(", "),
        };
        let (rank, name, purpose) = (room.rank, room.name, room.purpose);
        writeln!(table, "| {rank} | `{name}` | {imports} | {purpose} |").unwrap();
    }
    table
}

/// What is wrong with a table. Every import goes to a lower rank, so there can be no cycle.
fn problems_of_table(rooms: &[Room]) -> Vec<String> {
    let mut problems = Vec::new();
    for room in rooms {
        let unlisted = |name: &&&str| rooms.iter().all(|other| other.name != **name);
        for name in room.imports.rooms.iter().filter(unlisted) {
            problems.push(format!("{} may import {name}, no room", room.name));
        }
        let not_lower = |other: &&Room| room.may_import(other) && other.rank >= room.rank;
        for other in rooms.iter().filter(not_lower) {
            problems.push(format!(
                "{} may import {}, not lower",
                room.name, other.name
            ));
        }
    }
    problems
}

/// What is wrong with one file of `src`; `path` is relative to it.
fn problems_of_file(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{path}: does not begin with //!"));
    }
    let all = without_comments_and_literals(text);
    if all.contains("super::super") {
        problems.push(format!("{path}: super::super"));
    }
    let code = without_tests(&all);
    let Some((home, file)) = path.split_once('/') else {
        return problems;
    };
    if file == "mod.rs" && code.contains("super::") {
        problems.push(format!("{path}: leaves its room by super::; write crate::"));
    }
    let Some(room) = ROOMS.iter().find(|room| room.name == home) else {
        problems.push(format!("{path}: {home} is in no table"));
        return problems;
    };
    for mentioned in rooms_mentioned(&code) {
        let other = ROOMS.iter().find(|other| other.name == mentioned);
        let allowed = other.is_some_and(|other| room.may_import(other));
        if mentioned != home && !allowed {
            problems.push(format!("{path}: {home} may not import {mentioned}"));
        }
    }
    problems
}

/// The names that follow `crate::`, alone or in braces.
fn rooms_mentioned(code: &str) -> BTreeSet<String> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let mut names = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => names.extend([identifier(rest)]),
            Some(group) => names.extend(members(group)),
        }
    }
    names
}

/// The first identifiers of the members of a brace group, nested groups stepped over.
fn members(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut starts) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        if depth == 0 && starts && (c.is_alphabetic() || c == '_') {
            names.push(identifier(&group[at..]));
        }
        starts = depth == 0 && c == ',';
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return names,
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The text without the modules under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find([';', '{']).unwrap_or(rest.len());
        rest = &rest[end..];
        if rest.starts_with('{') {
            rest = after_block(rest);
        }
    }
    kept + rest
}

/// What follows the block that the text begins with.
fn after_block(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
    }
    ""
}

/// The text with comments, strings and characters taken out.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest)
            .or_else(|| string(rest))
            .or_else(|| character(rest));
        rest = match skipped {
            Some(after) => after,
            // An identifier is taken whole, so that its last `r` opens no raw string.
            None if first.is_alphanumeric() || first == '_' => {
                let name = identifier(rest);
                code.push_str(&name);
                &rest[name.len()..]
            }
            None => {
                code.push(first);
                &rest[first.len_utf8()..]
            }
        };
    }
    code
}

/// What follows a comment.
fn comment(text: &str) -> Option<&str> {
    if text.starts_with("//") {
        return Some(text.find('\n').map_or("", |end| &text[end..]));
    }
    let block = text.strip_prefix("/*")?;
    Some(block.split_once("*/").map_or("", |(_, after)| after))
}

/// What follows a string literal: plain, of bytes, or raw.
fn string(text: &str) -> Option<&str> {
    let plain = text.strip_prefix('b').unwrap_or(text);
    if let Some(raw) = plain.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(body.split_once(&end).map_or("", |(_, after)| after));
    }
    let body = plain.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            '"' if !escaped => return Some(&body[at + 1..]),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some("")
}

/// What follows a character literal; a lifetime is none.
fn character(text: &str) -> Option<&str> {
    let body = text.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let skipped = escape.chars().next().map_or(0, char::len_utf8);
        return escape[skipped..].split_once('\'').map(|(_, after)| after);
    }
    let mut chars = body.chars();
    chars.next();
    chars.as_str().strip_prefix('\'')
}

/// Every Rust file of a folder, with its path.
fn sources(folder: &Path, at: &str, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{at}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), &format!("{path}/"), found);
        } else if path.strip_suffix(".rs").is_some() {
            found.push((path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// The files of `src` but those of test modules.
fn product_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root, "", &mut found);
    let tests: BTreeSet<String> = found.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| {
        let mut inside = path.strip_suffix(".rs");
        while let Some(module) = inside {
            if tests.contains(module) {
                return true;
            }
            inside = module.rsplit_once('/').map(|(folder, _)| folder);
        }
        false
    };
    found.retain(|(path, _)| !is_test(path));
    found
}

/// The modules that a file declares for tests, as a path: a file of that name, or a folder.
fn test_modules((path, text): &(String, String)) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let declared = text.split("#[cfg(test)]\n").skip(1);
    let declared = declared.filter_map(|rest| {
        let rest = rest.strip_prefix("pub(crate) ").unwrap_or(rest);
        rest.strip_prefix("mod ")
    });
    let declared = declared.filter(|rest| rest[identifier(rest).len()..].starts_with(';'));
    declared
        .map(|rest| format!("{folder}/{}", identifier(rest)))
        .collect()
}

#[test]
fn rooms_depend_downwards_only() {
    assert_eq!(problems_of_table(&ROOMS), [""; 0]);
    let sources = product_sources();
    assert!(sources.len() > 100, "found {} files", sources.len());
    let problems: Vec<String> = sources
        .iter()
        .flat_map(|(path, text)| problems_of_file(path, text))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_table_has_every_room_and_no_other() {
    let lib = include_str!("../../src/lib.rs");
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let declared: BTreeSet<&str> = declared.map(|line| line.trim_end_matches(';')).collect();
    let listed: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    assert_eq!(declared, listed);
}

#[test]
fn the_document_shows_the_table() {
    let document = include_str!("../../ARCHITECTURE.md");
    let table = table_markdown();
    assert!(document.contains(&table), "the table is:\n{table}");
}

#[test]
fn the_document_names_every_dependency() {
    let document = include_str!("../../ARCHITECTURE.md");
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    for section in ["dependencies", "dev-dependencies"] {
        for name in manifest[section].as_table().unwrap().keys() {
            let line = format!("\n- `{name}`: ");
            assert!(
                document.contains(&line),
                "{name} of [{section}] is not named"
            );
        }
    }
}

#[test]
fn every_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), "", &mut found);
    sources(&root.join("tests"), "", &mut found);
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    for section in ["dependencies", "dev-dependencies"] {
        for name in manifest[section].as_table().unwrap().keys() {
            let path = format!("{}::", name.replace('-', "_"));
            let used = found.iter().any(|(_, text)| text.contains(&path));
            assert!(used, "{name} of [{section}] is not used");
        }
    }
}

#[test]
fn every_test_that_the_document_names_exists() {
    let document = include_str!("../../ARCHITECTURE.md");
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(&root.join("src"), "", &mut found);
    sources(&root.join("tests/it"), "", &mut found);
    let invariants = document.split("\n## Invariants").nth(1).unwrap();
    let invariants = invariants.split("\n## ").next().unwrap();
    let names = invariants.split('`').skip(1).step_by(2);
    let mut count = 0;
    for name in names.filter(|name| name.matches('_').count() > 2) {
        let declaration = format!("fn {name}(");
        let exists = found.iter().any(|(_, text)| text.contains(&declaration));
        assert!(exists, "there is no test {name}");
        count += 1;
    }
    assert!(count >= 10, "only {count} tests are named");
    for number in 1..=10 {
        assert!(
            invariants.contains(&format!("- **I{number}**")),
            "I{number}"
        );
    }
}

#[test]
fn the_check_tells_every_breach() {
    let check = |path: &str, code: &str, expected: &[&str]| {
        let problems = problems_of_file(path, &format!("//! Doc.\n{code}"));
        assert_eq!(problems, expected, "{path}: {code}");
    };
    let upward = "domain/a.rs: domain may not import proxy";
    check("domain/a.rs", "use crate::proxy::Gates;", &[upward]);
    check(
        "domain/a.rs",
        "use crate::{ids::A, proxy};",
        &["domain/a.rs: domain may not import ids", upward],
    );
    check("domain/a.rs", "fn f() { crate :: proxy::g() }", &[upward]);
    check(
        "aws/a.rs",
        "use crate::{domain::{A, B}, telemetry::C};",
        &["aws/a.rs: aws may not import telemetry"],
    );
    check(
        "relay/mod.rs",
        "use super::ledger::Ledger;",
        &["relay/mod.rs: leaves its room by super::; write crate::"],
    );
    check("cellar/a.rs", "", &["cellar/a.rs: cellar is in no table"]);
    check(
        "relay/a.rs",
        "use crate::cellar::A;",
        &["relay/a.rs: relay may not import cellar"],
    );
    check(
        "relay/a.rs",
        "use super::super::domain::A;",
        &["relay/a.rs: super::super"],
    );
    let headless = problems_of_file("relay/a.rs", "// Doc.\n");
    assert_eq!(headless, ["relay/a.rs: does not begin with //!"]);
}

#[test]
fn the_check_leaves_what_is_no_import_alone() {
    for code in [
        "// use crate::proxy::A;",
        "/* crate::proxy */ const C: char = '\"'; // crate::proxy",
        r#"const T: &str = "crate::proxy \" crate::proxy";"#,
        "const T: &str = r#\"crate::proxy \"\"#;",
        "fn f<'a>(a: &'a str) {} const C: [char; 2] = ['\\'', '\"'];",
        "#[cfg(test)]\nmod tests { use crate::proxy::A; fn f() { if true {} } }",
        "use crate::domain::{A, B};",
    ] {
        let problems = problems_of_file("relay/a.rs", &format!("//! Doc.\n{code}\n"));
        assert!(problems.is_empty(), "{code}: {problems:?}");
    }
    let after = "#[cfg(test)]\nmod tests { }\nuse crate::proxy::A;";
    let problems = problems_of_file("relay/a.rs", &format!("//! Doc.\n{after}"));
    assert_eq!(problems.len(), 1, "code after the tests is read");
}

#[test]
fn a_table_with_a_cycle_is_refused() {
    let room = |rank, name, imports| Room::new(rank, name, imports, "");
    let cycle = [room(1, "a", only(&["b"])), room(1, "b", only(&["a"]))];
    let expected = ["a may import b, not lower", "b may import a, not lower"];
    assert_eq!(problems_of_table(&cycle), expected);
    let longer = [
        room(3, "a", only(&["b"])),
        room(2, "b", only(&["c"])),
        room(1, "c", only(&["a"])),
    ];
    assert_eq!(problems_of_table(&longer), ["c may import a, not lower"]);
    let itself = [room(2, "a", up_to(2, &[]))];
    assert_eq!(problems_of_table(&itself), ["a may import a, not lower"]);
    let unlisted = [room(1, "a", only(&["b"]))];
    assert_eq!(problems_of_table(&unlisted), ["a may import b, no room"]);
}
