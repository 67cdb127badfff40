//! A single measurement: frames as fast as can be, through one device, in one direction.
//!
//! A rate is what one busy processor does, so time in which other programs had it does not count.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::gettid;

use super::{Options, Round, Running};
use crate::generator::live_frames::LiveFrames;
use crate::lab::Direction;
use crate::receiver::xdp::Counted;
use crate::traffic::{FCS, Pace, Traffic};
use crate::waits::Waits;
use crate::{clock, interrupt, pin};

/// How long frames flow before they count.
const WARM_UP: Duration = Duration::from_millis(100);
/// How often to look whether frames flow.
const GLANCE: Duration = Duration::from_millis(1);
/// How long they may take to.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what is under way may take to arrive.
const SETTLING: Duration = Duration::from_millis(20);

/// Sends for a while and counts what arrives. The inner error says why there is no number.
pub(super) fn measure(
    running: &mut Running,
    generator: &mut LiveFrames,
    direction: Direction,
    traffic: &Traffic,
    options: &Options,
) -> anyhow::Result<Result<Round, String>> {
    let Running {
        case, device, lab, ..
    } = running;
    if let Err(error) = device.still_runs() {
        return Ok(Err(error.to_string()));
    }
    let interface = lab.tester.interface_index(direction.sender())?;
    let workers = device.workers();
    let receiver = device.receiver(direction);
    receiver.reset()?;
    let stop = AtomicBool::new(false);
    let ready = generator.prepare(traffic, Pace::Flood)?;
    let window = thread::scope(|scope| -> anyhow::Result<Window> {
        let (started, has_started) = mpsc::channel();
        let (ready, stop) = (&ready, &stop);
        let sender = scope.spawn(move || -> anyhow::Result<u64> {
            lab.tester.run_in(|| {
                pin::to(options.generator_cpu)?;
                // Nobody waits for it if this thread has ended already.
                let _ = started.send(gettid().as_raw_nonzero().get().cast_unsigned());
                Ok(ready.run(interface, stop)?)
            })?
        });
        let watch = || -> anyhow::Result<Window> {
            // Without a number the sender has ended, and says why itself.
            let thread = has_started.recv().unwrap_or_default();
            let deadline = Instant::now() + PATIENCE;
            while ready.sent()? == 0 && Instant::now() < deadline {
                interrupt::sleep(GLANCE);
            }
            let look = || -> anyhow::Result<_> {
                let waits = workers.waits().and(Waits::of_thread(thread));
                Ok((clock::now(), receiver.counted()?, ready.sent()?, waits))
            };
            interrupt::sleep(WARM_UP);
            let (begin, before, sent_before, waits_before) = look()?;
            interrupt::sleep(options.duration);
            let (end, after, sent, waits) = look()?;
            Ok(Window {
                before,
                after,
                sent: sent - sent_before,
                time: end - begin,
                waited: waits.longest_since(&waits_before),
            })
        };
        let window = watch();
        stop.store(true, Ordering::Relaxed);
        sender.join().expect("the generator does not panic")?;
        window
    })?;
    thread::sleep(SETTLING);
    let mut checked = 0;
    let mut fault = None;
    receiver.take_samples(|frame| {
        checked += 1;
        // What turns round at once has only its MAC addresses changed, if anything.
        fault = fault.take().or_else(|| traffic.check(frame).err());
    });
    let Window { before, after, .. } = window;
    let frames = after.frames - before.frames;
    let octets = after.octets - before.octets;
    if let Err(error) = device.still_runs() {
        return Ok(Err(error.to_string()));
    }
    Ok(match fault {
        Some(fault) => Err(format!("wrong output: {fault}")),
        None if checked == 0 || frames == 0 => Err(format!(
            "no output: {} frames went to {}; {frames} of them and {} others arrived",
            window.sent,
            case.title(),
            after.foreign - before.foreign
        )),
        None => {
            let seconds = window.available() / 1e9;
            Ok(Round {
                share: window.available() / window.time as f64,
                offered: window.sent as f64 / seconds,
                frames: frames as f64 / seconds,
                bits: (octets + frames * FCS as u64) as f64 * 8.0 / seconds,
                checked,
            })
        }
    })
}

/// The time that counts.
struct Window {
    before: Counted,
    after: Counted,
    /// Frames.
    sent: u64,
    /// Nanoseconds.
    time: u64,
    /// Nanoseconds in which generator or device would have worked, had they had their processor.
    waited: u64,
}

impl Window {
    /// Returns for how many nanoseconds generator and device had their processors; some, since frames were sent.
    fn available(&self) -> f64 {
        self.time.saturating_sub(self.waited).max(self.time / 100) as f64
    }
}
