//! Random bytes from the operating system, for what must not be guessed: tokens, keys, ids.

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// If the operating system has none to give, which Linux only does before it has booted.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
