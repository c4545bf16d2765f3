//! The bill: one JSON line for each request that was served or refused.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};

use super::SimulatorError;

/// The file that lines are appended to; none keeps no bill.
#[derive(Clone, Debug)]
pub(super) struct BillLog(Option<Arc<Mutex<File>>>);

impl BillLog {
    /// Opens the file for appending.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, SimulatorError> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|cause| SimulatorError::BillLog {
            path: path.to_owned(),
            cause,
        })?;
        Ok(Self(Some(Arc::new(Mutex::new(file)))))
    }

    /// Appends one line in one write.
    fn append(&self, line: &BillLine) -> std::io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)
    }
}

/// What one request was, and what it costs.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct BillLine {
    /// `x-amzn-requestid` of the answer.
    pub(super) request_id: String,
    /// RFC 3339.
    pub(super) received_at: String,
    pub(super) operation: Option<&'static str>,
    /// As asked for, percent-decoded.
    pub(super) model_id: Option<String>,
    /// From the scope of the signature, or else the host.
    pub(super) region: String,
    /// `None` while no answer was decided on.
    pub(super) status: Option<u16>,
    pub(super) served_tier: String,
    pub(super) latency: String,
    pub(super) sdk_invocation_id: Option<String>,
    /// Who signed it.
    pub(super) access_key_id: Option<String>,
    /// The assumed role and its session, where that key is a temporary one.
    pub(super) principal: Option<String>,
    /// The tags of that session.
    pub(super) session_tags: Map<String, Value>,
    /// Request metadata, of header or body, as it came.
    pub(super) request_metadata: Option<Value>,
    /// Counted from 1.
    pub(super) attempt: Option<u32>,
    pub(super) user_agent: Option<String>,
    pub(super) request_bytes: u64,
    pub(super) request_sha256: String,
    /// Whether the response head was handed to the connection.
    pub(super) head_sent: bool,
    /// Whether all of the answer was handed to the connection.
    pub(super) fully_sent: bool,
    /// What was wrong with the answer on purpose.
    pub(super) fault: Option<&'static str>,
    /// Quantities by dimension of the price facts; empty when nothing is billed.
    pub(super) usage: Map<String, Value>,
}

/// A line that is written exactly once: when the answer ends, or when its client is gone.
pub(super) struct Receipt {
    log: BillLog,
    line: Option<BillLine>,
}

impl Receipt {
    /// The receipt of a request that was read.
    pub(super) const fn new(log: BillLog, line: BillLine) -> Self {
        Self {
            log,
            line: Some(line),
        }
    }

    /// Changes the line, unless it was written.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut BillLine)) {
        if let Some(line) = &mut self.line {
            change(line);
        }
    }

    /// Writes the line.
    pub(super) fn settle(&mut self, fully_sent: bool) {
        let Some(mut line) = self.line.take() else {
            return;
        };
        line.fully_sent = fully_sent;
        if let Err(cause) = self.log.append(&line) {
            tracing::error!(%cause, "the bill lost a line");
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.settle(false);
    }
}
