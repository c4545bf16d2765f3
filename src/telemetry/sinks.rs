//! Where settled calls go beside ledger and metrics: the collector's queue and the access log's.
//!
//! Both queues are bounded and are never waited for: what does not fit is dropped and counted.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::{Metrics, Origin, TraceParent};
use crate::domain::{CallId, Entry};

/// A committed entry with what else is known of its call.
#[derive(Debug)]
pub struct SettledCall {
    /// The entry, as the ledger has it.
    pub entry: Entry,
    /// Where the call came from.
    pub origin: Option<Box<Origin>>,
    /// From admission to the end.
    pub duration: Duration,
    /// From admission to the first byte of the answer's body.
    pub first_byte: Option<Duration>,
    /// From admission to the first generated content.
    pub first_token: Option<Duration>,
}

impl SettledCall {
    /// The trace it belongs to.
    pub fn trace(&self) -> Trace {
        let parent = self.origin.as_ref().and_then(|origin| origin.parent);
        Trace::of(self.entry.call_id, parent)
    }
}

/// The ids of a call's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The caller's trace, or one of its own: the call id's bytes.
    pub trace_id: [u8; 16],
    /// The second half of the call id: mostly random.
    pub span_id: [u8; 8],
    /// The caller's span.
    pub parent: Option<TraceParent>,
}

impl Trace {
    fn of(call_id: CallId, parent: Option<TraceParent>) -> Self {
        let own = call_id.as_bytes();
        let mut span_id = [0; 8];
        for (byte, of_call) in span_id.iter_mut().zip(own.iter().skip(8)) {
            *byte = *of_call;
        }
        Self {
            trace_id: parent.map_or(*own, |parent| parent.trace_id),
            span_id,
            parent,
        }
    }

    /// Whether it is recorded: as the caller decided, or by its share. The share is judged on the
    /// last seven bytes, as the OpenTelemetry specification does, which a call id has at random.
    pub fn is_sampled(&self, percent: u8) -> bool {
        if let Some(parent) = self.parent {
            return parent.sampled;
        }
        let random = self.trace_id.iter().skip(9);
        let random = random.fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        random * 100 < u128::from(percent) << 56
    }
}

/// The ways out of the settling thread.
#[derive(Debug)]
pub struct Sinks {
    /// The collector's queue; it ends with the settling thread.
    pub collector: Option<Sender<Arc<SettledCall>>>,
    /// Whether spans go there.
    pub traces: bool,
    /// How many of the traces that begin here are sent, in percent.
    pub sample_percent: u8,
    /// The access log's queue.
    pub access_log: Option<SyncSender<Arc<SettledCall>>>,
}

impl Sinks {
    /// No way out.
    pub const fn none() -> Self {
        Self {
            collector: None,
            traces: false,
            sample_percent: 0,
            access_log: None,
        }
    }

    /// Passes a call on to whoever asked for it.
    pub fn pass(&self, call: SettledCall, metrics: &Metrics) {
        let collector = self.collector.as_ref().filter(|_| self.traces);
        let collector = collector.filter(|_| call.trace().is_sampled(self.sample_percent));
        if collector.is_none() && self.access_log.is_none() {
            return;
        }
        let call = Arc::new(call);
        if let Some(log) = &self.access_log
            && log.try_send(Arc::clone(&call)).is_err()
        {
            metrics.access_log_dropped(1);
        }
        if let Some(collector) = collector
            && collector.try_send(call).is_err()
        {
            metrics.spans_dropped("queue_full", 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn a_call_joins_its_callers_trace_and_decision() {
        let id = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000));
        let mut parent = TraceParent {
            trace_id: [7; 16],
            span_id: [8; 8],
            sampled: true,
        };
        let joined = Trace::of(id, Some(parent));
        assert_eq!(joined.trace_id, [7; 16]);
        assert!(joined.is_sampled(0));
        parent.sampled = false;
        assert!(!Trace::of(id, Some(parent)).is_sampled(100));
        let own = Trace::of(id, None);
        assert_eq!(&own.trace_id, id.as_bytes());
        assert!(own.is_sampled(100) && !own.is_sampled(0));
    }

    #[test]
    fn the_share_is_a_threshold_on_the_last_seven_bytes() {
        let trace = |byte| {
            let mut trace_id = [0xff; 16];
            for place in &mut trace_id[9..] {
                *place = byte;
            }
            Trace {
                trace_id,
                span_id: [1; 8],
                parent: None,
            }
        };
        assert!(trace(0x00).is_sampled(1));
        assert!(trace(0x7f).is_sampled(50));
        assert!(!trace(0x80).is_sampled(50));
        assert!(trace(0xff).is_sampled(100));
    }
}
