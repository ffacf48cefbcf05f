//! The native code cache: of all files, only the one that was stored is ever loaded, byte for byte.
//!
//! The first byte of an input says what the rest is: the file as it is; edits of a sound file; or all of a file but its
//! keyed digest, which is then made with the right key, so that the header is all that stands between the bytes and the
//! map.

use skiff_sandbox::cache::NativeCache;
use skiff_types::Digest;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;

const KEY: [u8; 32] = [7; 32];
/// What is kept.
const NATIVE: &[u8] = b"native code that nobody runs, of which not a byte may change";

thread_local! {
    static CACHE: Fixture = Fixture::new();
}

struct Fixture {
    cache: NativeCache,
    component: Digest,
    file: PathBuf,
    sound: Vec<u8>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = NativeCache::open(dir.path(), KEY, "an engine".to_owned()).expect("a cache");
        let component = Digest::from_bytes([1; 32]);
        cache.store(&component, NATIVE).expect("kept");
        let entry = std::fs::read_dir(dir.path()).expect("the folder").next().expect("the file");
        let file = entry.expect("the file").path();
        let sound = std::fs::read(&file).expect("the file");
        Self { cache, component, file, sound, _dir: dir }
    }

    fn loaded(&self) -> Option<Vec<u8>> {
        let fd = self.cache.load(&self.component).expect("the disk works")?;
        let (mut file, mut bytes) = (File::from(fd), Vec::new());
        file.rewind().expect("memory");
        file.read_to_end(&mut bytes).expect("memory");
        Some(bytes)
    }
}

/// Puts the file that the input describes into the cache, and loads it.
pub(crate) fn run(input: &[u8]) {
    let Some((&form, rest)) = input.split_first() else { return };
    CACHE.with(|fixture| {
        let bytes = match form % 3 {
            0 => rest.to_vec(),
            1 => edited(&fixture.sound, rest),
            _ => [rest, blake3::keyed_hash(&KEY, rest).as_bytes()].concat(),
        };
        std::fs::write(&fixture.file, &bytes).expect("the disk works");
        let loaded = fixture.loaded();
        if bytes == fixture.sound {
            assert_eq!(loaded.as_deref(), Some(NATIVE), "a sound file was refused");
        } else {
            assert_eq!(loaded, None, "a file was loaded that nobody stored");
            assert!(!fixture.file.exists(), "a file that is not sound was left to be found again");
        }
    });
}

/// A copy with changes, each of three bytes: where, and what is to happen there.
fn edited(sound: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(edit[0]) % (bytes.len() + 1);
        match edit[1] % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, edit[2]),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] ^= edit[2],
            _ => {}
        }
    }
    bytes
}
