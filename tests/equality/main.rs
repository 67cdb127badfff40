//! The XDP program and the worker are one translator: whatever the program forwards, the worker would have sent with the same
//! octets and the same counters; what it passes, the worker passes; and nothing plain is punted without a reason.
//!
//! Frames go through the real program (BPF_PROG_TEST_RUN) and through the worker's `process`, in one network namespace with the
//! kernel's own routes. That frames arrive where they are redirected to is not tested here.

mod golden;
mod lab;
mod next_hops;
mod packets;
mod random;
mod short_way;
mod twins;
