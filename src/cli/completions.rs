//! `bedrock-meter completions`: completions for a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::printing;

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example: bedrock-meter completions bash > \
  /usr/share/bash-completion/completions/bedrock-meter")]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(args.shell, &mut command, "bedrock-meter", &mut script);
    printing(|out| {
        out.write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    })
}
