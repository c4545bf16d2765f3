//! The meters room.
