//! The receiver in the kernel: an XDP program that counts and drops test frames, and shows some of them.

use aya::maps::{MapData, PerCpuArray, PerCpuValues, RingBuf};

use crate::object::layout::{self, BUCKETS, Count};
use crate::object::{Object, ObjectError, in_map};
use crate::statistics::Histogram;

/// A receiver on one interface. Dropping it detaches it.
pub(crate) struct XdpReceiver {
    counts: PerCpuArray<MapData, u64>,
    latencies: PerCpuArray<MapData, u64>,
    samples: RingBuf<MapData>,
    /// Keeps the program attached.
    _object: Object,
}

/// What a receiver has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Test frames.
    pub(crate) frames: u64,
    /// Their octets, without the frame check sequence.
    pub(crate) octets: u64,
    /// Frames that are none of ours.
    pub(crate) foreign: u64,
}

impl XdpReceiver {
    /// Attaches a receiver to an interface of this thread's namespace. Only a timed one measures latencies.
    pub(crate) fn attach(interface: u32, timed: bool) -> Result<Self, ObjectError> {
        let program = if timed {
            layout::RECEIVE_TIMED
        } else {
            layout::RECEIVE
        };
        let mut object = Object::load(program)?;
        object.attach(program, interface)?;
        Ok(Self {
            counts: object.map(layout::COUNTS)?,
            latencies: object.map(layout::LATENCIES)?,
            samples: object.map(layout::SAMPLES)?,
            _object: object,
        })
    }

    /// Returns what was counted since the last reset.
    pub(crate) fn counted(&self) -> Result<Counted, ObjectError> {
        let sum = |element| Ok(self.values(element)?.iter().sum());
        Ok(Counted {
            frames: sum(Count::Frames)?,
            octets: sum(Count::Octets)?,
            foreign: sum(Count::Foreign)?,
        })
    }

    /// Returns the latencies of all stamped frames since the last reset.
    pub(crate) fn latencies(&self) -> Result<Histogram, ObjectError> {
        let mut histogram = Histogram::default();
        for bucket in 0..BUCKETS {
            let values = self
                .latencies
                .get(&bucket, 0)
                .map_err(in_map(layout::LATENCIES))?;
            histogram.add(bucket, values.iter().sum());
        }
        let complements = self.values(Count::LatencyMinComplement)?;
        let maxima = self.values(Count::LatencyMax)?;
        let of_used = complements
            .iter()
            .zip(maxima.iter())
            .filter(|(min, _)| **min != 0);
        for (complement, max) in of_used {
            histogram.widen(!complement, *max);
        }
        Ok(histogram)
    }

    /// Takes the frames that were shown, and passes each to `look`.
    pub(crate) fn take_samples(&mut self, mut look: impl FnMut(&[u8])) {
        while let Some(item) = self.samples.next() {
            let (length, octets) = item.split_at(size_of::<u64>());
            let length = u64::from_ne_bytes(length.try_into().expect("eight octets")) as usize;
            look(&octets[..length.min(octets.len())]);
        }
    }

    /// Forgets everything. Nothing may arrive meanwhile.
    pub(crate) fn reset(&mut self) -> Result<(), ObjectError> {
        let processors = self.values(Count::Frames)?.len();
        let zero = || PerCpuValues::try_from(vec![0; processors]).expect("one for each processor");
        for element in 0..Count::COUNT {
            self.counts
                .set(element, zero(), 0)
                .map_err(in_map(layout::COUNTS))?;
        }
        for bucket in 0..BUCKETS {
            self.latencies
                .set(bucket, zero(), 0)
                .map_err(in_map(layout::LATENCIES))?;
        }
        self.take_samples(|_| {});
        Ok(())
    }

    fn values(&self, element: Count) -> Result<PerCpuValues<u64>, ObjectError> {
        self.counts
            .get(&(element as u32), 0)
            .map_err(in_map(layout::COUNTS))
    }
}
