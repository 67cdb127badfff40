//! The generator in the kernel: BPF_PROG_TEST_RUN with live frames (Linux 5.18) runs a program that writes each frame and
//! sends it out of an interface. It works on every interface, also on a veth in a namespace, and needs no module.

use std::sync::atomic::{AtomicBool, Ordering};

use aya::TestRunOptions;
use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, TestRun, TestRunAttrs};

use crate::clock;
use crate::object::layout::{self, Progress, Stream};
use crate::object::{Object, ObjectError, in_map};
use crate::traffic::{Pace, Traffic};

/// Frames that are handed to the interface at a time, at full speed.
const BATCH: u32 = 64;
/// The same at a given rate: frames wait for the last of their batch, which must not take long.
const BATCH_AT_RATE: u32 = 16;
/// Runs of the program for one system call: at full speed some milliseconds, so that setting up costs little and stopping
/// takes no time.
const RUNS: u32 = 1 << 17;
/// Octets of a [`Stream`].
const STREAM_OCTETS: usize = size_of::<Stream>();

/// A generator for one stream at a time.
pub(crate) struct LiveFrames {
    object: Object,
    stream: Array<MapData, [u8; STREAM_OCTETS]>,
    progress: Array<MapData, u64>,
}

impl LiveFrames {
    /// Loads the generator.
    pub(crate) fn load() -> Result<Self, ObjectError> {
        let mut object = Object::load(layout::GENERATE)?;
        Ok(Self {
            stream: object.map(layout::STREAM)?,
            progress: object.map(layout::PROGRESS)?,
            object,
        })
    }

    /// Sends out of an interface of this thread's namespace, on this thread's processor, until told to stop or until `end`
    /// (of CLOCK_MONOTONIC, in nanoseconds). Returns how many frames it sent.
    pub(crate) fn run(
        &mut self,
        interface: u32,
        traffic: &Traffic,
        pace: Pace,
        end: u64,
        stop: &AtomicBool,
    ) -> Result<u64, ObjectError> {
        self.stream
            .set(0, emit(&traffic.stream(pace, end)), 0)
            .map_err(in_map(layout::STREAM))?;
        let start = [(Progress::Sent, 0), (Progress::Due, clock::now() << 16)];
        for (element, value) in start {
            self.progress
                .set(element as u32, value, 0)
                .map_err(in_map(layout::PROGRESS))?;
        }
        let frame = traffic.frame(0, 0);
        let context = context(frame.len(), interface);
        let batch = match pace {
            Pace::Flood => BATCH,
            Pace::Rate(_) => BATCH_AT_RATE,
        };
        let program = self.object.program(layout::GENERATE)?;
        while !stop.load(Ordering::Relaxed) && clock::now() < end {
            let run = program.test_run(TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: RUNS,
                attrs: TestRunAttrs::new().xdp_live_frames(batch),
                ..TestRunOptions::new()
            });
            match run {
                Ok(_) => {}
                // A signal, which somebody else looks after.
                Err(error) if is_interruption(&error) => {}
                Err(source) => {
                    return Err(ObjectError::Program {
                        program: layout::GENERATE,
                        what: "run it with live frames, which needs Linux 5.18",
                        source,
                    });
                }
            }
        }
        self.sent()
    }

    /// Returns how many frames were sent since the last stream began.
    pub(crate) fn sent(&self) -> Result<u64, ObjectError> {
        self.progress
            .get(&(Progress::Sent as u32), 0)
            .map_err(in_map(layout::PROGRESS))
    }
}

fn is_interruption(error: &ProgramError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::Interrupted;
        }
        cause = error.source();
    }
    false
}

/// Writes a `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(length: usize, interface: u32) -> [u8; 24] {
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&interface.to_ne_bytes());
    context
}

/// Writes a stream as it lies in memory.
fn emit(stream: &Stream) -> [u8; STREAM_OCTETS] {
    let Stream {
        header,
        interval,
        end,
        source,
        destination,
        network_sum,
        transport_sum,
        ipv6,
        stamped,
    } = *stream;
    let mut octets = Vec::with_capacity(STREAM_OCTETS);
    for word in header.into_iter().chain([interval, end]) {
        octets.extend(word.to_ne_bytes());
    }
    for word in [
        source.base,
        source.stride,
        source.count,
        destination.base,
        destination.stride,
        destination.count,
        network_sum,
        transport_sum,
        ipv6,
        stamped,
    ] {
        octets.extend(word.to_ne_bytes());
    }
    octets.try_into().expect("a stream has no padding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::tests::example;

    #[test]
    fn the_program_writes_the_same_frames_as_the_checker_expects() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("SIIT_RELAY_REQUIRE_ALL").is_none());
            println!("SKIPPED: loading XDP programs needs root");
            return;
        }
        for (ipv6, length) in [(false, 60), (true, 80), (false, 1514), (true, 1535)] {
            let traffic = example(ipv6, length);
            let mut generator = LiveFrames::load().unwrap();
            let stream = traffic.stream(Pace::Flood, 0);
            generator.stream.set(0, emit(&stream), 0).unwrap();
            for number in [0, 1, 2, 0x1234_5678_9abc_def0_u64] {
                generator
                    .progress
                    .set(Progress::Sent as u32, number, 0)
                    .unwrap();
                // Only the head is written: what is behind it comes from any earlier frame.
                let mut data = traffic.frame(7, 7);
                data[..42].fill(0xa5);
                let mut written = vec![0; length];
                generator
                    .object
                    .program(layout::GENERATE)
                    .unwrap()
                    .test_run(TestRunOptions {
                        data_in: Some(&data),
                        data_out: Some(&mut written),
                        ..TestRunOptions::new()
                    })
                    .unwrap();
                assert_eq!(
                    written,
                    traffic.frame(number, 0),
                    "IPv6 {ipv6}, frame {number}"
                );
            }
            assert_eq!(generator.sent().unwrap(), 0x1234_5678_9abc_def1);
        }
    }
}
