//! Chance, where a choice is to be spread evenly and nothing depends on that nobody can guess it: SplitMix64 (Steele, Lea
//! and Flood, "Fast splittable pseudorandom number generators", 2014), which costs a few instructions.

use std::cell::Cell;

/// A source of numbers. Lives on one thread.
#[derive(Debug)]
pub(crate) struct Chance(Cell<u64>);

impl Chance {
    /// One that starts anywhere.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// A number, each as likely as any other.
    pub(crate) fn number(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, each as likely as any other; 0 where there is none.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_about_as_often() {
        let chance = Chance::new(7);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[chance.below(10) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!((chance.below(0), chance.below(1)), (0, 0));
    }
}
