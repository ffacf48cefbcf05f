//! What a compile child leaves for workers: the engine's code, and behind it what a worker must know of the component and
//! can't ask the engine for.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The last bytes.
const MAGIC: &[u8; 8] = b"skiffend";
/// A number, and the magic.
const TAIL_BYTES: usize = 4 + MAGIC.len();

/// The engine's code with what it does not tell: how many instances of components can be in the middle of a call at once.
pub(crate) fn with_instances(mut code: Vec<u8>, instances: u32) -> Vec<u8> {
    code.extend_from_slice(&instances.to_le_bytes());
    code.extend_from_slice(MAGIC);
    code
}

/// What [`with_instances`] wrote, and how many bytes there are in all.
pub(crate) fn instances(native: &OwnedFd) -> Result<(u32, u64), String> {
    let read = || {
        let file = File::from(native.as_fd().try_clone_to_owned()?);
        let bytes = file.metadata()?.len();
        let mut tail = [0; TAIL_BYTES];
        file.read_exact_at(&mut tail, bytes.saturating_sub(TAIL_BYTES as u64))?;
        std::io::Result::Ok((tail, bytes))
    };
    let (tail, bytes) = read().map_err(|error| format!("the native code can't be read: {error}"))?;
    match tail.split_first_chunk() {
        Some((number, magic)) if magic == MAGIC => Ok((u32::from_le_bytes(*number), bytes)),
        _ => Err("the native code has no tail".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn told(bytes: &[u8]) -> Result<(u32, u64), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        instances(&file.into())
    }

    #[test]
    fn the_tail_is_read_as_it_was_written() {
        assert_eq!(told(&with_instances(b"code".to_vec(), 7)), Ok((7, 4 + TAIL_BYTES as u64)));
        assert_eq!(told(&with_instances(Vec::new(), u32::MAX)), Ok((u32::MAX, TAIL_BYTES as u64)));
        assert!(told(b"").is_err());
        assert!(told(&[b'x'; 100]).unwrap_err().contains("no tail"));
    }
}
