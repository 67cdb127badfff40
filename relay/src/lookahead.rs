//! Looking ahead over a batch of frames: what translating them will read is fetched before it is their turn.
//!
//! In a large table each look-up begins with memory that is in no cache of the processor. Asked for one by one these accesses
//! wait for each other; asked for some packets in advance they arrive while others are translated. Nothing is decided here, and
//! a frame that cannot be read is none of this module's business.

use crate::driver::prefetch::prefetch;
use crate::perform::Frame;
use crate::tables::Tables;
use relay_core::wire::Octets;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// How much of the tables may be in use before fetching pays, in octets: less of it stays in the processor's caches by itself.
const WORTH_FETCHING: usize = 512 * 1024;

/// How many packets in advance is fetched: while as many are translated, memory answers; and no more accesses than that can be on
/// their way at a time.
const AHEAD: usize = 8;

/// Looks ahead over one batch.
pub struct Lookahead<'a> {
    /// `None` if the tables stay in the processor's caches by themselves.
    tables: Option<&'a Tables>,
}

impl<'a> Lookahead<'a> {
    /// Begins with a batch: fetches its frames, and what translating the first of them will read.
    #[inline]
    pub fn begin<F: Frame>(frames: &[F], tables: &'a Tables) -> Self {
        for frame in frames {
            if let Some(first) = frame.octets().first() {
                prefetch(first);
            }
        }
        let (v4, v6) = (tables.eam.image_v4(), tables.eam.image_v6());
        let is_worth_it = v4.octets().max(v6.octets()) >= WORTH_FETCHING;
        if is_worth_it {
            for frame in frames.iter().take(AHEAD) {
                fetch_for(frame.octets(), tables);
            }
        }
        Self {
            tables: is_worth_it.then_some(tables),
        }
    }

    /// Fetches what translating one of the frames will read. They are those behind the one whose turn it is.
    #[inline(always)]
    pub fn go_on<F: Frame>(&self, behind: &[F]) {
        if let (Some(tables), Some(frame)) = (self.tables, behind.get(AHEAD - 1)) {
            fetch_for(frame.octets(), tables);
        }
    }
}

/// Fetches what the look-ups of a packet read first: the slot of a service, the one behind it, which may lie in another cache line,
/// and the word of the filter that tells that a client is none.
#[inline(always)]
fn fetch_for(frame: &[u8], tables: &Tables) {
    let Ok(header) = ethernet::Header::parse(frame) else {
        return;
    };
    let network = header.length;
    let (v4, v6) = (tables.eam.image_v4(), tables.eam.image_v6());
    let fetch_filter = |client: Ipv4Addr| {
        if let Some(word) = v4.filter_word(client) {
            prefetch(word);
        }
    };
    match header.ethertype {
        ETHERTYPE_IPV4 => {
            let Some(addresses) = frame.load::<8>(network + 12) else {
                return;
            };
            let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
            for slot in v4.first_slots(Ipv4Addr::new(d0, d1, d2, d3)) {
                prefetch(slot);
            }
            fetch_filter(Ipv4Addr::new(s0, s1, s2, s3));
        }
        ETHERTYPE_IPV6 => {
            let source = frame.load::<16>(network + 8);
            let destination = frame.load::<16>(network + 24);
            let (Some(source), Some(destination)) = (source, destination) else {
                return;
            };
            for slot in v6.first_slots(Ipv6Addr::from_octets(source)) {
                prefetch(slot);
            }
            // The table of IPv4 addresses may know what the destination stands for (RFC 7757, 4.2.2).
            let destination = Ipv6Addr::from_octets(destination);
            if let Some(client) = tables.policy.prefix.extract(destination) {
                fetch_filter(client);
            }
        }
        _ => {}
    }
}
