//! Which rates to try: the search for the throughput (RFC 2544, 26.1), and the steps of the frame loss rate (26.3).
//!
//! Nothing is sent here.

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    /// Frames that were really sent in a second; a generator may be too slow for what is asked.
    pub(crate) offered: f64,
    /// The share of them that was lost, in percent.
    pub(crate) loss: f64,
}

/// The throughput: "the fastest rate at which the count of test frames transmitted by the DUT is equal to the number of test
/// frames sent to it by the test equipment" (RFC 2544, 26.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Throughput {
    /// Frames in a second.
    pub(crate) rate: f64,
    /// Whether even the highest rate passed, so that the device may be faster.
    pub(crate) limited_by_generator: bool,
}

/// Searches for the throughput by halving, up to `max` frames a second and down to steps of `resolution` percent of it. A
/// trial passes that loses no more than `tolerance` percent.
pub(crate) fn throughput<E>(
    max: f64,
    resolution: f64,
    tolerance: f64,
    mut trial: impl FnMut(f64) -> Result<Trial, E>,
) -> Result<Throughput, E> {
    let mut passes = |rate| {
        let Trial { offered, loss } = trial(rate)?;
        Ok::<_, E>((loss <= tolerance).then(|| offered.min(rate)))
    };
    if let Some(rate) = passes(max)? {
        return Ok(Throughput {
            rate,
            limited_by_generator: true,
        });
    }
    let (mut best, mut low, mut high) = (0.0, 0.0, max);
    while high - low > max * resolution / 100.0 {
        let middle = f64::midpoint(low, high);
        match passes(middle)? {
            Some(rate) => {
                best = rate;
                low = middle;
            }
            None => high = middle,
        }
    }
    Ok(Throughput {
        rate: best,
        limited_by_generator: false,
    })
}

/// The loss at one rate.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Loss {
    /// The rate, in percent of the highest.
    pub(crate) percent_of_max: u32,
    /// Frames that were sent in a second.
    pub(crate) offered: f64,
    /// The share of them that was lost, in percent.
    pub(crate) loss: f64,
}

/// Measures the loss at the highest rate and in steps of a tenth of it downwards, "until there are two successive trials in
/// which no frames are lost" (RFC 2544, 26.3).
pub(crate) fn losses<E>(
    max: f64,
    mut trial: impl FnMut(f64) -> Result<Trial, E>,
) -> Result<Vec<Loss>, E> {
    let mut losses: Vec<Loss> = Vec::new();
    for percent_of_max in (10..=100).rev().step_by(10) {
        let Trial { offered, loss } = trial(max * f64::from(percent_of_max) / 100.0)?;
        losses.push(Loss {
            percent_of_max,
            offered,
            loss,
        });
        if let [.., first, second] = losses[..]
            && first.loss == 0.0
            && second.loss == 0.0
        {
            break;
        }
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A device that forwards at most so many frames a second, behind a generator that makes at most so many.
    fn device(capacity: f64, generator: f64) -> impl FnMut(f64) -> Result<Trial, Infallible> {
        move |rate| {
            let offered = rate.min(generator);
            let lost = (offered - capacity).max(0.0);
            Ok(Trial {
                offered,
                loss: lost / offered * 100.0,
            })
        }
    }

    #[test]
    fn the_search_comes_as_close_as_it_has_to() {
        for capacity in [1.0, 123_456.0, 500_000.0, 999_000.0] {
            let found = throughput(1e6, 0.1, 0.0, device(capacity, 1e9)).unwrap();
            assert!(!found.limited_by_generator);
            assert!(
                found.rate <= capacity && capacity - found.rate <= 1000.0,
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_search_takes_as_many_trials_as_halving_does() {
        let mut trials = 0;
        let mut device = device(300_000.0, 1e9);
        throughput(1e6, 1.0, 0.0, |rate| {
            trials += 1;
            device(rate)
        })
        .unwrap();
        // The highest rate, then 2^-7 is below one part in a hundred.
        assert_eq!(trials, 1 + 7);
    }

    #[test]
    fn a_tolerance_raises_the_throughput() {
        let strict = throughput(1e6, 0.1, 0.0, device(500_000.0, 1e9)).unwrap();
        let lenient = throughput(1e6, 0.1, 10.0, device(500_000.0, 1e9)).unwrap();
        assert!((lenient.rate / strict.rate - 1.0 / 0.9).abs() < 0.01);
    }

    #[test]
    fn a_slow_generator_is_told() {
        let found = throughput(1e6, 1.0, 0.0, device(2e6, 700_000.0)).unwrap();
        assert_eq!(
            found,
            Throughput {
                rate: 700_000.0,
                limited_by_generator: true
            }
        );
    }

    #[test]
    fn a_device_that_forwards_nothing_has_no_throughput() {
        let found = throughput(1e6, 1.0, 0.0, device(0.0, 1e9)).unwrap();
        assert_eq!((found.rate, found.limited_by_generator), (0.0, false));
    }

    #[test]
    fn an_error_ends_the_search() {
        let mut trials = 0;
        let ended = throughput(1e6, 1.0, 0.0, |_| {
            trials += 1;
            Err::<Trial, _>("stop")
        });
        assert_eq!((ended, trials), (Err("stop"), 1));
    }

    #[test]
    fn losses_end_after_two_trials_without() {
        let losses = losses(1e6, device(750_000.0, 1e9)).unwrap();
        let steps: Vec<(u32, f64)> = losses
            .iter()
            .map(|loss| (loss.percent_of_max, loss.loss.round()))
            .collect();
        assert_eq!(
            steps,
            [(100, 25.0), (90, 17.0), (80, 6.0), (70, 0.0), (60, 0.0)]
        );
        let all = super::losses(1e6, device(0.0, 1e9)).unwrap();
        assert_eq!(all.len(), 10);
        assert!(all.iter().all(|loss| loss.loss == 100.0));
    }
}
