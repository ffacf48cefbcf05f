//! Seeded mutations, where no coverage guides: small changes of an input, and pieces of others.

use fastrand::Rng;

/// Most changes to one input.
const CHANGES_MAX: usize = 5;
/// Most bytes that are moved, copied or taken out at once.
const PIECE_BYTES_MAX: usize = 24;

/// Changes `input` in a few places; `other` lends pieces.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    for _ in 0..random.usize(1..=CHANGES_MAX) {
        let at = random.usize(..=input.len());
        let end = (at + random.usize(1..=PIECE_BYTES_MAX)).min(input.len());
        match random.u8(..7) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => input.insert(at, random.u8(..)),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                drop(input.splice(at..at, piece));
            }
            5 => {
                let from = random.usize(..=other.len());
                let to = (from + random.usize(1..=PIECE_BYTES_MAX)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            _ => input.truncate(at.max(1)),
        }
    }
}
