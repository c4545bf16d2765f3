//! The aws room.
