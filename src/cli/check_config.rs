//! `check-config`: every problem of a configuration at once, or the effective settings.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{output, serve};
use crate::config;

/// What `check-config` is asked.
#[derive(Debug, Args)]
#[command(
    about = "Report every problem of a configuration, or print the effective settings",
    after_help = "Example: bedrock-meter check-config config/bedrock-meter.toml\n\n\
                  Warnings go to standard error. Exit codes: 0 the configuration is good, 78 it is not."
)]
pub(super) struct CheckConfigArgs {
    /// The configuration file; without one, the defaults are shown
    file: Option<PathBuf>,
}

/// Checks a configuration.
///
/// # Errors
/// When the output cannot be written.
pub(super) fn run(args: &CheckConfigArgs) -> anyhow::Result<ExitCode> {
    match serve::settings(args.file.as_deref()) {
        Ok(settings) => {
            for warning in config::warnings(&settings) {
                output::say(&format!("warning: {warning}"));
            }
            output::printing(|out| {
                out.write_all(config::explain(&settings).as_bytes())?;
                Ok(ExitCode::SUCCESS)
            })
        }
        Err(bad_configuration) => Ok(bad_configuration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_good_from_bad() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let check = |file: &str, expected: ExitCode| {
            let file = Some(root.join(file));
            let code = run(&CheckConfigArgs { file }).unwrap();
            assert_eq!(code, expected);
        };
        check("config/bedrock-meter.toml", ExitCode::SUCCESS);
        check("config/absent.toml", ExitCode::from(78));
        check("Cargo.toml", ExitCode::from(78));
    }
}
