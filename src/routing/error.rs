//! Why a request line is refused. Nothing was sent to Bedrock.

use crate::domain::InvalidName;

/// Why a request line names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// Method and path are no operation of Bedrock; the caller's mistake, or an operation newer
    /// than this program.
    #[error("the method and path are no operation of Bedrock that this proxy serves")]
    UnknownOperation,
    /// The path cannot be read without doubt; the caller's mistake, or an attack.
    #[error("the path is malformed: {0}")]
    Malformed(#[from] Malformed),
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no absolute path (`*`, or an authority).
    #[error("it does not begin with /")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    #[error("a % is not followed by two hexadecimal digits")]
    PercentEncoding,
    /// A character that RFC 3986 wants percent-encoded; hops differ in what they make of it.
    #[error("it holds a character that must be percent-encoded")]
    NotEncoded,
    /// A backslash, which some hops take for a slash.
    #[error("it holds a backslash")]
    Backslash,
    /// It decodes to bytes that are no text.
    #[error("it does not decode to UTF-8")]
    NotUtf8,
    /// It holds NUL or another control character.
    #[error("it holds a control character")]
    ControlCharacter,
    /// It holds a segment that some hop would resolve.
    #[error("it holds a . or .. segment")]
    DotSegment,
    /// The model id is empty.
    #[error("the model id is empty")]
    ModelIdEmpty,
    /// The model id is longer than Bedrock accepts.
    #[error("the model id is longer than 2048 characters")]
    ModelIdTooLong,
    /// A part of the base path is given twice.
    #[error("the base path gives /{0}/ twice")]
    RepeatedPart(&'static str),
    /// A part of the base path names something by an invalid name.
    #[error("the base path holds what is {0}")]
    Name(#[from] InvalidName),
}
