//! What numbers are mixed with where they are hashed.

/// Odd constants with about as many ones as zeros, for multiplicative hashing; the first is 2^64 divided by the golden ratio.
pub const MULTIPLIERS: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
];
