//! Tables: keys and values that last, with versions, expiry, conditional writes of several items at once, counters and scans.
//!
//! ```
//! # fn main() -> Result<(), skiff_sdk::tables::Error> {
//! use skiff_sdk::tables::{Expect, Table, Write};
//!
//! let table = Table::new("thumbnails");
//! table.put("cat.png", "320x200")?;
//! let item = table.get("cat.png")?.expect("it was just put");
//! // Both or neither, and only if nobody has changed the first meanwhile.
//! table.write(vec![
//!     Write::put("cat.png", "640x400").expect(Expect::Version(item.version)),
//!     Write::delete("cat.jpg"),
//! ])?;
//! assert_eq!(table.increment("count", 1)?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! A key has 1 to 1,024 bytes, a value 1 MiB at most, and one call 100 items of 4 MiB together at most. `wasi:keyvalue` reaches the
//! same tables. Outside of a component, as in unit tests, tables are empty at first and kept in memory, for each thread by itself.

use std::fmt;
use std::time::Duration;

/// How often [`Table::update`] tries, where others write the same item.
pub const UPDATE_TRIES: u32 = 16;
/// How long [`once`] remembers that something was done: as long as the longest that a queue keeps a message.
pub const ONCE_KEPT: Duration = Duration::from_secs(14 * 24 * 3_600);
/// Items that [`Table::items`] asks for at a time.
const PAGE_ITEMS: u32 = 100;

/// A table of the task's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    name: String,
}

/// What a table holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its value.
    pub value: Vec<u8>,
    /// Given by the write that it has its value from: greater than all versions that its table gave before.
    pub version: u64,
}

/// What a write expects to find. What has expired is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expect {
    /// Anything or nothing.
    #[default]
    Any,
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// The item in this version.
    Version(u64),
}

/// A write of one item.
#[cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, reason = "a component's host reads when it expires")
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) expect: Expect,
}

impl Write {
    /// The item is to hold this.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: Some(value.into()), expires_in: None, expect: Expect::Any }
    }

    /// The item is to be gone.
    pub fn delete(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, expires_in: None, expect: Expect::Any }
    }

    /// It goes by itself after so long.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// Only if it finds this.
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }
}

/// Items by key, and whether there are more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys, and what is under them.
    pub items: Vec<(String, Item)>,
    /// What to ask after for the next; none where there are no more.
    pub next: Option<String>,
}

/// Why a table did not do it. What it prints is for people; a denial names the grant that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The task's role does not allow it.
    Denied(String),
    /// There is no such table.
    NoSuch(String),
    /// An item is not as a write expects it: nothing was written.
    Conflict {
        /// Which, and how it is.
        message: String,
        /// Its version, if it is there.
        version: Option<u64>,
    },
    /// There is no room, or too much to do at present: nothing was done, and it may be tried again.
    Busy(String),
    /// The call can't be so: nothing was done.
    Invalid(String),
    /// The platform failed: it is not known whether it was done.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text)
            | Self::NoSuch(text)
            | Self::Conflict { message: text, .. }
            | Self::Busy(text)
            | Self::Invalid(text)
            | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl Table {
    /// The table of this name. Asks nobody: whether there is one is seen when it is used.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// What is under a key.
    pub fn get(&self, key: &str) -> Result<Option<Item>, Error> {
        Ok(self.get_many(&[key])?.pop().flatten())
    }

    /// What is under these keys, 100 at most, in their order.
    pub fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Item>>, Error> {
        crate::runtime::table_get(&self.name, keys)
    }

    /// Writes one item, whatever was there; returns its version.
    pub fn put(&self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Result<u64, Error> {
        Ok(self.write(vec![Write::put(key, value)])?.pop().unwrap_or_default())
    }

    /// Deletes one item, if it is there.
    pub fn delete(&self, key: impl Into<String>) -> Result<(), Error> {
        self.write(vec![Write::delete(key)]).map(drop)
    }

    /// Does all of these writes, 100 at most, or none; each key may be in it once. Returns their versions, 0 for a delete. Once it
    /// returns, all is on the platform's drive.
    pub fn write(&self, writes: Vec<Write>) -> Result<Vec<u64>, Error> {
        crate::runtime::table_write(&self.name, &writes)
    }

    /// Makes of what is under a key what `change` does, unless somebody else has written it meanwhile: then anew, up to
    /// [`UPDATE_TRIES`] times. Returns what it made.
    pub fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let item = self.get(key)?;
            let expect = item.as_ref().map_or(Expect::Absent, |item| Expect::Version(item.version));
            let value = change(item.as_ref().map(|item| item.value.as_slice()));
            match self.write(vec![Write::put(key, value.clone()).expect(expect)]) {
                Ok(_) => return Ok(value),
                Err(Error::Conflict { .. }) if tries < UPDATE_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds to the number that is under a key, as decimal digits; nothing counts as 0. Returns the sum.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        crate::runtime::table_increment(&self.name, key, delta)
    }

    /// The items whose keys begin with `prefix` and come after `after`, by key, `limit` at most; a page has 1,000 at most.
    pub fn scan(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        crate::runtime::table_scan(&self.name, prefix, after, limit)
    }

    /// All items whose keys begin with `prefix`, by key, asked for as they are taken.
    pub fn items<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = Result<(String, Item), Error>> + 'a {
        let mut page = Page::default().items.into_iter();
        let (mut after, mut done) = (None::<String>, false);
        std::iter::from_fn(move || {
            loop {
                if let Some(item) = page.next() {
                    return Some(Ok(item));
                }
                if done {
                    return None;
                }
                match self.scan(prefix, after.as_deref(), PAGE_ITEMS) {
                    Ok(Page { items, next }) => {
                        page = items.into_iter();
                        done = next.is_none();
                        after = next;
                    }
                    Err(error) => {
                        done = true;
                        return Some(Err(error));
                    }
                }
            }
        })
    }
}

/// Why nothing came of [`once`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnceError<E> {
    /// The table.
    Table(Error),
    /// What `effect` returned.
    Effect(E),
}

impl<E: fmt::Display> fmt::Display for OnceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => error.fmt(f),
            Self::Effect(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for OnceError<E> {}

/// Writes to a table what `effect` says, once for a key, however often an event or a message comes: the writes and the key are
/// written together, or none of them. Returns whether this call did it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use skiff_sdk::tables::{Table, Write};
///
/// let table = Table::new("orders");
/// # let event_id = "1";
/// skiff_sdk::once(&table, &format!("handled/{event_id}"), || {
///     Ok::<_, std::num::ParseIntError>(vec![Write::put("orders/7", "paid")])
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// What it promises: of all calls with one key the writes of one at most are in the table, and once a call has returned `Ok`, those
/// of one are. `effect` itself may run more often, so what it does beside saying its writes (a message that it sends, a request)
/// may happen more often. The key is forgotten after [`ONCE_KEPT`]. `effect` may say 99 writes.
///
/// # Errors
/// What `effect` returns, and what the table says: then nothing is written, but after [`Error::Failed`], where that is not known;
/// called again, it finds out.
pub fn once<E>(
    table: &Table,
    key: &str,
    effect: impl FnOnce() -> Result<Vec<Write>, E>,
) -> Result<bool, OnceError<E>> {
    if table.get(key).map_err(OnceError::Table)?.is_some() {
        return Ok(false);
    }
    let mut writes = effect().map_err(OnceError::Effect)?;
    writes.push(Write::put(key, "").expect(Expect::Absent).expires_in(ONCE_KEPT));
    match table.write(writes) {
        Ok(_) => Ok(true),
        // Either somebody else was faster, or something else is not as the effect expects it.
        Err(Error::Conflict { message, version }) => match table.get(key).map_err(OnceError::Table)? {
            Some(_) => Ok(false),
            None => Err(OnceError::Table(Error::Conflict { message, version })),
        },
        Err(error) => Err(OnceError::Table(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_done_together_and_only_where_all_is_as_expected() {
        let table = Table::new("together");
        let version = table.put("a", "1").unwrap();
        let writes = vec![Write::put("b", "1"), Write::put("a", "2").expect(Expect::Version(version + 1))];
        assert!(
            matches!(table.write(writes), Err(Error::Conflict { version: Some(at), .. }) if at == version)
        );
        assert_eq!(table.get("b").unwrap(), None, "all or none");
        let writes =
            vec![Write::put("b", "1").expect(Expect::Absent), Write::delete("a").expect(Expect::Present)];
        assert_eq!(table.write(writes).unwrap()[1], 0);
        assert_eq!(table.get_many(&["a", "b"]).unwrap().iter().flatten().count(), 1);
    }

    #[test]
    fn an_update_sees_what_another_wrote_meanwhile() {
        let table = Table::new("updated");
        let mut others = 3;
        let made = table.update("n", |value| {
            let seen: u32 = value.map_or(0, |value| String::from_utf8_lossy(value).parse().unwrap());
            if others > 0 {
                others -= 1;
                table.put("n", (seen + 10).to_string()).unwrap();
            }
            (seen + 1).to_string().into_bytes()
        });
        assert_eq!(made.unwrap(), b"31");
        let always = table.update("n", |_| {
            table.put("n", "0").unwrap();
            b"1".to_vec()
        });
        assert!(matches!(always, Err(Error::Conflict { .. })), "{always:?}");
    }

    #[test]
    fn all_items_come_page_by_page() {
        let table = Table::new("paged");
        for number in 0..250 {
            table.put(format!("row/{number:03}"), "").unwrap();
        }
        table.put("other", "").unwrap();
        let keys: Vec<String> = table.items("row/").map(|item| item.unwrap().0).collect();
        assert_eq!((keys.len(), keys.is_sorted()), (250, true));
        assert_eq!(table.increment("count", -2).unwrap(), -2);
        assert!(matches!(table.increment("other", 1), Err(Error::Invalid(_))));
    }

    #[test]
    fn an_effect_happens_once_whatever_fails_in_between() {
        let table = Table::new("once");
        let failed = once(&table, "handled/1", || Err("not now"));
        assert_eq!(failed, Err(OnceError::Effect("not now")));
        let pay = || Ok::<_, String>(vec![Write::put("order", "paid").expect(Expect::Absent)]);
        assert_eq!(once(&table, "handled/1", pay), Ok(true));
        assert_eq!(once(&table, "handled/1", || -> Result<_, String> { panic!("it is done") }), Ok(false));
        assert!(matches!(once(&table, "handled/2", pay), Err(OnceError::Table(Error::Conflict { .. }))));
        assert_eq!(table.get("handled/2").unwrap(), None);
        let overtaken = once(&table, "handled/3", || {
            table.put("handled/3", "").unwrap();
            Ok::<_, String>(vec![Write::put("late", "")])
        });
        assert_eq!((overtaken, table.get("late").unwrap()), (Ok(false), None));
    }
}
