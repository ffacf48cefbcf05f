//! A SQLite VFS on a disk that remembers the order of what was asked of it, so that it can be asked afterwards: what
//! would be left, had the power gone at this point?
//!
//! Until a file is synced, each sector that was written to it since may be there, or not, or be garbage. A name that
//! was made or removed is certain only once the folder was synced, which SQLite's own VFS does when it first syncs a
//! journal or a write-ahead log that it made, and our opening does at its end ([`Disk::folder_synced`]).

use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenKind, OpenOptions, Vfs, WalDisabled};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECTOR_BYTES: usize = 512;

/// Something that was asked of the disk, or that a test noted between.
#[derive(Debug, Clone)]
enum Event {
    Made { name: String, file: usize, syncs_folder: bool },
    Removed { name: String },
    Wrote { file: usize, offset: usize, bytes: Vec<u8> },
    Resized { file: usize, length: usize },
    Synced { file: usize },
    FolderSynced,
    Acknowledged { writer: u64 },
}

/// What becomes of the bytes that were not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unsynced {
    /// None is there.
    Lost,
    /// All are there.
    Kept,
    /// Each sector is there or not, by chance.
    SomeSectors,
    /// Each sector is there, or not, or garbage, by chance.
    Garbage,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    events: Vec<Event>,
    fails: bool,
    is_full: bool,
}

/// The disk; its clones are one disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// What is left of a file, and what it was asked since it was synced.
#[derive(Default, Clone)]
struct Remains {
    synced: Vec<u8>,
    unsynced: Vec<Event>,
    syncs_folder: bool,
}

/// The disk after a power cut.
pub(crate) struct Left {
    /// The files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How many writes of each writer were acknowledged before.
    pub acknowledged: BTreeMap<u64, u64>,
}

impl Disk {
    /// A disk that SQLite knows by this name, with the file `path` on it, empty and durable, as the store's opening
    /// makes it.
    pub(crate) fn register(vfs: &str, path: &Path) -> Self {
        let disk = Self::default();
        let name = path.to_str().expect("a test's path is text").to_owned();
        disk.make(&mut disk.state(), &name, false);
        disk.folder_synced();
        sqlite_vfs::register(vfs, disk.clone(), false).expect("SQLite takes the VFS");
        disk
    }

    /// The names that were made or removed are certain now.
    pub(crate) fn folder_synced(&self) {
        self.state().events.push(Event::FolderSynced);
    }

    /// The store acknowledged a writer's next write.
    pub(crate) fn acknowledged(&self, writer: u64) {
        self.state().events.push(Event::Acknowledged { writer });
    }

    /// Whether all writes and syncs fail from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.state().fails = fails;
    }

    /// Whether it has no room from now on.
    pub(crate) fn fill(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// How many things were asked of it; a power cut can come after each.
    pub(crate) fn events(&self) -> usize {
        self.state().events.len()
    }

    /// How often a file was synced.
    pub(crate) fn syncs(&self) -> usize {
        self.state().events.iter().filter(|event| matches!(event, Event::Synced { .. })).count()
    }

    /// What would be there had the power gone after the first `cut` events.
    pub(crate) fn after_power_cut(&self, cut: usize, unsynced: Unsynced, random: &mut fastrand::Rng) -> Left {
        let state = self.state();
        let mut files: Vec<Remains> = Vec::new();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut durable_names = names.clone();
        let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
        for event in &state.events[..cut] {
            match event {
                Event::Made { name, file, syncs_folder } => {
                    names.insert(name.clone(), *file);
                    files.push(Remains { syncs_folder: *syncs_folder, ..Remains::default() });
                }
                Event::Removed { name } => drop(names.remove(name)),
                Event::Wrote { file, .. } | Event::Resized { file, .. } => {
                    files[*file].unsynced.push(event.clone());
                }
                Event::Synced { file } => {
                    files[*file].settle(Unsynced::Kept, random);
                    if std::mem::take(&mut files[*file].syncs_folder) {
                        durable_names.clone_from(&names);
                    }
                }
                Event::FolderSynced => durable_names.clone_from(&names),
                Event::Acknowledged { writer } => *acknowledged.entry(*writer).or_default() += 1,
            }
        }
        let names = match unsynced {
            Unsynced::Lost => durable_names,
            Unsynced::Kept => names,
            Unsynced::SomeSectors | Unsynced::Garbage => some_of(&durable_names, &names, random),
        };
        files.iter_mut().for_each(|file| file.settle(unsynced, random));
        let files = names.into_iter().map(|(name, file)| (name, files[file].synced.clone())).collect();
        Left { files, acknowledged }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while holding the disk")
    }

    fn make(&self, state: &mut State, name: &str, syncs_folder: bool) -> usize {
        let file = state.files.len();
        state.files.push(Vec::new());
        state.names.insert(name.to_owned(), file);
        state.events.push(Event::Made { name: name.to_owned(), file, syncs_folder });
        file
    }
}

/// Of each name that is not certain, whether it is there.
fn some_of(
    durable: &BTreeMap<String, usize>,
    latest: &BTreeMap<String, usize>,
    random: &mut fastrand::Rng,
) -> BTreeMap<String, usize> {
    let mut left = BTreeMap::new();
    for name in durable.keys().chain(latest.keys()) {
        let source = if random.bool() { durable } else { latest };
        if !left.contains_key(name)
            && let Some(file) = source.get(name)
        {
            left.insert(name.clone(), *file);
        }
    }
    left
}

impl Remains {
    /// Decides on all that was not synced.
    fn settle(&mut self, unsynced: Unsynced, random: &mut fastrand::Rng) {
        for event in std::mem::take(&mut self.unsynced) {
            let is_done = random.bool();
            match (event, unsynced) {
                (_, Unsynced::Lost) => {}
                (Event::Resized { length, .. }, _) => {
                    if matches!(unsynced, Unsynced::Kept) || is_done {
                        self.synced.resize(length, 0);
                    }
                }
                (Event::Wrote { offset, bytes, .. }, _) => {
                    self.settle_write(offset, &bytes, unsynced, random)
                }
                (other, _) => unreachable!("{other:?} is not kept for later"),
            }
        }
    }

    fn settle_write(&mut self, offset: usize, bytes: &[u8], unsynced: Unsynced, random: &mut fastrand::Rng) {
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES);
            let mut sector = bytes[start..end].to_vec();
            let keep = match (unsynced, random.u32(0..3)) {
                (Unsynced::Lost, _) => false,
                (Unsynced::Kept, _) => true,
                (Unsynced::SomeSectors, coin) => coin > 0,
                (Unsynced::Garbage, 0) => false,
                (Unsynced::Garbage, 1) => true,
                (Unsynced::Garbage, _) => {
                    random.fill(&mut sector);
                    true
                }
            };
            if keep {
                overwrite(&mut self.synced, offset + start, &sector);
            }
            start = end;
        }
    }
}

fn overwrite(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A file that SQLite has open.
pub(crate) struct Handle {
    disk: Disk,
    file: usize,
    lock: LockKind,
}

impl Vfs for Disk {
    type Handle = Handle;

    fn open(&self, name: &str, options: OpenOptions) -> Result<Handle> {
        let mut state = self.state();
        let file = match (state.names.get(name).copied(), options.access) {
            (Some(_), OpenAccess::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, OpenAccess::Create | OpenAccess::CreateNew) => {
                let syncs_folder = matches!(options.kind, OpenKind::MainJournal | OpenKind::Wal);
                self.make(&mut state, name, syncs_folder)
            }
            (None, OpenAccess::Read | OpenAccess::Write) => return Err(ErrorKind::NotFound.into()),
        };
        Ok(Handle { disk: self.clone(), file, lock: LockKind::None })
    }

    fn delete(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        state.names.remove(name).ok_or(ErrorKind::NotFound)?;
        state.events.push(Event::Removed { name: name.to_owned() });
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.state().names.contains_key(name))
    }

    fn temporary_name(&self) -> String {
        format!("temporary-{}", self.events())
    }

    fn random(&self, buffer: &mut [i8]) {
        let bytes = skiff_kit::random::bytes::<256>();
        buffer.iter_mut().zip(bytes.iter().cycle()).for_each(|(out, byte)| *out = *byte as i8);
    }

    fn sleep(&self, duration: Duration) -> Duration {
        std::thread::sleep(duration);
        duration
    }

    fn access(&self, name: &str, _write: bool) -> Result<bool> {
        self.exists(name)
    }
}

impl Handle {
    fn change(&self, event: Event) -> Result<()> {
        let mut state = self.disk.state();
        if state.fails {
            return Err(Error::other("the disk fails"));
        }
        if state.is_full && matches!(event, Event::Wrote { .. }) {
            // What the VFS takes for a full disk.
            return Err(ErrorKind::WriteZero.into());
        }
        match &event {
            Event::Wrote { file, offset, bytes } => overwrite(&mut state.files[*file], *offset, bytes),
            Event::Resized { file, length } => state.files[*file].resize(*length, 0),
            _ => {}
        }
        state.events.push(event);
        Ok(())
    }
}

impl DatabaseHandle for Handle {
    type WalIndex = WalDisabled;

    fn size(&self) -> Result<u64> {
        Ok(self.disk.state().files[self.file].len() as u64)
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let state = self.disk.state();
        let bytes = state.files[self.file].get(offset as usize..).unwrap_or_default();
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        // SQLite wants zeros behind a file's end.
        buffer[length..].fill(0);
        if length < buffer.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.change(Event::Wrote { file: self.file, offset: offset as usize, bytes: bytes.to_vec() })
    }

    fn sync(&mut self, _data_only: bool) -> Result<()> {
        self.change(Event::Synced { file: self.file })
    }

    fn set_len(&mut self, length: u64) -> Result<()> {
        self.change(Event::Resized { file: self.file, length: length as usize })
    }

    fn lock(&mut self, lock: LockKind) -> Result<bool> {
        self.lock = lock;
        Ok(true)
    }

    fn reserved(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn current_lock(&self) -> Result<LockKind> {
        Ok(self.lock)
    }

    fn wal_index(&self, _readonly: bool) -> Result<WalDisabled> {
        Ok(WalDisabled)
    }
}
