//! Where commands print: one locked, buffered standard output, and tables for people.

use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};
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

/// Says something on standard error: what a running command tells people.
#[expect(clippy::print_stderr, reason = "what a running command tells people")]
pub(super) fn say(text: &str) {
    eprintln!("{text}");
}

/// Draws the current line of standard error anew. Only for a terminal.
#[expect(clippy::print_stderr, reason = "what a running command tells people")]
pub(super) fn redraw(text: &str) {
    eprint!("\r\x1b[K{text}");
}

/// How far a long command is: one line on standard error that is written over, and nothing where
/// that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    word: &'static str,
    from: i64,
    to: i64,
    shown: Option<i64>,
}

impl Progress {
    /// Progress of a command from one number to another.
    pub(super) fn new(word: &'static str, from: i64, to: i64) -> Self {
        let shown = io::stderr().is_terminal().then_some(-1);
        Self {
            word,
            from,
            to,
            shown,
        }
    }

    /// It is there now.
    pub(super) fn at(&mut self, now: i64) {
        let Some(shown) = self.shown else { return };
        let all = self.to.saturating_sub(self.from).max(1);
        let done = now.saturating_sub(self.from).clamp(0, all);
        let percent = done.saturating_mul(100).div_euclid(all);
        if percent != shown {
            self.shown = Some(percent);
            let done = usize::try_from(percent.div_euclid(5)).unwrap_or(0);
            let bar = "#".repeat(done);
            redraw(&format!("{} [{bar:<20}] {percent:>3} %", self.word));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some_and(|percent| percent >= 0) {
            redraw("");
        }
    }
}

/// An amount for a live table, where more digits than a float has would not be read.
#[expect(
    clippy::cast_precision_loss,
    reason = "for a live table only; reports are exact"
)]
pub(super) fn dollars(amount: crate::domain::Usd) -> f64 {
    amount.femto() as f64 / 1e15
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

/// A table for people: a head, rows, columns as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with that head.
    pub(super) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Self { rows: vec![head] }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes the table.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:<width$}  ").map_err(io::Error::other)?;
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell: &String| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG"]);
        table.push(vec!["wide".to_owned(), "x".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     LONG\nwide  x\n");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let left = || io::Error::from(ErrorKind::BrokenPipe);
        let code = printing(|_| Err(left().into())).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(printing(|_| Err(io::Error::other("full").into())).is_err());
    }
}
