//! The generator in the kernel: BPF_PROG_TEST_RUN with live frames (Linux 5.18) runs a program that writes each frame and
//! sends it out of an interface. It works on every interface, also on a veth in a namespace, and needs no module.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aya::TestRunOptions;
use aya::maps::{Array, MapData};
use aya::programs::TestRunAttrs;
use rustix::thread::gettid;

use crate::object::layout::{self, Progress, Stream};
use crate::object::{Object, ObjectError, in_map};
use crate::traffic::{Pace, Traffic};
use crate::{clock, driver, pin};

/// Frames that are handed to the interface at a time, at full speed.
const BATCH: u32 = 64;
/// The same at a given rate: frames wait for the last of their batch, which must not take long.
const BATCH_AT_RATE: u32 = 16;
/// Runs of the program for one system call: more than it comes to before a signal ends it. To begin and to end a call takes
/// the kernel some hundredths of a second.
const RUNS: u32 = 1 << 31;
/// How often to look whether it is time to stop.
const GLANCE: Duration = Duration::from_millis(1);
/// Octets of a [`Stream`].
const STREAM_OCTETS: usize = size_of::<Stream>();

/// A generator for one stream at a time.
pub(crate) struct LiveFrames {
    object: Object,
    stream: Array<MapData, [u8; STREAM_OCTETS]>,
    progress: Array<MapData, u64>,
}

/// A stream that a generator is ready to send.
pub(crate) struct Ready<'a> {
    generator: &'a LiveFrames,
    frame: Vec<u8>,
    pace: Pace,
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

    /// Prepares a stream.
    pub(crate) fn prepare(
        &mut self,
        traffic: &Traffic,
        pace: Pace,
    ) -> Result<Ready<'_>, ObjectError> {
        self.stream
            .set(0, emit(&traffic.stream(pace)), 0)
            .map_err(in_map(layout::STREAM))?;
        for element in 0..Progress::COUNT {
            self.progress
                .set(element, 0, 0)
                .map_err(in_map(layout::PROGRESS))?;
        }
        Ok(Ready {
            generator: self,
            frame: traffic.frame(0, 0),
            pace,
        })
    }

    fn progress(&self, element: Progress) -> Result<u64, ObjectError> {
        self.progress
            .get(&(element as u32), 0)
            .map_err(in_map(layout::PROGRESS))
    }
}

impl Ready<'_> {
    /// Sends out of an interface of this thread's namespace, on this thread's processor, until the stream ends or until told
    /// to stop. Returns how many frames were sent.
    pub(crate) fn run(&self, interface: u32, stop: &AtomicBool) -> Result<u64, ObjectError> {
        let context = context(self.frame.len(), interface);
        let batch = match self.pace {
            Pace::Flood => BATCH,
            Pace::Rate(..) => BATCH_AT_RATE,
        };
        let thread = gettid();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Not on the generator's processor only. If that cannot be, it takes a little of the generator's time.
                let _ = pin::as_at_first();
                while !ended.load(Ordering::Relaxed) {
                    // Again and again: a signal that comes just before the system call does not end it.
                    if self.is_over(stop).unwrap_or(true) {
                        driver::interrupt(thread);
                    }
                    thread::sleep(GLANCE);
                }
            });
            let mut outcome = self.is_over(stop);
            while let Ok(false) = outcome {
                let run = self.generator.object.run_live(
                    layout::GENERATE,
                    TestRunOptions {
                        data_in: Some(&self.frame),
                        ctx_in: Some(&context),
                        repeat: RUNS,
                        attrs: TestRunAttrs::new().xdp_live_frames(batch),
                        ..TestRunOptions::new()
                    },
                );
                outcome = run.and_then(|()| self.is_over(stop));
            }
            ended.store(true, Ordering::Relaxed);
            outcome
        })?;
        self.sent()
    }

    /// Returns how many frames were sent so far.
    pub(crate) fn sent(&self) -> Result<u64, ObjectError> {
        self.generator.progress(Progress::Sent)
    }

    fn is_over(&self, stop: &AtomicBool) -> Result<bool, ObjectError> {
        let end = match self.pace {
            Pace::Flood => 0,
            Pace::Rate(..) => self.generator.progress(Progress::End)?,
        };
        Ok(stop.load(Ordering::Relaxed) || (end != 0 && clock::now() >= end))
    }
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
        duration,
        source,
        destination,
        network_sum,
        transport_sum,
        ipv6,
        stamped,
    } = *stream;
    let mut octets = Vec::with_capacity(STREAM_OCTETS);
    for word in header.into_iter().chain([interval, duration]) {
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
    use aya::programs::TestRun;

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
            generator.prepare(&traffic, Pace::Flood).unwrap();
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
            assert_eq!(
                generator.progress(Progress::Sent).unwrap(),
                0x1234_5678_9abc_def1
            );
        }
    }
}
