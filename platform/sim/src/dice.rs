//! Chance, from one seed. Each part has dice of its own, so that one that throws more often changes nothing for the others.

use fastrand::Rng;
use skiff_kit::random::Random;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// Dice that several may throw.
pub(crate) struct Dice(Mutex<Rng>);

impl Dice {
    /// The dice of one part of a simulation.
    pub(crate) fn new(seed: u64, part: &str) -> Self {
        // FNV-1a: any mixture will do, as long as it is always the same.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = part.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        Self(Mutex::new(Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash)))
    }

    /// A number of this range.
    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> u64 {
        self.throw(|rng| rng.u64(range))
    }

    /// Whether what happens in so many of a hundred cases happens.
    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.number(1..=100) <= percent
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.throw(|rng| rng.usize(..all.len()))]
    }

    fn throw<R>(&self, throw: impl FnOnce(&mut Rng) -> R) -> R {
        throw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        self.throw(|rng| rng.fill(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_part_throw_the_same() {
        let throws = |seed, part| {
            let dice = Dice::new(seed, part);
            (0..8).map(|_| dice.number(0..=u64::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(throws(1, "store"), throws(1, "store"));
        assert_ne!(throws(1, "store"), throws(2, "store"));
        assert_ne!(throws(1, "store"), throws(1, "cluster"));
    }
}
