//! Where commands print: one locked, buffered standard output.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

/// Runs what prints, and flushes after it. A reader that has seen enough (`| head`) is not a
/// failure: the command ends quietly.
///
/// # Errors
/// What `print` returns, or a failure to write.
pub(super) fn printing(
    print: impl FnOnce(&mut dyn Write) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let printed = print(&mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match printed {
        Err(cause) if is_broken_pipe(&cause) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

/// Says on standard error why a command failed.
#[expect(
    clippy::print_stderr,
    reason = "the command line's one way to complain"
)]
pub(super) fn complain(cause: &anyhow::Error) {
    eprintln!("bedrock-meter: {cause:#}");
}

fn is_broken_pipe(cause: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        // serde_json wraps the error of the writer.
        let json = cause.downcast_ref::<serde_json::Error>();
        io.or_else(|| json.and_then(serde_json::Error::io_error_kind))
    };
    cause
        .chain()
        .any(|cause| kind(cause) == Some(ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let left = || io::Error::from(ErrorKind::BrokenPipe);
        let code = printing(|_| Err(left().into())).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(printing(|_| Err(io::Error::other("full").into())).is_err());
    }
}
