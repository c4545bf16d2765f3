//! Event streams: frames are found wherever the pieces are cut, as a plain reader finds them.

use bedrock_meter::codec::{FRAME_BYTES_MAX, Frame, FrameScanner};

pub(super) fn run(data: &[u8]) {
    let (mut pieces, whole) = super::pieces(data);
    let expected = frames(whole);
    assert_eq!(scanned(&mut [whole].into_iter()), expected);
    assert_eq!(scanned(&mut pieces), expected);
}

fn scanned(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<Vec<u8>> {
    let (mut scanner, mut found) = (FrameScanner::default(), Vec::new());
    for piece in pieces {
        let fed = scanner.feed(piece, |frame| {
            found.push(frame.bytes().to_vec());
            look(frame);
        });
        if fed.is_err() {
            assert!(scanner.is_broken() && !scanner.is_at_boundary());
            break;
        }
    }
    found
}

/// Nothing that is read of a frame lies outside of it.
fn look(frame: Frame<'_>) {
    let inside = frame.payload().len() + frame.headers().len();
    assert!(inside + 16 <= frame.bytes().len());
    let (_kind, intact) = (frame.kind(), frame.is_intact());
    assert_eq!(
        Frame::parse(frame.bytes()).map(|again| again.is_intact()),
        Some(intact)
    );
}

/// The whole frames at the beginning of the bytes, by the table of the format.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while bytes.len() >= 12 {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (total, headers) = (number(0) as usize, number(4) as usize);
        let wrong = crc32fast::hash(&bytes[..8]) != number(8);
        let fits = total >= 16 && headers <= total - 16 && total <= FRAME_BYTES_MAX;
        if wrong || !fits || bytes.len() < total {
            break;
        }
        let (frame, rest) = bytes.split_at(total);
        found.push(frame.to_vec());
        bytes = rest;
    }
    found
}
