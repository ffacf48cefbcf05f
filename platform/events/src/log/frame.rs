//! How records lie in a segment's file, and the marks among them that say how far the log was synced.
//!
//! A record is a word with its length, a word with its checksum, and its payload. A mark has the highest bit of its first word
//! set, and a position for its payload: when the mark was written, everything before that was on the drive. So a record that
//! is none, though a later mark covers it, was damaged; one that no mark covers was torn by a crash.
//!
//! What always holds: a place in a file is a record or a mark only where its checksum says so, which covers the position and
//! the first word too. A first word of zero is none: there the log ends.

/// Bytes before a record's payload.
pub(super) const HEADER_BYTES: usize = 8;
/// The longest payload.
pub(crate) const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a mark.
pub(super) const MARK_BYTES: usize = HEADER_BYTES + size_of::<u64>();
/// The first word of every mark.
const MARK: u32 = (1 << 31) | size_of::<u64>() as u32;

/// What eight bytes say of what follows them.
pub(super) enum Header {
    /// A record, if the checksum is that of what follows.
    Record {
        /// Bytes of its payload.
        length: usize,
        /// As it was written.
        checksum: u32,
    },
    /// A mark, if the checksum is that of what follows.
    Mark {
        /// As it was written.
        checksum: u32,
    },
    /// Nothing was written here.
    Nothing,
    /// No record begins so.
    Broken,
}

/// Reads the eight bytes before a payload.
pub(super) fn header(bytes: [u8; HEADER_BYTES]) -> Header {
    let [a, b, c, d, e, f, g, h] = bytes;
    let checksum = u32::from_le_bytes([e, f, g, h]);
    match u32::from_le_bytes([a, b, c, d]) {
        0 if checksum == 0 => Header::Nothing,
        MARK => Header::Mark { checksum },
        length if length != 0 && length as usize <= RECORD_BYTES_MAX => {
            Header::Record { length: length as usize, checksum }
        }
        _ => Header::Broken,
    }
}

/// The checksum of what has this header (whose own checksum does not count) and lies at this position.
pub(super) fn checksum(position: u64, header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut before = [0; 12];
    before[..8].copy_from_slice(&position.to_le_bytes());
    before[8..].copy_from_slice(&header[..4]);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before);
    hasher.update(payload);
    hasher.finalize()
}

/// Adds a record that is to lie at `position`.
pub(super) fn put(buffer: &mut Vec<u8>, position: u64, payload: &[u8]) {
    assert!((1..=RECORD_BYTES_MAX).contains(&payload.len()), "a record of {} bytes", payload.len());
    put_with(buffer, position, payload.len() as u32, payload);
}

/// Adds a mark that is to lie at `position`, and says that everything before `synced` is on the drive.
pub(super) fn put_mark(buffer: &mut Vec<u8>, position: u64, synced: u64) {
    put_with(buffer, position, MARK, &synced.to_le_bytes());
}

fn put_with(buffer: &mut Vec<u8>, position: u64, word: u32, payload: &[u8]) {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&word.to_le_bytes());
    let checksum = checksum(position, &header, payload);
    header[4..].copy_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
}

/// Whether a mark among `bytes`, which begin at position `from`, says that something after `position` is on the drive.
pub(super) fn is_covered(bytes: &[u8], from: u64, position: u64) -> bool {
    bytes.windows(MARK_BYTES).enumerate().any(|(index, window)| {
        let Some((head, payload)) = window.split_first_chunk::<HEADER_BYTES>() else { return false };
        if head[..4] != MARK.to_le_bytes() {
            return false;
        }
        let Header::Mark { checksum: written } = header(*head) else { return false };
        let Ok(synced) = payload.try_into().map(u64::from_le_bytes) else { return false };
        synced > position && checksum(from + index as u64, head, payload) == written
    })
}
