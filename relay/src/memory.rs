//! A frame in plain memory: what `translate` works on, and the twin of a UMEM frame in tests.

use crate::perform::{Frame, NoRoom};

/// A frame that owns its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFrame {
    buffer: Vec<u8>,
    start: usize,
}

impl MemoryFrame {
    /// Returns a copy of `octets` with room for `headroom` octets in front.
    pub fn new(octets: &[u8], headroom: usize) -> Self {
        let mut buffer = vec![0; headroom + octets.len()];
        buffer[headroom..].copy_from_slice(octets);
        Self {
            buffer,
            start: headroom,
        }
    }
}

impl Frame for MemoryFrame {
    fn octets(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }

    fn reshape(&mut self, octets: i32, length: usize) -> Result<(), NoRoom> {
        let start = self.start.checked_add_signed(octets as isize);
        self.start = start.ok_or(NoRoom)?;
        self.buffer.resize(self.start + length, 0);
        Ok(())
    }
}
