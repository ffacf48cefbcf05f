//! The cache of native code: files that only whoever holds the key can make.
//!
//! Native code is run without further check, so a file is worth what its keyed digest is worth: BLAKE3, keyed, over
//! every byte before it, header included. A file that is damaged, cut, made for another program, another engine or
//! with another key does not exist as far as [`NativeCache::load`] is concerned; it is removed, and compiled again. What
//! was checked goes into memory that nobody can change any more, so that what is mapped is what was checked.
//!
//! The supervisor holds the key and the cache; compile children and workers hold neither.

use rustix::fs::{MemfdFlags, SealFlags};
use skiff_ports::native::NativeCode;
use skiff_types::Digest;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// First bytes of a file.
const MAGIC: &[u8; 8] = b"skiffnat";
/// Version of the layout below.
const FORMAT: u32 = 2;
/// Magic, format, the program's key, digest of the compatibility, length of the code.
const HEADER_BYTES: usize = 8 + 4 + 32 + 32 + 8;
/// The keyed digest at a file's end.
const DIGEST_BYTES: usize = 32;
/// The most native code one program can have, in bytes.
const NATIVE_BYTES_MAX: u64 = 1 << 30;
/// Ends of the names of files, and of those that are being written.
const ENDING: &str = ".native";
const UNFINISHED: &str = ".unfinished";

/// Native code by its program's key ([`skiff_types::Program::key`]), for one engine. Cheap to clone; its calls wait for the
/// disk.
#[derive(Clone)]
pub struct NativeCache(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    key: [u8; 32],
    compatibility: [u8; 32],
    writes: AtomicU64,
}

impl NativeCache {
    /// Opens a cache below `dir`, which it makes. `compat` is [`crate::engine::compatibility`].
    ///
    /// # Errors
    /// The disk's.
    pub fn open(dir: impl Into<PathBuf>, key: [u8; 32], compat: String) -> io::Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir)?;
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                std::fs::remove_file(path)?;
            }
        }
        let compatibility = *blake3::hash(compat.as_bytes()).as_bytes();
        Ok(Self(Arc::new(Inner { dir, key, compatibility, writes: AtomicU64::new(0) })))
    }

    /// Whether there is a file for this program. Whether it is sound shows when it is loaded.
    pub fn contains(&self, program: &Digest) -> bool {
        self.0.path(program).exists()
    }

    /// Keeps native code: whole, and on the disk, once this returns.
    ///
    /// # Errors
    /// The disk's; nothing is kept then.
    pub fn store(&self, program: &Digest, native: &[u8]) -> io::Result<()> {
        let inner = &self.0;
        let header = inner.header(program, native.len() as u64);
        let mut digest = blake3::Hasher::new_keyed(&inner.key);
        digest.update(&header).update(native);

        let path = inner.path(program);
        let number = inner.writes.fetch_add(1, Relaxed);
        let unfinished = path.with_extension(format!("{}-{number}{UNFINISHED}", std::process::id()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(&header)?;
            file.write_all(native)?;
            file.write_all(digest.finalize().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
            File::open(&inner.dir)?.sync_all()
        };
        let result = write();
        if result.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        result
    }

    /// The native code of a program in sealed memory, checked; `None`, and the file removed, if it is not sound.
    ///
    /// # Errors
    /// The disk's.
    pub fn load(&self, program: &Digest) -> io::Result<Option<OwnedFd>> {
        let inner = &self.0;
        let path = inner.path(program);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match inner.checked(program, &bytes) {
            Some(native) => sealed(native).map(Some),
            None => {
                tracing::warn!(%program, "native code in the cache is not sound; it will be compiled again");
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Removes everything but these programs' code for this engine; says how many files went.
    pub fn keep(&self, programs: &BTreeSet<Digest>) -> usize {
        let stays: BTreeSet<PathBuf> = programs.iter().map(|program| self.0.path(program)).collect();
        let Ok(entries) = std::fs::read_dir(&self.0.dir) else { return 0 };
        let paths = entries.flatten().map(|entry| entry.path());
        paths
            .filter(|path| path.to_string_lossy().ends_with(ENDING) && !stays.contains(path))
            .filter(|path| std::fs::remove_file(path).is_ok())
            .count()
    }
}

impl NativeCode for NativeCache {
    fn contains(&self, program: &Digest) -> bool {
        Self::contains(self, program)
    }

    fn store(&self, program: &Digest, native: &[u8]) -> io::Result<()> {
        Self::store(self, program, native)
    }

    fn load(&self, program: &Digest) -> io::Result<Option<OwnedFd>> {
        Self::load(self, program)
    }

    fn keep(&self, programs: &BTreeSet<Digest>) -> usize {
        Self::keep(self, programs)
    }
}

impl Inner {
    fn path(&self, program: &Digest) -> PathBuf {
        let engine = Digest::from_bytes(self.compatibility).short();
        self.dir.join(format!("{}-{engine}{ENDING}", program.hex()))
    }

    fn header(&self, program: &Digest, native_bytes: u64) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            MAGIC,
            &FORMAT.to_le_bytes(),
            program.as_bytes(),
            &self.compatibility,
            &native_bytes.to_le_bytes(),
        ];
        parts.concat()
    }

    /// The native code in a file's bytes, if every one of them is as [`NativeCache::store`] wrote it.
    fn checked<'a>(&self, program: &Digest, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (signed, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
        let expected = blake3::keyed_hash(&self.key, signed);
        let digest: [u8; DIGEST_BYTES] = digest.try_into().ok()?;
        // Compares in constant time.
        if expected != blake3::Hash::from_bytes(digest) {
            return None;
        }
        let (header, native) = signed.split_at_checked(HEADER_BYTES)?;
        (header == self.header(program, native.len() as u64)).then_some(native)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(NATIVE_BYTES_MAX);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(NATIVE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts bytes into an anonymous file that can't be changed any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("skiff-native-code", flags)?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(file.into())
}
