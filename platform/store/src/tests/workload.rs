//! Writers whose state is a function of how many of their writes are done, so that any store can be checked against
//! the last acknowledged one.

use bytes::Bytes;
use skiff_ports::store::{Durability, Expect, Key, Store, StoreError};
use std::collections::BTreeMap;

/// Writers at once.
pub(crate) const WRITERS: u64 = 4;
/// Keys of each writer.
const KEYS: u64 = 7;

/// Whether write `n` (from 1) of a writer is a delete. Its key always exists then.
fn is_delete(n: u64) -> bool {
    n > KEYS && n.is_multiple_of(5)
}

fn key(writer: u64, n: u64) -> Key {
    Key::new(["work".to_owned(), format!("w{writer}"), format!("k{}", n % KEYS)]).unwrap()
}

/// The value of write `n`: between 20 bytes and some pages, different for each.
fn value(writer: u64, n: u64) -> Bytes {
    let head = format!("writer {writer} write {n} ");
    let length = head.len() + (n as usize * 997) % 9_000;
    head.bytes().cycle().take(length).collect()
}

/// Does write `n` of a writer, as durable as this unless it is a delete.
pub(crate) async fn write(
    store: &dyn Store,
    writer: u64,
    n: u64,
    durability: Durability,
) -> Result<(), StoreError> {
    let key = key(writer, n);
    match is_delete(n) {
        true => store.delete(&key, Expect::Any).await?,
        false => store.put_with(&key, value(writer, n), Expect::Any, durability).await?,
    };
    Ok(())
}

/// What stands there after a writer's first `n` writes.
fn state_after(writer: u64, n: u64) -> BTreeMap<Key, Bytes> {
    let mut state = BTreeMap::new();
    for n in n.saturating_sub(KEYS - 1).max(1)..=n {
        match is_delete(n) {
            true => state.remove(&key(writer, n)),
            false => state.insert(key(writer, n), value(writer, n)),
        };
    }
    state
}

/// How many writes of a writer are there: `acknowledged` of them, or one more that was under way. An error says what
/// is there instead.
pub(crate) async fn done(store: &dyn Store, writer: u64, acknowledged: u64) -> Result<u64, String> {
    let prefix = Key::new(["work".to_owned(), format!("w{writer}")]).unwrap();
    let listing = store.list(&prefix).await.map_err(|error| error.to_string())?;
    let found: BTreeMap<Key, Bytes> =
        listing.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    (acknowledged..=acknowledged + 1).find(|n| found == state_after(writer, *n)).ok_or_else(|| {
        let heads = found.iter().map(|(key, value)| {
            format!("{key}: {:?}", String::from_utf8_lossy(&value[..value.len().min(24)]))
        });
        let heads: Vec<String> = heads.collect();
        format!("writer {writer} had {acknowledged} writes acknowledged, but there is {heads:#?}")
    })
}
