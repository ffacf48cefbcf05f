//! Random bytes: from the operating system, for what must not be guessed (tokens, keys); and as a value, for parts that are
//! also run under a seed.

use std::sync::Arc;

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
}
