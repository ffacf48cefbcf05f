//! The seeds that a language's runtime draws once and keeps (Rust: the keys of `RandomState`), found in a guest's memory
//! so that the snapshot can be made without them: then each sandbox draws its own.
//!
//! A component that exports `skiff:task/seeds` draws them on demand. What that changes in the memory of a guest that is
//! made for this alone is where they are; it has one layout in every guest of the component.

use super::guest::{Guest, Refusal};
use super::memory;
use std::collections::HashMap;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Linker};

/// The interface, and its functions.
const SEEDS: &str = "skiff:task/seeds@0.1.0";
const PREPARE: &str = "prepare";
const DRAW: &str = "draw";
/// The seed that is drawn while looking: no byte of it is like what was there before.
pub(super) const MARK: u128 = u128::from_ne_bytes([0x5a; 16]);
/// Bytes that drawing may change: far more than the seeds of any runtime.
const CHANGED_BYTES_MAX: usize = 4 << 10;

/// By the function that reads a memory: where bytes of seeds are in it, and what was there before they were drawn.
#[derive(Debug, Default)]
pub(super) struct Seeds(HashMap<String, Vec<(usize, u8)>>);

/// Whether the component says where its seeds are.
pub(super) fn are_told(component: &Component) -> bool {
    component.get_export(None, SEEDS).is_some()
}

/// Draws the seeds of a fresh guest, and sees what that changes.
pub(super) async fn find(
    store: &mut Store<Guest>,
    component: &Component,
    linker: &Linker<Guest>,
) -> wasmtime::Result<Seeds> {
    let instance = linker.instantiate_async(&mut *store, component).await?;
    // What the first call of all sets up is no seed.
    call(store, instance, PREPARE).await?;
    if store.data().drew_seed() {
        return Err(Refusal::error(format!(
            "a seed was drawn before {SEEDS}#{DRAW} was called, which is to show where it is kept; draw none in \
             constructors and in {SEEDS}#{PREPARE}"
        )));
    }
    let readers = memory::readers(component);
    let mut before = Vec::with_capacity(readers.len());
    for reader in &readers {
        before.push(memory::copy(store, instance, reader).await?);
    }
    call(store, instance, DRAW).await?;
    if !store.data().drew_seed() {
        return Err(Refusal::error(format!("{SEEDS}#{DRAW} draws no seed of wasi:random/insecure-seed")));
    }
    let mut seeds = Seeds::default();
    for (reader, before) in readers.into_iter().zip(before) {
        let after = memory::copy(store, instance, &reader).await?;
        let changed = before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after);
        let changed: Vec<_> = changed.map(|(at, (before, _))| (at, *before)).collect();
        if changed.len() > CHANGED_BYTES_MAX {
            return Err(Refusal::error(format!(
                "{SEEDS}#{DRAW} changes {} bytes of memory, where it should draw seeds and do nothing else",
                changed.len()
            )));
        }
        seeds.0.insert(reader, changed);
    }
    Ok(seeds)
}

impl Seeds {
    /// The memory that `reader` reads as if they had not been drawn; `None` if it holds none.
    pub(super) fn taken_out(&self, reader: &str, memory: &[u8]) -> Option<Vec<u8>> {
        let seeds = self.0.get(reader).filter(|seeds| !seeds.is_empty())?;
        let mut memory = memory.to_vec();
        for &(at, before) in seeds {
            if let Some(byte) = memory.get_mut(at) {
                *byte = before;
            }
        }
        Some(memory)
    }
}

async fn call(store: &mut Store<Guest>, instance: Instance, name: &str) -> wasmtime::Result<()> {
    let seeds = instance.get_export_index(&mut *store, None, SEEDS);
    let index = seeds.and_then(|seeds| instance.get_export_index(&mut *store, Some(&seeds), name));
    let index = index.ok_or_else(|| Refusal::error(format!("{SEEDS} has no function {name}")))?;
    let function = instance.get_typed_func::<(), ()>(&mut *store, index)?;
    function.call_async(&mut *store, ()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_put_back_to_what_was_there_before() {
        let seeds = Seeds(
            [("memory0".to_owned(), vec![(1, 0), (3, 9), (99, 1)]), ("memory1".to_owned(), vec![])].into(),
        );
        assert_eq!(seeds.taken_out("memory0", &[1, 2, 3, 4, 5]), Some(vec![1, 0, 3, 9, 5]));
        assert_eq!((seeds.taken_out("memory1", &[1]), seeds.taken_out("memory2", &[1])), (None, None));
    }
}
