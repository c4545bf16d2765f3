//! The access log: one JSON object a line for each settled call, written by a thread of its own.
//!
//! A file that was moved away is found out by its inode within a second, and a new one begins.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Metrics, SettledCall};
use crate::domain::{ServiceTier, UnpricedReason, UsageReason};

/// Writes the lines. What cannot be written is counted; no call waits for it.
pub struct AccessLog {
    target: Target,
    calls: Receiver<Arc<SettledCall>>,
    metrics: Arc<Metrics>,
    looked: Instant,
    failing: bool,
}

enum Target {
    Stream(Box<dyn Write + Send>),
    File { path: PathBuf, file: Option<File> },
}

impl AccessLog {
    /// Opens the log and its queue.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(
        path: &Path,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, SyncSender<Arc<SettledCall>>)> {
        let target = match path.to_str() {
            Some("stdout") => Target::Stream(Box::new(io::stdout())),
            Some("stderr") => Target::Stream(Box::new(io::stderr())),
            _ => Target::File {
                path: path.to_owned(),
                file: Some(open(path)?),
            },
        };
        let (sender, calls) = sync_channel(QUEUE_MAX);
        let log = Self {
            target,
            calls,
            metrics,
            looked: Instant::now(),
            failing: false,
        };
        Ok((log, sender))
    }

    /// Writes until the sender is gone and the queue is empty.
    pub fn run(mut self) {
        let mut lines = Vec::with_capacity(LINES_BYTES);
        loop {
            let first = match self.calls.recv_timeout(LOOK_INTERVAL) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if self.looked.elapsed() >= LOOK_INTERVAL {
                self.look();
            }
            lines.clear();
            let mut count = append(&first, &mut lines);
            while lines.len() < LINES_BYTES
                && let Ok(next) = self.calls.try_recv()
            {
                count += append(&next, &mut lines);
            }
            self.write(&lines, count);
        }
    }

    fn write(&mut self, lines: &[u8], count: u64) {
        let written = match &mut self.target {
            Target::Stream(stream) => stream.write_all(lines).and_then(|()| stream.flush()),
            Target::File {
                file: Some(file), ..
            } => file.write_all(lines),
            Target::File { file: None, .. } => Err(io::ErrorKind::NotFound.into()),
        };
        if written.is_err() {
            self.metrics.access_log_dropped(count);
        }
        self.tell(written);
    }

    /// Begins a new file where the old one was moved or deleted.
    fn look(&mut self) {
        self.looked = Instant::now();
        let Target::File { path, file } = &mut self.target else {
            return;
        };
        if file.as_ref().is_some_and(|file| is_at(file, path)) {
            return;
        }
        let opened = open(path);
        let told = opened.as_ref().map(|_| ()).map_err(io::Error::kind);
        *file = opened.ok();
        self.tell(told.map_err(io::Error::from));
    }

    /// Says a failure once, until something works again.
    fn tell(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => self.failing = false,
            Err(_) if self.failing => {}
            Err(error) => {
                self.failing = true;
                tracing::error!(event = "access_log_failed", %error, "access log");
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let of_file = file.metadata().map(|data| (data.dev(), data.ino()));
    let of_path = path.metadata().map(|data| (data.dev(), data.ino()));
    matches!((of_file, of_path), (Ok(one), Ok(other)) if one == other)
}

/// One line. What is unknown is `null`, never zero.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    settled_at: String,
    call_id: String,
    tenant: &'a str,
    application: &'a str,
    user: Option<&'a str>,
    session: Option<&'a str>,
    operation: &'static str,
    model: Option<&'a str>,
    region: &'a str,
    tier_asked: Option<&'a str>,
    outcome: &'static str,
    status: Option<u16>,
    error_class: Option<&'a str>,
    aws_request_id: Option<&'a str>,
    sdk_invocation_id: Option<&'a str>,
    sdk_attempt: Option<u16>,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: u64,
    first_byte_ms: Option<u64>,
    first_token_ms: Option<u128>,
    usage: BTreeMap<&'a str, u64>,
    usage_source: &'static str,
    usage_reason: Option<&'static str>,
    cost_usd: Option<String>,
    price_status: &'static str,
    price_reason: Option<&'static str>,
    catalogue: &'a str,
    client: Option<&'a str>,
    sdk: Option<&'a str>,
    trace_id: Option<String>,
}

/// Appends the line of a call: how many lines that are.
fn append(call: &SettledCall, lines: &mut Vec<u8>) -> u64 {
    // Texts and numbers always become JSON.
    if serde_json::to_writer(&mut *lines, &line(call)).is_ok() {
        lines.push(b'\n');
    }
    1
}

fn line(call: &SettledCall) -> Line<'_> {
    let entry = &call.entry;
    let (reading, charge) = (&entry.reading, &entry.charge);
    let origin = call.origin.as_deref();
    let parent = origin.and_then(|origin| origin.parent);
    let usage = reading.usage.iter();
    Line {
        time: entry.opened_at.to_string(),
        settled_at: entry.settled_at.to_string(),
        call_id: entry.call_id.to_string(),
        tenant: entry.tenant.as_str(),
        application: entry.application.as_str(),
        user: entry.user.as_deref(),
        session: entry.session.as_deref(),
        operation: entry.operation.name(),
        model: entry.model.as_ref().map(|model| &*model.asked),
        region: entry.region.as_str(),
        tier_asked: entry.tier_asked.as_ref().map(ServiceTier::name),
        outcome: entry.outcome.name(),
        status: entry.status,
        error_class: entry.error_class.as_deref(),
        aws_request_id: entry.aws_request_id.as_deref(),
        sdk_invocation_id: entry.sdk_invocation_id.as_deref(),
        sdk_attempt: entry.sdk_attempt,
        request_bytes: entry.request_bytes,
        response_bytes: entry.response_bytes,
        duration_ms: entry.duration_ms,
        first_byte_ms: entry.first_byte_ms,
        first_token_ms: call.first_token.map(|time| time.as_millis()),
        usage: usage.map(|(kind, count)| (kind.name(), count)).collect(),
        usage_source: reading.source.name(),
        usage_reason: reading.reason.map(UsageReason::name),
        cost_usd: charge.total.map(|total| total.to_string()),
        price_status: charge.status.name(),
        price_reason: charge.status.reason().map(UnpricedReason::name),
        catalogue: &entry.catalogue,
        client: origin.and_then(|origin| origin.client.as_deref()),
        sdk: origin.and_then(|origin| origin.sdk.as_deref()),
        trace_id: parent.map(|parent| format!("{:032x}", u128::from_be_bytes(parent.trace_id))),
    }
}

/// How often the file's place is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Calls that may wait for their line.
const QUEUE_MAX: usize = 10_000;
/// Bytes that are written at once, about.
const LINES_BYTES: usize = 64 << 10;
