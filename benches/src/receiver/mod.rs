//! Receiving test frames: how many there are, how long they took, and whether they are right.

pub(crate) mod xdp;
