//! The log: one line per event on standard error, as text or JSON.
//!
//! Nothing that is logged may hold a body, a header value of a client or a secret: events carry
//! ids, closed words and numbers only. Our own crate logs at the configured level, others only
//! warnings, because HTTP libraries print header values at their lower levels.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{LogFormat, LogLevel, Settings, TelemetryError};
use crate::domain::Keyword as _;

/// Installs the process's log.
///
/// # Errors
/// When a log is installed already.
pub fn install_log(settings: &Settings) -> Result<(), TelemetryError> {
    let stderr = std::io::stderr;
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing::subscriber::set_global_default(subscriber(settings, stderr, colours))
        .map_err(|_cause| TelemetryError::LogInstalled)
}

fn subscriber<W>(settings: &Settings, writer: W, colours: bool) -> Box<Subscriber>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings.log_level))
        .with_writer(writer);
    match settings.log_format {
        LogFormat::Text => Box::new(builder.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

type Subscriber = dyn tracing::Subscriber + Send + Sync;

/// Ours at the level, others at warnings (errors when only errors are asked for).
fn filter(level: LogLevel) -> EnvFilter {
    let others = match level {
        LogLevel::Error => "error",
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug | LogLevel::Trace => "warn",
    };
    EnvFilter::new(format!("{others},bedrock_meter={}", level.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log_format: LogFormat, log_level: LogLevel) -> String {
        let lines = Lines::default();
        let settings = Settings {
            log_format,
            log_level,
            ..Settings::default()
        };
        let writer = lines.clone();
        let subscriber = subscriber(&settings, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "bedrock_meter::ours", tenant = "a\"b\n", "said");
            tracing::info!(target: "hyper::proto", secret = "hunter2", "header");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_json_whatever_the_values_hold() {
        let line = logged(LogFormat::Json, LogLevel::Info);
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["tenant"], "a\"b\n");
        assert_eq!(event["message"], "said");
    }

    #[test]
    fn the_level_applies_and_other_crates_keep_silent() {
        assert!(logged(LogFormat::Text, LogLevel::Info).contains("said"));
        assert!(!logged(LogFormat::Text, LogLevel::Trace).contains("hunter2"));
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn), "");
    }
}
