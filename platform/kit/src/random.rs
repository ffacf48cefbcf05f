//! Random bytes: from the operating system, for what must not be guessed (tokens, keys); and as a value, for parts that are
//! also run under a seed.

use std::cell::RefCell;
use std::sync::Arc;

/// Bytes that a pool asks the operating system for at once.
const POOL_BYTES: usize = 1_024;
/// A longer draw goes to the operating system itself: as long as an id, and shorter than any secret.
const POOLED_BYTES_MAX: usize = 16;

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// If the operating system has none to give, which Linux only does before it has booted.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A source of random bytes as a value.
pub trait Random: Send + Sync {
    /// Overwrites all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// The operating system's generator, asked for many ids at once: a call of the system costs more than what it gives. Each byte is
/// given once, and wiped where it lay. What is longer than an id, and so all secrets, comes from the operating system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct PooledRandom;

impl Random for PooledRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > POOLED_BYTES_MAX {
            return SystemRandom.fill(bytes);
        }
        POOL.with_borrow_mut(|pool| pool.draw(bytes));
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], given: POOL_BYTES }) };
}

/// A thread's bytes.
struct Pool {
    bytes: [u8; POOL_BYTES],
    /// So many of them were given, and are zeros.
    given: usize,
}

impl Pool {
    fn draw(&mut self, bytes: &mut [u8]) {
        if POOL_BYTES - self.given < bytes.len() {
            SystemRandom.fill(&mut self.bytes);
            self.given = 0;
        }
        let drawn = &mut self.bytes[self.given..][..bytes.len()];
        bytes.copy_from_slice(drawn);
        drawn.fill(0);
        self.given += bytes.len();
    }
}

/// A source that several share. Cheap to clone.
#[derive(Clone)]
pub struct SharedRandom(Arc<dyn Random>);

impl SharedRandom {
    /// Shares a source.
    pub fn new(source: Arc<dyn Random>) -> Self {
        Self(source)
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_from_the_system_differs() {
        let shared = SharedRandom::new(Arc::new(SystemRandom));
        assert_ne!(shared.bytes::<16>(), shared.bytes::<16>());
        assert_ne!(bytes::<16>(), bytes::<16>());
    }

    #[test]
    fn a_pool_gives_nothing_twice_and_keeps_nothing_that_it_gave() {
        let mut seen = std::collections::HashSet::new();
        let mut pool = Pool { bytes: [0; POOL_BYTES], given: POOL_BYTES };
        // Some pools long, by a length that does not divide one.
        for _ in 0..POOL_BYTES {
            let mut drawn = [0; 15];
            pool.draw(&mut drawn);
            assert!(seen.insert(drawn), "the same was given twice");
            assert!(pool.bytes[..pool.given].iter().all(|byte| *byte == 0));
        }
        let shared = SharedRandom::new(Arc::new(PooledRandom));
        assert_ne!(shared.bytes::<16>(), shared.bytes::<16>());
        assert_ne!(shared.bytes::<64>(), shared.bytes::<64>());
    }
}
