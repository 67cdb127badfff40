//! ICMP errors, translated and originated: what is too rare and too large for a worker's loop.
//!
//! A worker hands the whole packet over, over a bounded channel, and goes on; where the channel is full, the error is lost and
//! counted. The control thread does the rest.

use crate::tables::{Paths, Surroundings, Tables};
use crate::tally;
use relay_core::counters::Counters;
use relay_core::wire::{Octets, ipv4, ipv6};
use relay_core::{
    Direction, DropReason, MAX_ERROR_LENGTH, Reply, TranslatedError, Translator, reply_v4, reply_v6,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// What is to be done about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// It is an ICMP error to be translated.
    Translate,
    /// It was dropped for this reason, and its sender is to be told.
    Reply(DropReason, Reply),
}

/// A packet about which something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The family in which the packet arrived.
    pub direction: Direction,
    /// The packet, from its network header on.
    pub packet: Vec<u8>,
    /// What is to be done.
    pub task: Task,
}

/// What came out of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A packet to send is in the buffer.
    Send(TranslatedError),
    /// The relay has said enough for now.
    Limited,
    /// There is nothing to send.
    Nothing,
}

/// Carries a request out and counts it. `limit` decides whether the relay may originate one more error.
pub fn handle<P: Paths>(
    request: &Request,
    tables: &Tables,
    paths: &P,
    random: u64,
    limit: impl FnOnce() -> bool,
    counters: &mut Counters,
    output: &mut [u8; MAX_ERROR_LENGTH],
) -> Outcome {
    let Request {
        direction,
        packet,
        task,
    } = request;
    let reply = match task {
        Task::Reply(_, reply) => *reply,
        Task::Translate => {
            let surroundings = Surroundings {
                tables,
                paths,
                may_be_unfinished: false,
                random,
            };
            let translator = Translator::new(&tables.policy, &surroundings);
            let translated = match direction {
                Direction::V4ToV6 => translator.error_v4_to_v6(packet, output),
                Direction::V6ToV4 => translator.error_v6_to_v4(packet, output),
            };
            counters.record_error(*direction, &translated);
            if let Ok(error) = &translated
                && let Some(new) = addresses(output)
            {
                let mappings = tables.mappings_of(*direction, packet, new);
                let mut counting = tables.tally.counting(tally::control_part());
                counting.add(*direction, mappings, error.length as u32);
            }
            return translated.map_or(Outcome::Nothing, Outcome::Send);
        }
    };
    let octets = packet.as_slice();
    let built = match direction {
        // Whoever sends from the relay's own address lies.
        Direction::V4ToV6 => octets
            .load::<4>(12)
            .map(Ipv4Addr::from)
            .filter(|sender| !paths.is_own_v4(*sender))
            .and_then(|sender| reply_v4(octets, reply, paths.own_v4(sender)?, output)),
        Direction::V6ToV4 => octets
            .load::<16>(8)
            .map(Ipv6Addr::from)
            .filter(|sender| !paths.is_own_v6(*sender))
            .and_then(|sender| reply_v6(octets, reply, paths.own_v6(sender)?, output)),
    };
    match built {
        None => Outcome::Nothing,
        Some(_) if !limit() => Outcome::Limited,
        Some(error) => {
            counters.record_reply(*direction);
            Outcome::Send(error)
        }
    }
}

/// Returns source and destination of a packet.
fn addresses(packet: &[u8]) -> Option<[IpAddr; 2]> {
    Some(match packet.first()? >> 4 {
        4 => [12, 16].map(|at| packet.load::<4>(at).map(IpAddr::from)),
        _ => [8, 24].map(|at| packet.load::<16>(at).map(IpAddr::from)),
    })
    .and_then(|[source, destination]| Some([source?, destination?]))
}

/// Describes a dropped packet to the operator, where the RFC wants that.
///
/// RFC 7915, 4.5: "a system management event that specifies at least the IP addresses and port numbers of the packet"; 5.1.1:
/// "the packet SHOULD be dropped and logged".
pub fn event(request: &Request) -> Option<String> {
    let Task::Reply(reason @ (DropReason::UdpZeroChecksum | DropReason::ExtensionInFragment), _) =
        request.task
    else {
        return None;
    };
    let packet = request.packet.as_slice();
    let described = match request.direction {
        Direction::V4ToV6 => {
            let (header, length) = ipv4::Header::parse_quoted(packet).ok()?;
            let [s0, s1, d0, d1] = packet.load(length)?;
            let (from, to) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            format!("{}:{from} -> {}:{to}", header.source, header.destination)
        }
        Direction::V6ToV4 => {
            let header = ipv6::Header::parse_quoted(packet).ok()?;
            format!("{} -> {}", header.source, header.destination)
        }
    };
    Some(format!("dropped {described}: {}", reason.describe()))
}

/// A token bucket (RFC 4443, 2.4 (f)) that holds the tokens of one second.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// Tokens a second; `None` for no limit.
    rate: Option<u32>,
    tokens: f64,
    filled: Instant,
}

impl Limiter {
    /// Returns a full bucket. A rate of zero lets nothing through.
    pub fn new(rate: Option<u32>, now: Instant) -> Self {
        Self {
            rate,
            tokens: f64::from(rate.unwrap_or(0)),
            filled: now,
        }
    }

    /// Returns the tokens a second; `None` for no limit.
    pub fn rate(&self) -> Option<u32> {
        self.rate
    }

    /// Returns how many tokens there are.
    pub fn tokens(&self, now: Instant) -> f64 {
        let rate = f64::from(self.rate.unwrap_or(0));
        let since = now.saturating_duration_since(self.filled);
        (self.tokens + since.as_secs_f64() * rate).min(rate)
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.rate.is_none() {
            return true;
        }
        self.tokens = self.tokens(now);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_has_to_be_logged_names_addresses_and_ports() {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[3] = 28;
        packet[12..20].copy_from_slice(&[203, 0, 113, 50, 192, 0, 2, 1]);
        packet[20..24].copy_from_slice(&[0x30, 0x39, 0, 53]);
        let task = |reason| Task::Reply(reason, Reply::PROHIBITED_V4);
        let direction = Direction::V4ToV6;
        let mut request = Request {
            direction,
            packet,
            task: task(DropReason::UdpZeroChecksum),
        };
        let logged = event(&request).unwrap();
        assert!(
            logged.starts_with("dropped 203.0.113.50:12345 -> 192.0.2.1:53: "),
            "{logged}"
        );
        request.task = task(DropReason::HopLimit);
        assert_eq!(event(&request), None);
    }

    #[test]
    fn an_extension_header_in_a_fragment_is_logged_with_its_addresses() {
        let mut packet = vec![0; 64];
        packet[0] = 0x60;
        packet[5] = 24;
        packet[6] = 44;
        packet[8..24]
            .copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0x12, 0, 0x34, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet[24..40].copy_from_slice(&[
            0x20, 1, 0xd, 0xb8, 0, 0x46, 0, 0, 0, 0, 0, 0, 203, 0, 113, 50,
        ]);
        let task = Task::Reply(DropReason::ExtensionInFragment, Reply::PROHIBITED_V6);
        let logged = event(&Request {
            direction: Direction::V6ToV4,
            packet,
            task,
        })
        .unwrap();
        assert!(
            logged.starts_with("dropped 2001:db8:12:34::1 -> 2001:db8:46::cb00:7132: "),
            "{logged}"
        );
    }

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_the_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Some(10), start);
        let granted = |limiter: &mut Limiter, at: u64, asked: u32| {
            let now = start + Duration::from_millis(at);
            (0..asked).filter(|_| limiter.take(now)).count()
        };
        assert_eq!(granted(&mut limiter, 0, 100), 10);
        assert_eq!(granted(&mut limiter, 500, 100), 5);
        assert_eq!(granted(&mut limiter, 60_000, 100), 10);
        assert_eq!(granted(&mut Limiter::new(None, start), 0, 1000), 1000);
        assert_eq!(granted(&mut Limiter::new(Some(0), start), 5000, 10), 0);
    }
}
