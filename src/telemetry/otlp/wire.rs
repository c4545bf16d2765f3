//! The protobuf wire format, as far as OTLP needs it:
//! <https://protobuf.dev/programming-guides/encoding/>.
//!
//! Knows fields by number only. A field that a message does not set is absent.

/// A protobuf message while it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// The encoded message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A `bytes` or `string` field.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A field that is a message.
    pub(super) fn message(&mut self, field: u32, value: &Self) -> &mut Self {
        self.bytes(field, &value.0)
    }

    /// An `int`, `bool` or `enum` field that is not negative.
    pub(super) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    /// A `fixed64` or `sfixed64` field.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A `double` field.
    pub(super) fn double(&mut self, field: u32, value: f64) -> &mut Self {
        self.fixed64(field, value.to_bits())
    }

    /// A `fixed32` field.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) -> &mut Self {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A packed field of `fixed64`, or of the bits of `double`.
    pub(super) fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) -> &mut Self {
        let bytes: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
        self.bytes(field, &bytes)
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's own documentation.
    #[test]
    fn the_examples_of_the_documentation_come_out() {
        let bytes = |write: fn(&mut Message)| {
            let mut message = Message::default();
            write(&mut message);
            message.into_bytes()
        };
        let testing = b"\x12\x07testing".to_vec();
        assert_eq!(bytes(|m| drop(m.number(1, 150).clone())), [8, 0x96, 1]);
        assert_eq!(bytes(|m| drop(m.bytes(2, b"testing").clone())), testing);
    }
}
