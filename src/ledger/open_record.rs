//! The record of an open call: what must be known to settle it if this process dies.
//!
//! Little-endian, explicit, versioned, in a frame (`frame.rs`) with the magic `BMoc` and at most
//! 1 MiB. `docs/ledger.md` has the same table for people.
//!
//! ```text
//! body, version 2 (version 1 ends before the last three fields, and is still read)
//! 0       1     version = 2
//! 1       16    call id
//! 17      8     opened at, milliseconds since 1970 (signed)
//! 25      8     bytes of the request body
//! 33      2     attempt of the SDK, 0 = not said
//! 35      ...   texts, each: 2 bytes length (65,535 = absent), then UTF-8:
//!               tenant, application, operation, region, user, session, tier asked,
//!               SDK invocation id, model as asked, base model, geography, capacity
//! ...     8     what budgets hold for it, in microdollars (signed; -1 = nothing)
//! ...     ...   texts: key id, what it was downgraded from
//! ```
//!
//! Knows nothing of files.

use std::sync::Arc;

use super::frame::{Frame, Scan};
use super::model_names::{capacity_name, capacity_of, geography_of};
use crate::domain::{
    ApplicationId, CallId, ModelRef, Operation, Region, ServiceTier, TenantId, Timestamp, Usd,
};

/// A call that was admitted and has no entry yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// Identifies the call.
    pub call_id: CallId,
    /// When it was admitted.
    pub opened_at: Timestamp,
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload.
    pub application: ApplicationId,
    /// The caller's user, as the identity settings allow it to be kept.
    pub user: Option<Arc<str>>,
    /// The caller's session or run.
    pub session: Option<Arc<str>>,
    /// What was called.
    pub operation: Operation,
    /// Which model; `None` for operations without one.
    pub model: Option<ModelRef>,
    /// The region that is called.
    pub region: Region,
    /// The tier that was asked for, where the request said so.
    pub tier_asked: Option<ServiceTier>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// `amz-sdk-invocation-id`.
    pub sdk_invocation_id: Option<Arc<str>>,
    /// Which attempt of the SDK this is, counted from 1.
    pub sdk_attempt: Option<u16>,
    /// The public id of the issued key that proved the caller.
    pub key: Option<Arc<str>>,
    /// What budgets hold for it, in whole microdollars; `None` where none applies.
    pub reserved: Option<Usd>,
    /// What the client had asked for, where a budget made it something cheaper.
    pub downgraded_from: Option<Arc<str>>,
}

impl OpenCall {
    /// The whole record, ready for one write.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(512);
        FRAME.put(&mut record, |out| self.encode_body(out));
        record
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(self.call_id.as_bytes());
        out.extend_from_slice(&self.opened_at.unix_ms().to_le_bytes());
        out.extend_from_slice(&self.request_bytes.to_le_bytes());
        out.extend_from_slice(&self.sdk_attempt.unwrap_or(0).to_le_bytes());
        let model = self.model.as_ref();
        let texts = [
            Some(self.tenant.as_str()),
            Some(self.application.as_str()),
            Some(self.operation.name()),
            Some(self.region.as_str()),
            self.user.as_deref(),
            self.session.as_deref(),
            self.tier_asked.as_ref().map(ServiceTier::name),
            self.sdk_invocation_id.as_deref(),
            model.map(|model| &*model.asked),
            model.and_then(|model| model.base.as_deref()),
            model.map(|model| model.geography.name()),
            model.map(|model| capacity_name(model.capacity)),
        ];
        for text in texts {
            encode_text(text, out);
        }
        let reserved = self.reserved.and_then(Usd::split_micro);
        let reserved = reserved.map_or(NOTHING_HELD, |(micro, _)| micro);
        out.extend_from_slice(&reserved.to_le_bytes());
        encode_text(self.key.as_deref(), out);
        encode_text(self.downgraded_from.as_deref(), out);
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let mut body = Cursor(body);
        let [version] = body.array::<1>()?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let call_id = CallId::from_bytes(body.array()?);
        let opened_at = Timestamp::from_unix_ms(i64::from_le_bytes(body.array()?));
        let request_bytes = u64::from_le_bytes(body.array()?);
        let sdk_attempt = u16::from_le_bytes(body.array()?);
        let mut call = Self {
            call_id,
            opened_at,
            tenant: body.text()??.parse().ok()?,
            application: body.text()??.parse().ok()?,
            operation: Operation::from_name(body.text()??)?,
            region: body.text()??.parse().ok()?,
            user: body.text()?.map(Arc::from),
            session: body.text()?.map(Arc::from),
            tier_asked: body.text()?.map(ServiceTier::from_name),
            request_bytes,
            sdk_invocation_id: body.text()?.map(Arc::from),
            sdk_attempt: Some(sdk_attempt).filter(|attempt| *attempt > 0),
            model: body.model()?,
            key: None,
            reserved: None,
            downgraded_from: None,
        };
        if version > 1 {
            let reserved = i64::from_le_bytes(body.array()?);
            call.reserved = (reserved != NOTHING_HELD).then(|| Usd::from_split(reserved, 0));
            call.key = body.text()?.map(Arc::from);
            call.downgraded_from = body.text()?.map(Arc::from);
        }
        body.0.is_empty().then_some(call)
    }
}

/// Reads the records of a segment, whatever happened to it: the calls in the order they were
/// opened.
pub(super) fn scan(bytes: &[u8]) -> Scan<OpenCall> {
    FRAME.scan(bytes, OpenCall::decode_body)
}

/// Absent, or at most 65,534 bytes: what is longer is cut at a character.
fn encode_text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        out.extend_from_slice(&ABSENT.to_le_bytes());
        return;
    };
    let end = text.floor_char_boundary(usize::from(ABSENT) - 1);
    let text = text.get(..end).unwrap_or_default();
    let length = u16::try_from(text.len()).unwrap_or_default();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The bytes of a body that are still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// `None` when the bytes are no text; `Some(None)` when the text is absent.
    #[expect(
        clippy::option_option,
        reason = "the outer layer is for `?`: broken bytes; the inner one is the value"
    )]
    fn text(&mut self) -> Option<Option<&'a str>> {
        let length = u16::from_le_bytes(self.array()?);
        if length == ABSENT {
            return Some(None);
        }
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(Some(std::str::from_utf8(text).ok()?))
    }

    #[expect(
        clippy::option_option,
        reason = "the outer layer is for `?`: broken bytes; the inner one is the value"
    )]
    fn model(&mut self) -> Option<Option<ModelRef>> {
        let asked = self.text()?;
        let base = self.text()?;
        let geography = self.text()?;
        let capacity = self.text()?;
        let Some(asked) = asked else {
            return Some(None);
        };
        Some(Some(ModelRef {
            asked: asked.into(),
            base: base.map(Arc::from),
            geography: geography_of(geography?),
            capacity: capacity_of(capacity?)?,
        }))
    }
}

const VERSION: u8 = 2;
const NOTHING_HELD: i64 = -1;
const ABSENT: u16 = u16::MAX;

const FRAME: Frame = Frame {
    magic: *b"BMoc",
    // Fourteen texts of at most 64 KiB and 51 bytes.
    body_bytes_max: 1 << 20,
};

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Capacity, Geography};

    /// A call with every field said, or as few as possible.
    pub(in crate::ledger) fn open_call(full: bool) -> OpenCall {
        let text = |text: &str| full.then(|| Arc::from(text));
        OpenCall {
            call_id: CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)),
            opened_at: Timestamp::from_unix_ms(1_795_300_000_123),
            tenant: TenantId::new("search").unwrap(),
            application: ApplicationId::new("indexer").unwrap(),
            user: text("u-1ä"),
            session: text("run-7"),
            operation: Operation::ConverseStream,
            model: full.then(|| ModelRef {
                asked: "us.anthropic.claude-opus-5-5".into(),
                base: Some("anthropic.claude-opus-5-5".into()),
                geography: Geography::Profile("us".into()),
                capacity: Capacity::OnDemand,
            }),
            region: Region::new("us-east-1").unwrap(),
            tier_asked: full.then_some(ServiceTier::Priority),
            request_bytes: 1234,
            sdk_invocation_id: text("0f1e"),
            sdk_attempt: full.then_some(2),
            key: text("BMAK0123456789ABCDEF"),
            reserved: full.then(|| "0.125".parse().unwrap()),
            downgraded_from: text("anthropic.claude-opus-5-5"),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for call in [open_call(true), open_call(false)] {
            let scan = scan(&call.encode());
            assert_eq!((scan.records, scan.unreadable), (vec![call], 0));
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let call = open_call(false);
        let record = call.encode();
        assert_eq!(&record[..4], b"BMoc");
        assert_eq!(usize::from(record[4]) + 12, record.len());
        assert_eq!(record[8], 2);
        assert_eq!(&record[9..25], call.call_id.as_bytes());
        assert_eq!(record[25..33], 1_795_300_000_123_i64.to_le_bytes());
        assert_eq!(record[33..41], 1234_u64.to_le_bytes());
        assert_eq!(record[41..43], [0, 0]);
        assert_eq!(&record[43..51], b"\x06\x00search");
        assert_eq!(&record[record.len() - 6..][..2], b"\xff\xff");
    }

    /// What the release before wrote: everything up to the three newest fields.
    #[test]
    fn records_of_version_1_are_still_read() {
        let mut call = open_call(true);
        (call.key, call.reserved, call.downgraded_from) = (None, None, None);
        let mut record = call.encode();
        record.truncate(record.len() - 4 - 8 - 2 - 2);
        record[8] = 1;
        let length = u32::try_from(record.len() - 8).unwrap().to_le_bytes();
        record[4..8].copy_from_slice(&length);
        let checksum = crc32fast::hash(&record[4..]).to_le_bytes();
        record.extend(checksum);
        let scan = scan(&record);
        assert_eq!((scan.records, scan.unreadable), (vec![call], 0));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_at_a_character() {
        let mut call = open_call(false);
        call.user = Some("ä".repeat(40_000).into());
        let scan = scan(&call.encode());
        let user = scan.records[0].user.as_deref().unwrap();
        assert_eq!(user.len(), 65_534);
    }

    #[test]
    fn another_version_is_counted_and_passed_over() {
        let mut record = open_call(true).encode();
        record[8] = 9;
        let end = record.len() - 4;
        let checksum = crc32fast::hash(&record[4..end]).to_le_bytes();
        record[end..].copy_from_slice(&checksum);
        let next = open_call(true);
        record.extend(next.encode());
        let scan = scan(&record);
        assert_eq!((scan.records, scan.unreadable), (vec![next], 1));
    }

    proptest! {
        #[test]
        fn a_cut_keeps_every_record_before_it(count in 1_usize..8, cut in any::<prop::sample::Index>()) {
            let calls: Vec<_> = (0..count).map(|n| open_call(n % 2 == 0)).collect();
            let records: Vec<_> = calls.iter().map(OpenCall::encode).collect();
            let bytes = records.concat();
            let cut = cut.index(bytes.len() + 1);
            let ends = records.iter().scan(0, |end, record| {
                *end += record.len();
                Some(*end)
            });
            let whole = ends.filter(|end| *end <= cut).count();
            let scan = scan(&bytes[..cut]);
            prop_assert_eq!(&scan.records[..], &calls[..whole]);
        }

        #[test]
        fn damage_in_the_middle_costs_only_the_record_it_hits(at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let calls = [open_call(true), open_call(true), open_call(true)];
            let records = calls.each_ref().map(OpenCall::encode);
            let mut middle = records[1].clone();
            let at = at.index(middle.len());
            middle[at] ^= flip;
            let scan = scan(&[&records[0][..], &middle, &records[2]].concat());
            prop_assert_eq!(scan.records, vec![calls[0].clone(), calls[2].clone()]);
            prop_assert!(scan.unreadable >= 1);
        }

        #[test]
        fn garbage_is_never_a_call(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(scan(&bytes).records.is_empty());
        }
    }
}
