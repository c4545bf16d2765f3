//! How records stand one after another in a file: the same for open calls and for the spill.
//!
//! ```text
//! offset  size  field
//! 0       4     magic: where a reader looks for the next record after a damaged one
//! 4       4     n, the length of the body in bytes (little-endian)
//! 8       n     body
//! 8+n     4     CRC-32 (IEEE) of the length and the body (little-endian)
//! ```
//!
//! Knows nothing of what a body holds, and nothing of files.

/// The frame of one kind of record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Begins each record.
    pub(super) magic: [u8; 4],
    /// No true record is longer: a length above it is damage.
    pub(super) body_bytes_max: usize,
}

/// What a run of bytes holds.
#[derive(Debug)]
pub(super) struct Scan<T> {
    /// The records, in the order they were written.
    pub(super) records: Vec<T>,
    /// Stretches of bytes that are no record.
    pub(super) unreadable: u64,
}

impl Frame {
    /// Appends a record whose body is what `body` appends.
    pub(super) fn put(self, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.magic);
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        body(out);
        let length = out.len().saturating_sub(start).saturating_sub(LENGTH_BYTES);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        for (place, byte) in out.iter_mut().skip(start).zip(length) {
            *place = byte;
        }
        let checksum = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Reads records, whatever happened to them.
    ///
    /// One that is cut short, damaged, or that `decode` does not know is counted, and the search
    /// goes on at the next magic: records after a torn write in the middle are found again.
    pub(super) fn scan<T>(self, mut bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>) -> Scan<T> {
        let mut scan = Scan {
            records: Vec::new(),
            unreadable: 0,
        };
        while !bytes.is_empty() {
            let (found, used) = match self.body(bytes) {
                Some(body) => (decode(body), body.len().saturating_add(FRAME_BYTES)),
                None => (None, self.next_magic(bytes)),
            };
            match found {
                Some(record) => scan.records.push(record),
                None => scan.unreadable = scan.unreadable.saturating_add(1),
            }
            bytes = bytes.get(used..).unwrap_or_default();
        }
        scan
    }

    /// The body of the record at the start of these bytes, if it is whole and its checksum holds.
    fn body(self, bytes: &[u8]) -> Option<&[u8]> {
        let rest = bytes.strip_prefix(&self.magic)?;
        let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > self.body_bytes_max {
            return None;
        }
        let body = after.get(..length)?;
        let checksum = after.get(length..)?.first_chunk::<4>()?;
        let checked = rest.get(..length.checked_add(LENGTH_BYTES)?)?;
        (crc32fast::hash(checked) == u32::from_le_bytes(*checksum)).then_some(body)
    }

    /// How many bytes to skip to the next magic after the first byte, or all of them.
    fn next_magic(self, bytes: &[u8]) -> usize {
        let rest = bytes.get(1..).unwrap_or_default();
        memchr::memmem::find(rest, &self.magic).map_or(bytes.len(), |at| at.saturating_add(1))
    }
}

const LENGTH_BYTES: usize = 4;

/// What a record is longer than its body.
const FRAME_BYTES: usize = 12;
