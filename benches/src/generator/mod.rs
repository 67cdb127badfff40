//! Sending streams of test frames.

pub(crate) mod live_frames;
