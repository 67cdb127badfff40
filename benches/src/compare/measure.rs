//! A single measurement: frames as fast as can be, through one device, in one direction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Options, Round, Running};
use crate::generator::live_frames::LiveFrames;
use crate::lab::Direction;
use crate::traffic::{FCS, Pace, Traffic};
use crate::{clock, interrupt, pin};

/// How long frames flow before they count.
const WARM_UP: Duration = Duration::from_millis(100);
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
    let receiver = device.receiver(direction);
    receiver.reset()?;
    let stop = AtomicBool::new(false);
    let (counted, offered, share) = thread::scope(|scope| -> anyhow::Result<_> {
        let sender = scope.spawn(|| -> anyhow::Result<_> {
            lab.tester.run_in(|| {
                pin::to(options.generator_cpu)?;
                let (begin, begin_busy) = (clock::now(), clock::busy());
                let sent = generator.run(interface, traffic, Pace::Flood, u64::MAX, &stop)?;
                let time = (clock::now() - begin) as f64;
                Ok((
                    sent as f64 / time * 1e9,
                    (clock::busy() - begin_busy) as f64 / time,
                ))
            })?
        });
        interrupt::sleep(WARM_UP);
        let before = receiver.counted();
        let begin = Instant::now();
        interrupt::sleep(options.duration);
        let after = receiver.counted();
        let time = begin.elapsed();
        stop.store(true, Ordering::Relaxed);
        let (offered, share) = sender.join().expect("the generator does not panic")?;
        Ok(((before?, after?, time), offered, share))
    })?;
    thread::sleep(SETTLING);
    let mut checked = 0;
    let mut fault = None;
    receiver.take_samples(|frame| {
        checked += 1;
        // What turns round at once has only its MAC addresses changed, if anything.
        fault = fault.take().or_else(|| traffic.check(frame).err());
    });
    let (before, after, time) = counted;
    let frames = after.frames - before.frames;
    let octets = after.octets - before.octets;
    if let Err(error) = device.still_runs() {
        return Ok(Err(error.to_string()));
    }
    Ok(match fault {
        Some(fault) => Err(format!("wrong output: {fault}")),
        None if checked == 0 || frames == 0 => Err(format!(
            "no output: {offered:.0} frames a second went to {}; {frames} of them and {} others arrived",
            case.title(),
            after.foreign - before.foreign
        )),
        None => Ok(Round {
            offered,
            share,
            frames: frames as f64 / time.as_secs_f64(),
            bits: (octets + frames * FCS as u64) as f64 * 8.0 / time.as_secs_f64(),
            checked,
        }),
    })
}
