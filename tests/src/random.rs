//! Random numbers that come again: everything follows from one seed, which a failing test prints.

use std::sync::OnceLock;

/// A generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Returns the generator for a test, whose name keeps the sequences of tests apart.
    ///
    /// The seed is that of the environment, `SIIT_RELAY_SEED`, or always the same one.
    pub fn new(test: &str) -> Self {
        let name = test.bytes().fold(0, |hash: u64, octet| {
            hash.wrapping_mul(31).wrapping_add(octet.into())
        });
        Self(seed() ^ name)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// Returns one of several things.
    pub fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }

    /// Returns as many octets as asked for.
    pub fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }
}

/// Returns the seed of this run.
///
/// # Panics
///
/// If the environment has a seed that is no number.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("SIIT_RELAY_SEED") {
        Ok(seed) => seed.parse().expect("SIIT_RELAY_SEED is a number"),
        Err(_) => 7915,
    })
}
