//! Stacks of fibers, on which guests run.

use super::NoSlot;
use super::pages::{PageMap, Region};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{StackCreator, StackMemory};

/// Bytes at the top of a stack that are kept for the next guest. They are not zeroed: no instruction of WebAssembly can
/// read a stack slot that it has not written.
const KEPT_BYTES: usize = 64 << 10;
/// Stacks that are looked at in one step, each of which takes a call of the kernel or two.
const STEP_STACKS: usize = 32;

/// Slots for stacks, each with a guard page below.
#[derive(Debug, Clone)]
pub(crate) struct StackSlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    region: Region,
    map: PageMap,
    count: usize,
    stack_bytes: usize,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// Those that were used, the last used last.
    used: Vec<IdleStack>,
    /// The first that never was.
    fresh: usize,
}

#[derive(Debug)]
struct IdleStack {
    slot: usize,
    /// Whether it keeps no more than the usual.
    trimmed: bool,
}

impl StackSlots {
    /// Reserves address space for `count` stacks.
    pub(crate) fn reserve(count: usize, stack_bytes: usize) -> std::io::Result<Self> {
        let map = PageMap::open();
        let region = Region::reserve(count * (stack_bytes + map.page_bytes))?;
        Ok(Self(Arc::new(Inner { region, map, count, stack_bytes, idle: Mutex::default() })))
    }

    /// Gives back what deep recursions left behind in some stacks that nobody uses; says whether there are more of them.
    pub(crate) fn trim_some(&self) -> bool {
        let slots = &self.0;
        let mut left = STEP_STACKS;
        for stack in slots.idle().used.iter_mut().filter(|stack| !stack.trimmed) {
            if left == 0 {
                return true;
            }
            left -= 1;
            stack.trimmed = true;
            let bottom = slots.bottom(stack.slot);
            let deep = slots.stack_bytes - KEPT_BYTES;
            // Functions touch every page of their frames in order, so one that went deeper touched this page.
            if slots.map.is_touched(slots.region.at(bottom + deep - slots.map.page_bytes)) {
                // SAFETY: the stack is idle, and stays so while it is locked.
                let _ = unsafe { slots.region.forget(bottom, deep) };
            }
        }
        false
    }

    /// Bytes that stacks keep at most which nobody uses, once they are trimmed.
    pub(crate) fn kept_bytes_max(&self) -> usize {
        self.0.idle().used.len() * KEPT_BYTES
    }
}

impl Inner {
    fn bottom(&self, slot: usize) -> usize {
        slot * (self.stack_bytes + self.map.page_bytes) + self.map.page_bytes
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> wasmtime::Result<usize> {
        let mut idle = self.idle();
        if let Some(stack) = idle.used.pop() {
            return Ok(stack.slot);
        }
        if idle.fresh == self.count {
            return Err(NoSlot { count: self.count, what: "stacks" }.into());
        }
        self.region.open(self.bottom(idle.fresh), self.stack_bytes)?;
        idle.fresh += 1;
        Ok(idle.fresh - 1)
    }
}

// SAFETY: each stack is a slot of its own, page aligned, with a page below it that is never opened.
unsafe impl StackCreator for StackSlots {
    fn new_stack(&self, size: usize, _: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        wasmtime::ensure!(size <= self.0.stack_bytes, "no slot is large enough for a stack of {size} bytes");
        Ok(Box::new(Stack { slots: self.0.clone(), slot: self.0.take()? }))
    }
}

struct Stack {
    slots: Arc<Inner>,
    slot: usize,
}

// SAFETY: the addresses are its slot's.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.slots.region.at(self.slots.bottom(self.slot) + self.slots.stack_bytes)
    }

    fn range(&self) -> Range<usize> {
        let top = self.top().addr();
        top - self.slots.stack_bytes..top
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let bottom = self.slots.bottom(self.slot);
        self.slots.region.at(bottom - self.slots.map.page_bytes)..self.slots.region.at(bottom)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.slots.idle().used.push(IdleStack { slot: self.slot, trimmed: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: usize = 1 << 20;

    #[test]
    fn what_a_deep_recursion_took_is_given_back() {
        let slots = StackSlots::reserve(1, STACK).unwrap();
        let stack = slots.new_stack(STACK, false).unwrap();
        let (top, range) = (stack.top(), stack.range());
        assert_eq!((range.end, range.len()), (top.addr(), STACK));
        assert_eq!(stack.guard_range().end.addr(), range.start);
        for depth in (1..STACK).step_by(4_096) {
            // SAFETY: it lies on the stack, which nobody else uses.
            unsafe { top.wrapping_sub(depth).write(1) };
        }
        drop(stack);
        let is_touched = |depth| slots.0.map.is_touched(top.wrapping_sub(depth).map_addr(|at| at & !4_095));
        assert!(is_touched(STACK) && is_touched(1));
        assert!(!slots.trim_some());
        assert!(!is_touched(STACK) && !is_touched(KEPT_BYTES + 1) && is_touched(KEPT_BYTES) && is_touched(1));
    }

    #[test]
    fn only_so_many_are_looked_at_in_one_step() {
        let slots = StackSlots::reserve(STEP_STACKS + 1, STACK).unwrap();
        let stacks: Vec<_> = (0..=STEP_STACKS).map(|_| slots.new_stack(STACK, false).unwrap()).collect();
        drop(stacks);
        assert_eq!([(); 3].map(|()| slots.trim_some()), [true, false, false]);
    }

    #[test]
    fn there_are_no_more_than_were_reserved() {
        let slots = StackSlots::reserve(1, STACK).unwrap();
        let stack = slots.new_stack(STACK, false).unwrap();
        assert!(slots.new_stack(STACK, false).is_err_and(|error| error.is::<NoSlot>()));
        drop(stack);
        assert!(slots.new_stack(STACK, false).is_ok());
    }
}
