//! Linear memories.

use super::NoSlot;
use super::pages::{PageMap, Region};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Bytes of a memory that are looked through for pages to keep; what lies beyond goes back to the kernel.
const SEARCHED_BYTES_MAX: usize = 4 << 20;
/// Bytes that a slot keeps for its next guest.
const KEPT_BYTES_MAX: usize = 512 << 10;
/// Passes for which a slot keeps them that nobody uses.
const KEPT_PASSES: u64 = 10;
/// Slots that are given back in one step, each of which takes a call of the kernel.
const STEP_SLOTS: usize = 32;

/// Slots for linear memories, each as large as one can be, with what the machine code takes for its guard behind it.
#[derive(Debug, Clone)]
pub(crate) struct MemorySlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    region: Region,
    map: PageMap,
    count: usize,
    capacity_bytes: usize,
    guard_bytes: usize,
    idle: Mutex<Idle>,
}

/// Slots that nobody uses: all zeros, but for the unclean ones.
#[derive(Debug, Default)]
struct Idle {
    /// Those that were used, by how many of their bytes are open; the last used last.
    used: HashMap<usize, Vec<IdleSlot>>,
    /// The first that never was.
    fresh: usize,
    /// Those that could not be reset, and how many of their bytes are open: the kernel had no memory or no mapping left.
    unclean: Vec<(usize, usize)>,
    /// Counts calls of [`MemorySlots::begin_pass`].
    pass: u64,
}

#[derive(Debug)]
struct IdleSlot {
    slot: usize,
    /// What it keeps for its next guest, in bytes.
    kept_bytes: usize,
    /// The pass before which it was used.
    since_pass: u64,
}

impl MemorySlots {
    /// Reserves address space for `count` memories of at most `capacity_bytes`, a guard before the first and behind each.
    pub(crate) fn reserve(count: usize, capacity_bytes: usize, guard_bytes: usize) -> std::io::Result<Self> {
        let region = Region::reserve(guard_bytes + count * (capacity_bytes + guard_bytes))?;
        let (map, idle) = (PageMap::open(), Mutex::default());
        Ok(Self(Arc::new(Inner { region, map, count, capacity_bytes, guard_bytes, idle })))
    }

    /// Says that time has passed, and tries again to reset some that could not be. To be called every second.
    pub(crate) fn begin_pass(&self) {
        let slots = &self.0;
        let mut idle = slots.idle();
        idle.pass += 1;
        let (pass, tried) = (idle.pass, idle.unclean.len().min(STEP_SLOTS));
        let unclean: Vec<_> = idle.unclean.drain(..tried).collect();
        for (slot, open) in unclean {
            match slots.set_open(slot, open, 0) {
                Ok(()) => {
                    let idle_slot = IdleSlot { slot, kept_bytes: 0, since_pass: pass };
                    idle.used.entry(0).or_default().push(idle_slot);
                }
                Err(_) => idle.unclean.push((slot, open)),
            }
        }
    }

    /// Gives back what some slots keep that were not used for a while; says whether there are more of them.
    pub(crate) fn trim_some(&self) -> bool {
        let slots = &self.0;
        let mut idle = slots.idle();
        let pass = idle.pass;
        let is_old = |slot: &IdleSlot| slot.kept_bytes > 0 && pass - slot.since_pass > KEPT_PASSES;
        let all =
            idle.used.iter_mut().flat_map(|(open, used)| used.iter_mut().map(move |slot| (*open, slot)));
        let mut left = STEP_SLOTS;
        for (open, slot) in all.filter(|(_, slot)| is_old(slot)) {
            if left == 0 {
                return true;
            }
            left -= 1;
            // SAFETY: the slot is idle, and stays so while it is locked.
            match unsafe { slots.region.forget(slots.offset(slot.slot), open) } {
                Ok(()) => slot.kept_bytes = 0,
                Err(_) => slot.since_pass = pass,
            }
        }
        false
    }

    /// Bytes that slots keep which nobody uses.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.0.idle().used.values().flatten().map(|slot| slot.kept_bytes).sum()
    }
}

impl Inner {
    fn offset(&self, slot: usize) -> usize {
        self.guard_bytes + slot * (self.capacity_bytes + self.guard_bytes)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot with that much of it open: best one that was so when it was used last.
    fn take(&self, bytes: usize) -> Option<(usize, usize)> {
        let mut idle = self.idle();
        if let Some(idle_slot) = idle.used.get_mut(&bytes).and_then(Vec::pop) {
            return Some((idle_slot.slot, bytes));
        }
        if idle.fresh < self.count {
            idle.fresh += 1;
            return Some((idle.fresh - 1, 0));
        }
        idle.used.iter_mut().find_map(|(open, slots)| Some((slots.pop()?.slot, *open)))
    }

    fn set_open(&self, slot: usize, from: usize, to: usize) -> rustix::io::Result<()> {
        let offset = self.offset(slot);
        if from < to {
            self.region.open(offset + from, to - from)
        } else {
            // SAFETY: only slots that nobody uses are made smaller.
            unsafe { self.region.close(offset + to, from - to) }
        }
    }

    /// Makes a slot what the next guest must find; says how many bytes it keeps.
    fn reset(&self, slot: usize, minimum: usize, size: usize) -> rustix::io::Result<usize> {
        self.set_open(slot, size, minimum)?;
        let offset = self.offset(slot);
        let searched = minimum.min(SEARCHED_BYTES_MAX);
        // SAFETY: its memory is being dropped, and with it the store, so nobody uses the slot.
        unsafe {
            let kept_bytes = self.region.clear(&self.map, offset, searched, KEPT_BYTES_MAX)?;
            self.region.forget(offset + searched, minimum - searched)?;
            Ok(kept_bytes)
        }
    }
}

// SAFETY: each memory is a slot of its own: reserved up to its capacity and the guard, open up to its size, all zeros.
unsafe impl MemoryCreator for MemorySlots {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let slots = &self.0;
        let fits = minimum <= slots.capacity_bytes
            && reserved_size_in_bytes.is_none_or(|bytes| bytes <= slots.capacity_bytes)
            && guard_size_in_bytes <= slots.guard_bytes;
        if !fits {
            return Err(format!("no slot is large enough for a memory of {minimum} bytes"));
        }
        let taken = slots.take(minimum);
        let (slot, open) =
            taken.ok_or_else(|| NoSlot { count: slots.count, what: "linear memories" }.to_string())?;
        if let Err(error) = slots.set_open(slot, open, minimum) {
            slots.idle().unclean.push((slot, open.max(minimum)));
            return Err(format!("a linear memory can't be opened: {error}"));
        }
        Ok(Box::new(Slot { slots: slots.clone(), slot, minimum, size: minimum }))
    }
}

/// A linear memory in its slot.
struct Slot {
    slots: Arc<Inner>,
    slot: usize,
    minimum: usize,
    size: usize,
}

// SAFETY: it never moves, and is open up to exactly its size.
unsafe impl LinearMemory for Slot {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.slots.capacity_bytes
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        wasmtime::ensure!(new_size <= self.slots.capacity_bytes, "the memory is as large as one can be");
        self.slots.set_open(self.slot, self.size, new_size)?;
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.slots.region.at(self.slots.offset(self.slot))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let reset = self.slots.reset(self.slot, self.minimum, self.size);
        let mut idle = self.slots.idle();
        match reset {
            Ok(kept_bytes) => {
                let slot = IdleSlot { slot: self.slot, kept_bytes, since_pass: idle.pass };
                idle.used.entry(self.minimum).or_default().push(slot);
            }
            Err(_) => idle.unclean.push((self.slot, self.size.max(self.minimum))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 64 << 10;

    fn slots(count: usize) -> MemorySlots {
        MemorySlots::reserve(count, 64 * PAGE, PAGE).unwrap()
    }

    fn memory(slots: &MemorySlots, pages: u32) -> Box<dyn LinearMemory> {
        let minimum = pages as usize * PAGE;
        slots.new_memory(MemoryType::new(pages, None), minimum, None, Some(64 * PAGE), PAGE).unwrap()
    }

    fn bytes(memory: &mut dyn LinearMemory) -> &mut [u8] {
        // SAFETY: a memory is open up to its size, and nobody else uses it.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    /// Whether the kernel would read a byte there; reading it here would end the test.
    fn is_open(address: *const u8) -> bool {
        let (_reader, writer) = std::io::pipe().unwrap();
        // SAFETY: an address that is not open makes the call fail, and nothing else.
        rustix::io::write(writer, unsafe { std::slice::from_raw_parts(address, 1) }).is_ok()
    }

    #[test]
    fn whatever_a_guest_wrote_the_next_finds_zeros_and_the_same_bounds() {
        let slots = slots(1);
        for (minimum, grown) in [(2, 2), (2, 40), (17, 17), (3, 64), (64, 64), (0, 1), (2, 2)] {
            let mut guest = memory(&slots, minimum);
            assert_eq!(guest.byte_size(), minimum as usize * PAGE);
            assert!(bytes(&mut *guest).iter().all(|byte| *byte == 0), "{minimum} pages");
            assert!(!is_open(guest.as_ptr().wrapping_add(guest.byte_size())), "open beyond {minimum} pages");
            guest.grow_to(grown * PAGE).unwrap();
            assert!(bytes(&mut *guest).iter().all(|byte| *byte == 0), "{grown} pages");
            assert!(!is_open(guest.as_ptr().wrapping_add(grown * PAGE)), "open beyond {grown} pages");
            bytes(&mut *guest).fill(0xa5);
        }
    }

    #[test]
    fn pages_here_and_there_are_found() {
        let slots = slots(1);
        for round in 0..50 {
            let mut guest = memory(&slots, 48);
            let bytes = bytes(&mut *guest);
            assert!(bytes.iter().all(|byte| *byte == 0), "round {round}");
            for place in 0..round {
                let place = (place * 7_919 * 4_096 + round) % bytes.len();
                bytes[place] = 1;
            }
        }
    }

    #[test]
    fn there_are_no_more_than_were_reserved_and_none_is_too_large() {
        let slots = slots(2);
        let (first, _second) = (memory(&slots, 1), memory(&slots, 1));
        let more = |pages: u32| {
            let minimum = pages as usize * PAGE;
            slots.new_memory(MemoryType::new(pages, None), minimum, None, None, 0).err()
        };
        assert!(more(1).unwrap().contains("in use"));
        drop(first);
        assert!(more(65).unwrap().contains("large enough"));
        let mut last = memory(&slots, 1);
        assert!(last.grow_to(65 * PAGE).is_err());
        assert_eq!(last.byte_size(), PAGE);
    }

    #[test]
    fn what_is_kept_is_given_back_when_nobody_comes_for_it() {
        let slots = slots(1);
        let mut guest = memory(&slots, 2);
        let start = guest.as_ptr();
        bytes(&mut *guest)[0] = 1;
        drop(guest);
        let is_kept = || slots.0.map.is_touched(start);
        assert!(is_kept() && slots.kept_bytes() >= 4_096);
        for _ in 0..=KEPT_PASSES {
            assert!(is_kept());
            slots.begin_pass();
            assert!(!slots.trim_some());
        }
        assert!(!is_kept() && slots.kept_bytes() == 0);
        assert_eq!(bytes(&mut *memory(&slots, 2))[0], 0);
    }

    #[test]
    fn only_so_much_is_given_back_in_one_step() {
        let slots = slots(2 * STEP_SLOTS + 1);
        let mut guests: Vec<_> = (0..2 * STEP_SLOTS + 1).map(|_| memory(&slots, 1)).collect();
        guests.iter_mut().for_each(|guest| bytes(&mut **guest)[0] = 1);
        drop(guests);
        let all = slots.kept_bytes();
        (0..=KEPT_PASSES).for_each(|_| slots.begin_pass());
        let steps: Vec<_> = (0..4).map(|_| (slots.trim_some(), all - slots.kept_bytes())).collect();
        let step = all / (2 * STEP_SLOTS + 1) * STEP_SLOTS;
        assert_eq!(steps, [(true, step), (true, 2 * step), (false, all), (false, all)]);
    }
}
