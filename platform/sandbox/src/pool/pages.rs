//! Address space, page by page: reserved, opened, closed, given back; and which pages there are.

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::{null_mut, write_bytes};

/// Pages whose entries are read from the page map at a time: 2 MiB of memory.
const ENTRIES_AT_ONCE: usize = 512;
/// Bytes of one entry of the page map.
const ENTRY_BYTES: usize = 8;
/// The page is in memory, or it is swapped out or being migrated (Documentation/admin-guide/mm/pagemap.rst). A page with
/// neither bit was never touched, and reads as zeros.
const PRESENT_OR_SWAPPED: u64 = 1 << 63 | 1 << 62;

/// A part of the address space that belongs to its owner alone, for ever: an engine may outlive whatever made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: it is an address and a length; what is done with them is `unsafe` by itself.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves address space that can't be touched yet.
    pub(super) fn reserve(bytes: usize) -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, where the kernel likes it.
        let start =
            unsafe { rustix::mm::mmap_anonymous(null_mut(), bytes.max(1), ProtFlags::empty(), flags)? };
        // SAFETY: it changes nothing that can be seen. A huge page would be charged to a guest that touched one byte.
        let _ = unsafe { rustix::mm::madvise(start, bytes.max(1), Advice::LinuxNoHugepage) };
        Ok(Self { start: start.cast(), bytes })
    }

    /// The address at `offset`.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes, "beyond the region");
        self.start.wrapping_add(offset)
    }

    /// Lets a part be read and written.
    pub(super) fn open(&self, offset: usize, bytes: usize) -> Result<(), Errno> {
        self.protect(offset, bytes, MprotectFlags::READ | MprotectFlags::WRITE)
    }

    /// Forgets what a part holds, and closes it.
    ///
    /// # Safety
    /// Nobody uses that part any more.
    pub(super) unsafe fn close(&self, offset: usize, bytes: usize) -> Result<(), Errno> {
        // SAFETY: the caller's.
        unsafe { self.forget(offset, bytes)? };
        self.protect(offset, bytes, MprotectFlags::empty())
    }

    fn protect(&self, offset: usize, bytes: usize, flags: MprotectFlags) -> Result<(), Errno> {
        if bytes == 0 {
            return Ok(());
        }
        assert!(offset + bytes <= self.bytes, "beyond the region");
        // SAFETY: the mapping is this region's; what is closed is used by nobody, as `close` demands.
        unsafe { rustix::mm::mprotect(self.at(offset).cast(), bytes, flags) }
    }

    /// Gives a part's pages back; it reads as zeros afterwards.
    ///
    /// # Safety
    /// Nobody uses that part.
    pub(super) unsafe fn forget(&self, offset: usize, bytes: usize) -> Result<(), Errno> {
        if bytes == 0 {
            return Ok(());
        }
        assert!(offset + bytes <= self.bytes, "beyond the region");
        // SAFETY: the mapping is this region's, and nobody uses that part.
        unsafe { rustix::mm::madvise(self.at(offset).cast(), bytes, Advice::LinuxDontNeed) }
    }

    /// Writes zeros over whatever pages of a part were ever touched, and keeps the first `kept_max` of them; says how many
    /// bytes are kept. The part must be open.
    ///
    /// # Safety
    /// Nobody uses that part.
    pub(super) unsafe fn clear(
        &self,
        map: &PageMap,
        offset: usize,
        bytes: usize,
        kept_max: usize,
    ) -> Result<usize, Errno> {
        let mut entries = [0; ENTRIES_AT_ONCE];
        let (mut done, mut kept) = (0, 0);
        while done < bytes {
            let part = (bytes - done).min(ENTRIES_AT_ONCE * map.page_bytes);
            let Some(entries) = map.read(self.at(offset + done), part, &mut entries) else { break };
            for (page, entry) in entries.iter().enumerate() {
                if entry & PRESENT_OR_SWAPPED == 0 {
                    continue;
                }
                if kept == kept_max {
                    // SAFETY: the caller's.
                    unsafe { self.forget(offset + done, bytes - done)? };
                    return Ok(kept);
                }
                let address = self.at(offset + done + page * map.page_bytes);
                // SAFETY: the page lies in a part that is open and that nobody uses.
                unsafe { write_bytes(address, 0, map.page_bytes) };
                kept += map.page_bytes;
            }
            done += part;
        }
        // Where the page map can't be read, everything goes back.
        // SAFETY: the caller's.
        unsafe { self.forget(offset + done, bytes - done)? };
        Ok(kept)
    }
}

/// The kernel's word on which pages of this process there are.
#[derive(Debug)]
pub(super) struct PageMap {
    file: Option<File>,
    pub(super) page_bytes: usize,
}

impl PageMap {
    pub(super) fn open() -> Self {
        Self { file: File::open("/proc/self/pagemap").ok(), page_bytes: rustix::param::page_size() }
    }

    /// Whether a page was ever touched; true if nobody can tell.
    pub(super) fn is_touched(&self, page: *const u8) -> bool {
        let mut entry = [0];
        self.read(page, self.page_bytes, &mut entry).is_none_or(|entry| entry[0] & PRESENT_OR_SWAPPED != 0)
    }

    /// The entries of the pages of `bytes` from `start` on.
    fn read<'a>(&self, start: *const u8, bytes: usize, space: &'a mut [u64]) -> Option<&'a [u64]> {
        let (first, count) = (start.addr() / self.page_bytes, bytes.div_ceil(self.page_bytes));
        let entries = space.get_mut(..count)?;
        let bytes = as_bytes(entries);
        self.file.as_ref()?.read_exact_at(bytes, (first * ENTRY_BYTES) as u64).ok()?;
        Some(entries)
    }
}

/// Numbers as the bytes that they are.
fn as_bytes(entries: &mut [u64]) -> &mut [u8] {
    // SAFETY: every bit pattern is a number, and the bytes are the same memory, borrowed as long.
    unsafe { std::slice::from_raw_parts_mut(entries.as_mut_ptr().cast(), size_of_val(entries)) }
}
