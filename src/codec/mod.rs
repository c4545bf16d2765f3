//! Wire formats: bytes in, values out, incrementally.
//!
//! Nothing here knows what the values mean, does I/O, or allocates per frame or per byte. Every
//! buffer has a stated limit; bytes that are not the format give a typed state, never a panic.

mod eventstream;
mod json;
mod needles;
mod object;
mod occurs;

pub use eventstream::{FRAME_BYTES_MAX, Frame, FrameKind, FrameScanner, FramingError};
pub use json::{MEMBER_BYTES_MAX, MemberExtractor};
pub use needles::Needles;
pub use object::{Member, Object, Text, joined, read_object, replaced};
pub use occurs::occurs;
