//! What the programs of the benchmarks and their loader have in common: names, map values, test frames, the histogram.
//!
//! Compiled into both, so it needs nothing but core. A test frame is Ethernet, IPv4 or IPv6 without options, UDP, and a
//! `TAG` in front of the payload. Everything that varies between the frames of a stream follows from their numbers, so
//! that a receiver can tell from the number what the frame has to be.

/// The generator, for BPF_PROG_TEST_RUN with live frames.
pub(crate) const GENERATE: &str = "generate";
/// Counts and drops test frames, shows some of them; leaves others to the kernel.
pub(crate) const RECEIVE: &str = "receive";
/// The same, and measures how long they were under way.
pub(crate) const RECEIVE_TIMED: &str = "receive_timed";
/// A plain router: one look-up in the kernel's routes, new MAC addresses, redirect.
pub(crate) const ROUTE: &str = "route";
/// Leaves everything to the kernel, and makes a veth accept redirected frames at its other end.
pub(crate) const PASS: &str = "pass";
/// Hands test frames to the AF_XDP socket of their queue; leaves others to the kernel.
pub(crate) const TO_SOCKET: &str = "to_socket";

/// Array of one [`Stream`].
pub(crate) const STREAM: &str = "STREAM";
/// Array of [`Progress::COUNT`] u64.
pub(crate) const PROGRESS: &str = "PROGRESS";
/// Per-CPU array of [`Count::COUNT`] u64.
pub(crate) const COUNTS: &str = "COUNTS";
/// Per-CPU array of [`BUCKETS`] u64.
pub(crate) const LATENCIES: &str = "LATENCIES";
/// Ring buffer of [`Sample`]s.
pub(crate) const SAMPLES: &str = "SAMPLES";
/// XSKMAP by queue.
pub(crate) const SOCKETS: &str = "SOCKETS";

/// The queues that an interface may have for [`TO_SOCKET`].
pub(crate) const SOCKETS_MAX_ENTRIES: u32 = 64;
/// Size of the ring buffer, in octets.
pub(crate) const SAMPLES_OCTETS: u32 = 4 << 20;

/// What a `TAG` begins with.
pub(crate) const MAGIC: u16 = 0x5157;
/// What the payload of the kernel's packet generator begins with (PKTGEN_MAGIC in net/core/pktgen.c).
pub(crate) const PKTGEN_MAGIC: u32 = 0xbe9b_e955;
/// What stands in front of the payload: [`MAGIC`] (2 octets), the frame's number (8), the time of sending in nanoseconds
/// since the machine's start or zero (8); all in network order.
pub(crate) const TAG: usize = 18;
/// Offset of the tag in a frame with IPv4, in octets.
pub(crate) const TAG_V4: usize = 14 + 20 + 8;
/// Offset of the tag in a frame with IPv6, in octets.
pub(crate) const TAG_V6: usize = 14 + 40 + 8;

/// The addresses of one side of a stream: those whose last 32 bits are `base + n * stride`, for `n` below `count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Side {
    /// The last 32 bits of the first address.
    pub(crate) base: u32,
    /// How far the addresses lie apart.
    pub(crate) stride: u32,
    /// How many there are, at least one.
    pub(crate) count: u32,
}

impl Side {
    /// Returns the last 32 bits of the address that a random number chooses.
    #[inline(always)]
    pub(crate) const fn pick(&self, random: u32) -> u32 {
        let number = (random as u64).wrapping_mul(self.count as u64) >> 32;
        self.base
            .wrapping_add((number as u32).wrapping_mul(self.stride))
    }
}

/// What [`GENERATE`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Stream {
    /// The frame up to and with [`MAGIC`]: [`TAG_V4`] or [`TAG_V6`] octets and two more, in memory order. What varies is zero.
    pub(crate) header: [u64; 8],
    /// The time between two frames, in 2^-16 nanoseconds; zero for as many as possible.
    pub(crate) interval: u64,
    /// For how long to send, in nanoseconds; heeded only with an interval.
    pub(crate) duration: u64,
    /// Where the frames come from.
    pub(crate) source: Side,
    /// Where they go.
    pub(crate) destination: Side,
    /// The sum of the 16-bit words of the IPv4 header without addresses.
    pub(crate) network_sum: u32,
    /// The sum of the 16-bit words that the UDP checksum covers, without what varies.
    pub(crate) transport_sum: u32,
    /// 1 for IPv6, 0 for IPv4.
    pub(crate) ipv6: u32,
    /// 1 to write the time of sending into each frame.
    pub(crate) stamped: u32,
}

/// What varies in the frame with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variation {
    /// The last 32 bits of the source address.
    pub(crate) source: u32,
    /// The last 32 bits of the destination address.
    pub(crate) destination: u32,
    /// The source port, 1024 to 65535 (RFC 4814, 4.5).
    pub(crate) source_port: u16,
    /// The destination port, 1 to 49151 (RFC 4814, 4.5).
    pub(crate) destination_port: u16,
}

impl Variation {
    /// Chooses addresses and ports, at random but always the same for the same number.
    #[inline(always)]
    pub(crate) const fn of(number: u64, source: &Side, destination: &Side) -> Self {
        let random = mix(number);
        // Less thoroughly scattered, but at the same time.
        let more = number.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        Self {
            source: source.pick(random as u32),
            destination: destination.pick((random >> 32) as u32),
            source_port: 1024_u16.wrapping_add(((more & 0xffff).wrapping_mul(64512) >> 16) as u16),
            destination_port: 1_u16
                .wrapping_add((((more >> 16) & 0xffff).wrapping_mul(49151) >> 16) as u16),
        }
    }
}

/// Scatters numbers over all 64-bit values: the finalizer of the generator SplitMix64.
#[inline(always)]
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Folds a sum of 16-bit words into one (RFC 1071).
#[inline(always)]
pub(crate) const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    (sum >> 16).wrapping_add(sum & 0xffff) as u16
}

/// Adds the 16-bit words of a number in network order, in a form that [`fold`] takes.
#[inline(always)]
pub(crate) const fn words(value: u64) -> u64 {
    (value >> 32).wrapping_add(value & 0xffff_ffff)
}

/// The elements of [`PROGRESS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Progress {
    /// The number of the next frame, which is how many there were.
    Sent,
    /// When the next frame is due, in 2^-16 nanoseconds since the machine's start.
    Due,
    /// When the stream ends, in nanoseconds since the machine's start; zero before its first frame.
    End,
}

impl Progress {
    /// How many there are.
    pub(crate) const COUNT: u32 = 3;
}

/// The elements of [`COUNTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Count {
    /// Test frames received.
    Frames,
    /// Their octets, without the frame check sequence.
    Octets,
    /// Frames that are none of ours.
    Foreign,
    /// The longest latency, in nanoseconds.
    LatencyMax,
    /// One more than the shortest latency, in nanoseconds, as its complement, so that zero means none.
    LatencyMinComplement,
}

impl Count {
    /// How many there are.
    pub(crate) const COUNT: u32 = 5;
}

/// One in so many test frames becomes a [`Sample`]; a power of two.
pub(crate) const SAMPLE_EVERY: u64 = 1024;
/// The most octets of a frame that a [`Sample`] holds.
pub(crate) const SAMPLE_OCTETS: usize = 2040;

/// A received frame.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Sample {
    /// How long the frame is, in octets.
    pub(crate) length: u64,
    /// The frame, if it is no longer than this.
    pub(crate) octets: [u8; SAMPLE_OCTETS],
}

/// The buckets of each doubling of a histogram, as a power of two: a bucket is at most 1/128 of its value wide.
const PRECISION: u32 = 7;
/// How many buckets a histogram has: up to 2^38 nanoseconds, more than four minutes.
pub(crate) const BUCKETS: u32 = (38 - PRECISION + 1) << PRECISION;

/// Returns the bucket of a latency in nanoseconds.
#[inline(always)]
pub(crate) const fn bucket(nanoseconds: u64) -> u32 {
    if nanoseconds < 1 << PRECISION {
        return nanoseconds as u32;
    }
    let exponent = 63_u32.wrapping_sub(nanoseconds.leading_zeros());
    let shift = exponent.wrapping_sub(PRECISION);
    let within = (nanoseconds >> (shift & 63)) as u32 & ((1 << PRECISION) - 1);
    let index = (shift.wrapping_add(1) << PRECISION).wrapping_add(within);
    if index < BUCKETS { index } else { BUCKETS - 1 }
}
