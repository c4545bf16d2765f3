//! Which PostgreSQL server replicas share (`[ledger.postgres]`).

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::domain::{Secret, keywords};

/// The server, and how long it may take to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or words as libpq writes them.
    pub url: Option<Secret>,
    /// The schema of the server's database that the tables lie in.
    pub schema: String,
    /// Whether the way there is encrypted.
    pub sslmode: SslMode,
    /// The certificate authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
}

keywords!(
    /// Whether the way to the server is encrypted. A socket of this machine never is.
    SslMode {
        /// TLS with a certificate of a trusted authority for the host's name.
        VerifyFull = "verify-full",
        /// Clear text.
        Disable = "disable",
    }
);

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            url: None,
            schema: "bedrock_meter".to_owned(),
            sslmode: SslMode::default(),
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// What is wrong with one key of [`PostgresSettings`]. Holds nothing of the URL.
#[derive(Debug, thiserror::Error)]
#[error("ledger.postgres.{key}: {why}")]
pub struct PostgresProblem {
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub why: &'static str,
    /// What mends it.
    pub mend: &'static str,
}

impl PostgresSettings {
    /// Whether a connection could be tried.
    ///
    /// # Errors
    /// When a key is missing or cannot be used.
    pub fn check(&self) -> Result<(), PostgresProblem> {
        self.config().map(drop)
    }

    /// The same for what reads or sums up everything.
    pub(in crate::ledger) fn patient(&self) -> Self {
        Self {
            statement_timeout: PATIENCE.max(self.statement_timeout),
            ..self.clone()
        }
    }

    /// What the client needs.
    pub(super) fn config(&self) -> Result<Config, PostgresProblem> {
        let refuse = |key, why, mend| PostgresProblem { key, why, mend };
        if !is_plain_name(&self.schema) {
            let why = "no plain name";
            let mend = "write at most 63 lower-case letters, digits and _, a letter first";
            return Err(refuse("schema", why, mend));
        }
        let Some(url) = &self.url else {
            let mend = "set url_file or url, or store = \"sqlite\"";
            return Err(refuse("url", "no server is named", mend));
        };
        if url.as_str().contains("sslmode") {
            let why = "sslmode has a key of its own";
            let mend = "take it out of the URL and set ledger.postgres.sslmode";
            return Err(refuse("url", why, mend));
        }
        let mend = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        // Its own words may quote the URL, which holds a password.
        let parsed = url.as_str().parse::<Config>();
        let Some(mut config) = parsed.ok().filter(|config| !config.get_hosts().is_empty()) else {
            return Err(refuse("url", "no URL of a PostgreSQL server", mend));
        };
        config.application_name("bedrock-meter");
        config.connect_timeout(self.connect_timeout);
        config.ssl_mode(self.ssl_mode(&config));
        Ok(config)
    }

    fn ssl_mode(&self, config: &Config) -> tokio_postgres::config::SslMode {
        let is_here = |host: &Host| matches!(host, Host::Unix(_));
        let is_local = config.get_hosts().iter().all(is_here);
        match self.sslmode {
            SslMode::VerifyFull if !is_local => tokio_postgres::config::SslMode::Require,
            SslMode::VerifyFull | SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        }
    }
}

/// One that needs no quotes, so that it stays the same in every tool.
fn is_plain_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let begins = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    begins && name.len() <= 63 && name.bytes().all(fits) && !name.starts_with("pg_")
}

/// A hundred million entries are summed up in minutes.
const PATIENCE: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str, schema: &str) -> Option<&'static str> {
        let settings = PostgresSettings {
            url: (!url.is_empty()).then(|| Secret::new(url)),
            schema: schema.to_owned(),
            ..PostgresSettings::default()
        };
        settings.check().err().map(|problem| problem.key)
    }

    #[test]
    fn what_cannot_be_tried_is_named_without_the_password() {
        let check = |url: &str, schema: &str, expected| {
            assert_eq!(problem(url, schema), expected, "{url} {schema}");
        };
        let good = "postgres://meter:hunter2@db.example:5432/meter";
        check(good, "bedrock_meter", None);
        check("host=/run/postgresql user=meter", "meter2", None);
        check("", "bedrock_meter", Some("url"));
        check("db.example:5432", "bedrock_meter", Some("url"));
        check("user=meter", "bedrock_meter", Some("url"));
        check(&format!("{good}?sslmode=require"), "meter", Some("url"));
        for schema in ["", "Meter", "me ter", "1meter", "pg_meter", "a\"; drop"] {
            check(good, schema, Some("schema"));
        }
    }

    #[test]
    fn a_socket_of_this_machine_has_no_tls_and_a_host_has() {
        let mode = |url: &str, sslmode| {
            let settings = PostgresSettings {
                url: Some(Secret::new(url)),
                sslmode,
                ..PostgresSettings::default()
            };
            settings.config().unwrap().get_ssl_mode()
        };
        let require = tokio_postgres::config::SslMode::Require;
        let disable = tokio_postgres::config::SslMode::Disable;
        assert_eq!(mode("host=db user=a", SslMode::VerifyFull), require);
        assert_eq!(mode("host=db user=a", SslMode::Disable), disable);
        assert_eq!(mode("host=/run user=a", SslMode::VerifyFull), disable);
    }
}
