//! What is stored, by key, and how much memory it takes.
//!
//! What something takes is its bytes and an estimate of what the allocator and the tables hold for it. What is about to grow
//! says by how much before it does, and is refused if that were too much; what shrinks is never refused.
//!
//! What always holds: nothing empty is stored, as in Redis; a key keeps its kind until it is removed or set.

use crate::commands::Problem;
use std::collections::{HashMap, HashSet, VecDeque};

/// What a key takes beside its bytes: its place in the table, and those of its value.
const ENTRY_BYTES: usize = 96;
/// The same for one element of a list, a set or a hash.
pub(crate) const ELEMENT_BYTES: usize = 48;

/// A string.
pub(crate) type Text = Vec<u8>;
/// A list, from its head to its tail.
pub(crate) type List = VecDeque<Box<[u8]>>;
/// A set.
pub(crate) type Set = HashSet<Box<[u8]>>;
/// A hash, by field.
pub(crate) type Hash = HashMap<Box<[u8]>, Box<[u8]>>;

/// What a key leads to.
pub(crate) enum Value {
    Text(Text),
    List(List),
    Set(Set),
    Hash(Hash),
}

/// One of the four.
pub(crate) trait Kind: Default {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    /// Whether nothing is left of it, so that it is not stored.
    fn is_nothing(&self) -> bool;
}

macro_rules! kind {
    ($kind:ident, $value:ident => $is_nothing:expr) => {
        impl Kind for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(value) = value { Some(value) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(value) = value { Some(value) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$kind(self)
            }

            fn is_nothing(&self) -> bool {
                let $value = self;
                $is_nothing
            }
        }
    };
}

// An empty string is a value like any other.
kind!(Text, _text => false);
kind!(List, list => list.is_empty());
kind!(Set, set => set.is_empty());
kind!(Hash, hash => hash.is_empty());

/// All keys.
pub(crate) struct Database {
    entries: HashMap<Box<[u8]>, Value>,
    used_bytes: usize,
    bytes_max: usize,
}

/// By how much a value is otherwise than before, in bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) more: usize,
    pub(crate) less: usize,
}

impl Database {
    /// With nothing in it, and room for so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), used_bytes: 0, bytes_max }
    }

    /// A key's value, of whichever kind.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key)
    }

    /// A key's value; `None` if there is none.
    ///
    /// # Errors
    /// [`Problem::WrongKind`] if it is of another kind.
    pub(crate) fn find<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, Problem> {
        let value = self.entries.get(key);
        value.map(|value| K::of(value).ok_or(Problem::WrongKind)).transpose()
    }

    /// Changes a key's value, or a new one, which says by how much it has become larger and smaller: larger by no more than
    /// it said that it might. One that has nothing in it then is removed.
    ///
    /// # Errors
    /// [`Problem::WrongKind`] if it is of another kind, [`Problem::OutOfMemory`] if it may become larger and there is no
    /// room for that.
    pub(crate) fn change<K: Kind, R>(
        &mut self,
        key: &[u8],
        more_max: usize,
        change: impl FnOnce(&mut K) -> (R, Change),
    ) -> Result<R, Problem> {
        let of_key = ENTRY_BYTES + key.len();
        if more_max > 0 && self.used_bytes + of_key + more_max > self.bytes_max {
            return Err(Problem::OutOfMemory);
        }
        let Some(value) = self.entries.get_mut(key) else {
            let mut new = K::default();
            let (result, change) = change(&mut new);
            if !new.is_nothing() {
                self.used_bytes += of_key + change.more - change.less;
                self.entries.insert(key.into(), new.into_value());
            }
            return Ok(result);
        };
        let value = K::of_mut(value).ok_or(Problem::WrongKind)?;
        let (result, change) = change(value);
        let is_nothing = value.is_nothing();
        self.used_bytes = self.used_bytes + change.more - change.less;
        if is_nothing {
            self.entries.remove(key);
            self.used_bytes -= of_key;
        }
        Ok(result)
    }

    /// Stores a string, whatever was there.
    ///
    /// # Errors
    /// [`Problem::OutOfMemory`]
    pub(crate) fn set(&mut self, key: &[u8], text: &[u8]) -> Result<(), Problem> {
        if let Some(Value::Text(before)) = self.entries.get_mut(key) {
            let used_bytes = self.used_bytes - before.len() + text.len();
            if text.len() > before.len() && used_bytes > self.bytes_max {
                return Err(Problem::OutOfMemory);
            }
            self.used_bytes = used_bytes;
            before.clear();
            before.extend_from_slice(text);
            before.shrink_to(2 * text.len());
            return Ok(());
        }
        let of_key = ENTRY_BYTES + key.len();
        let before = self.entries.get(key).map_or(0, |value| of_key + bytes(value));
        let used_bytes = self.used_bytes - before + of_key + text.len();
        if used_bytes > self.bytes_max {
            return Err(Problem::OutOfMemory);
        }
        self.used_bytes = used_bytes;
        self.entries.insert(key.into(), Value::Text(text.to_vec()));
        Ok(())
    }

    /// Removes a key; false if it was not there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.entries.remove(key);
        if let Some(value) = &removed {
            self.used_bytes -= ENTRY_BYTES + key.len() + bytes(value);
        }
        removed.is_some()
    }

    /// Removes all keys.
    pub(crate) fn clear(&mut self) {
        self.entries = HashMap::new();
        self.used_bytes = 0;
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that are taken.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that may be.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

/// What a value takes beside its key.
fn bytes(value: &Value) -> usize {
    let element = |bytes: &[u8]| ELEMENT_BYTES + bytes.len();
    match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.iter().map(|item| element(item)).sum(),
        Value::Set(set) => set.iter().map(|member| element(member)).sum(),
        Value::Hash(hash) => hash.iter().map(|(field, value)| element(field) + value.len()).sum(),
    }
}
