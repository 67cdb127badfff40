//! Traffic of the two kernels' own stacks through the relay, and what it proves.
//!
//! A socket belongs to the namespace in which it was opened, also when another thread uses it: so one thread can play both
//! ends.

pub(super) mod ping;
pub(super) mod tcp;
pub(super) mod udp;

use std::io;
use std::net::SocketAddr;
use std::thread::{self, ScopedJoinHandle};

use super::error::DemoError;
use super::lab::CLIENT_V6;
use super::patience::Patience;
use crate::lab::Namespace;

/// The two ends of the laboratory, and how long to wait for what happens between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    /// Has IPv4 alone.
    pub(super) client: &'a Namespace,
    /// Has IPv6 alone.
    pub(super) server: &'a Namespace,
    /// For everything.
    pub(super) patience: Patience<'a>,
}

/// What a check found when all was well.
#[derive(Debug)]
pub(super) struct Measured {
    /// For the reader.
    pub(super) text: String,
    /// The throughput, where it was measured.
    pub(super) megabits_per_second: Option<f64>,
}

impl From<String> for Measured {
    fn from(text: String) -> Self {
        Self {
            text,
            megabits_per_second: None,
        }
    }
}

/// Checks that what reached the server came from the client, by the address inside the translation prefix.
fn check_client(peer: SocketAddr) -> Result<(), DemoError> {
    if peer.ip() == CLIENT_V6 {
        return Ok(());
    }
    let address = peer.ip();
    Err(DemoError::Wrong(format!(
        "the server sees a client at {address} instead of {CLIENT_V6}"
    )))
}

/// Exchanges something for each of `requests`, and goes on after failures; returns how many were answered if all were.
fn all_answered<T>(
    requests: impl IntoIterator<Item = T>,
    exchange: impl FnMut(T) -> Result<(), DemoError>,
) -> Result<String, DemoError> {
    let outcomes: Vec<_> = requests.into_iter().map(exchange).collect();
    let count = outcomes.len();
    let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let text = format!("{answered} of {count} answered");
    match outcomes.into_iter().find_map(Result::err) {
        Some(first) => Err(DemoError::Wrong(format!("{text}; {first}"))),
        None => Ok(text),
    }
}

/// Octets that no two places of a stream have in common: a SplitMix64 sequence.
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    fn fill(&mut self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            let mixed = mixed ^ mixed >> 31;
            chunk.copy_from_slice(&mixed.to_be_bytes()[..chunk.len()]);
        }
    }

    fn octets(seed: u64, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        Self(seed).fill(&mut octets);
        octets
    }
}

/// Does a piece of work for each of `items`, all at the same time, and returns what became of each.
fn at_once<T: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> io::Result<()> + Sync,
) -> Vec<io::Result<()>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| thread::Builder::new().spawn_scoped(scope, move || work(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.and_then(join))
            .collect()
    })
}

fn join<R>(thread: ScopedJoinHandle<'_, R>) -> R {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_does_not_repeat_itself() {
        let octets = Noise::octets(1, 65_536);
        let mut words: Vec<&[u8]> = octets.chunks(8).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 8192);
        assert_eq!(Noise::octets(1, 13), octets[..13]);
        assert_ne!(Noise::octets(2, 13), octets[..13]);
    }

    #[test]
    fn a_stranger_is_not_taken_for_the_client() {
        assert!(check_client(SocketAddr::from((CLIENT_V6, 1))).is_ok());
        let error = check_client("[2001:db8::1]:1".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("2001:db8::1"), "{error}");
    }

    #[test]
    fn one_failure_is_told_among_answers() {
        let wrong = |number| DemoError::Wrong(format!("number {number} is lost"));
        let outcome = all_answered(0..5, |number| match number {
            2 | 4 => Err(wrong(number)),
            _ => Ok(()),
        });
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "3 of 5 answered; number 2 is lost"
        );
        assert_eq!(all_answered(0..5, |_| Ok(())).unwrap(), "5 of 5 answered");
    }

    #[test]
    fn work_at_once_is_all_done() {
        let results = at_once(0..100, |number| match number {
            7 => Err(io::Error::other("seven")),
            _ => Ok(()),
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 99);
        assert!(results[7].is_err());
    }
}
