//! Which known key a misspelt one may mean.

/// The known path nearest to an unknown one: the same key in another table, or a similar key,
/// rather of the same table than of another.
pub(super) fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a str> {
    let (table, key) = split(unknown);
    let scored = known.iter().map(|path| {
        let (its_table, its_key) = split(path);
        let bonus = if its_table == table { SAME_TABLE } else { 0.0 };
        (strsim::jaro_winkler(key, its_key) + bonus, path.as_str())
    });
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score >= SIMILAR)
        .map(|(_, path)| path)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// How much a key of the same table is preferred.
const SAME_TABLE: f64 = 0.05;
/// Below this score two words have little in common.
const SIMILAR: f64 = 0.86;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        let known = [
            "listener",
            "listener.listen",
            "listener.connections_max",
            "listener.connections_per_peer_max",
            "admin.listen",
            "admin.token",
            "upstream.connect_timeout",
        ];
        let known = known.map(str::to_owned);
        let check = |unknown: &str, expected: Option<&str>| {
            assert_eq!(nearest(unknown, &known), expected, "{unknown}");
        };
        check("listner", Some("listener"));
        check("admin.lisen", Some("admin.listen"));
        check("listener.lisen", Some("listener.listen"));
        check("listener.connection_max", Some("listener.connections_max"));
        check("listener.connect_timeout", Some("upstream.connect_timeout"));
        check("listener.tokens", Some("admin.token"));
        check("listener.colour", None);
    }
}
