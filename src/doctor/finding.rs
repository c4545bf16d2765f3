//! What one check found.

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// The proxy runs, but something deserves a look.
    Warning,
    /// Calls will fail.
    Failed,
    /// Not tried: an earlier failure makes it pointless.
    Skipped,
}

impl State {
    /// `ok`, `warning`, `failed` or `skipped`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One check: what was seen, and what mends it. Holds no secret.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// How it ended.
    pub state: State,
    /// What was seen, or why it was not tried.
    pub seen: String,
    /// What to do; only of warnings and failures.
    pub mend: Option<String>,
    /// Further lines, such as model ids.
    pub details: Vec<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            seen: seen.into(),
            mend: None,
            details: Vec::new(),
        }
    }

    pub(super) fn warning(
        check: &'static str,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Warning,
            mend: Some(mend.into()),
            ..Self::ok(check, seen)
        }
    }

    pub(super) fn failed(
        check: &'static str,
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Failed,
            ..Self::warning(check, seen, mend)
        }
    }

    pub(super) fn skipped(check: &'static str, why: &str) -> Self {
        Self {
            state: State::Skipped,
            ..Self::ok(check, why)
        }
    }

    pub(super) fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}
