//! What stands in for the platform's services on the machine that a component is written on, for unit tests: tables and buckets in
//! memory, for each thread by itself, and buses and queues that take all and keep nothing. Every role allows everything.
//!
//! It deliberately forgets nothing by itself: expiry is not played.

use crate::buckets;
use crate::events::NewEvent;
use crate::queues::NewMessage;
use crate::service_error::ServiceError;
use crate::tables::{Error, Expect, Item, Page, Write};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Bound;

/// Items that one page of a scan has at most.
const PAGE_ITEMS_MAX: usize = 1_000;

#[derive(Default)]
struct Kept {
    tables: BTreeMap<String, BTreeMap<String, Item>>,
    version: u64,
    buckets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    sent: u64,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

pub(crate) fn put_events(_bus: &str, _events: &[NewEvent]) -> Result<(), ServiceError> {
    Ok(())
}

pub(crate) fn send_messages(
    _queue: &str,
    messages: &[NewMessage],
) -> Result<Vec<Result<String, String>>, ServiceError> {
    KEPT.with_borrow_mut(|kept| {
        let mut id = |_| {
            kept.sent += 1;
            Ok(format!("{:032x}", kept.sent))
        };
        Ok(messages.iter().map(&mut id).collect())
    })
}

pub(crate) fn table_get(table: &str, keys: &[&str]) -> Result<Vec<Option<Item>>, Error> {
    KEPT.with_borrow(|kept| {
        let items = kept.tables.get(table);
        let get = |key: &&str| items.and_then(|items| items.get(*key)).cloned();
        Ok(keys.iter().map(get).collect())
    })
}

pub(crate) fn table_write(table: &str, writes: &[Write]) -> Result<Vec<u64>, Error> {
    KEPT.with_borrow_mut(|kept| {
        let Kept { tables, version, .. } = kept;
        let items = tables.entry(table.to_owned()).or_default();
        let mut keys = HashSet::new();
        for write in writes {
            if write.key.is_empty() || !keys.insert(&write.key) {
                return Err(Error::Invalid(format!(
                    "the key {:?} is empty, or in the call twice",
                    write.key
                )));
            }
            let actual = items.get(&write.key).map(|item| item.version);
            let is_expected = match write.expect {
                Expect::Any => true,
                Expect::Absent => actual.is_none(),
                Expect::Present => actual.is_some(),
                Expect::Version(expected) => actual == Some(expected),
            };
            if !is_expected {
                let message = format!("{:?} is not as the write expects it", write.key);
                return Err(Error::Conflict { message, version: actual });
            }
        }
        let mut do_it = |write: &Write| match &write.value {
            Some(value) => {
                *version += 1;
                items.insert(write.key.clone(), Item { value: value.clone(), version: *version });
                *version
            }
            None => {
                items.remove(&write.key);
                0
            }
        };
        Ok(writes.iter().map(&mut do_it).collect())
    })
}

pub(crate) fn table_increment(table: &str, key: &str, delta: i64) -> Result<i64, Error> {
    let item = table_get(table, &[key])?.pop().flatten();
    let number = match item {
        None => Some(0),
        Some(item) => std::str::from_utf8(&item.value).ok().and_then(|digits| digits.parse().ok()),
    };
    let sum = number.and_then(|number: i64| number.checked_add(delta));
    let sum = sum.ok_or_else(|| Error::Invalid(format!("{key:?} can't be counted with")))?;
    table_write(table, &[Write::put(key, sum.to_string())])?;
    Ok(sum)
}

pub(crate) fn table_scan(table: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
    KEPT.with_borrow(|kept| {
        let Some(items) = kept.tables.get(table) else { return Ok(Page::default()) };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut found = items.range::<str, _>((from, Bound::Unbounded));
        let mut page = Page::default();
        let limit = PAGE_ITEMS_MAX.min(limit as usize);
        for (key, item) in found.by_ref().take_while(|(key, _)| key.starts_with(prefix)).take(limit) {
            page.items.push((key.clone(), item.clone()));
        }
        if found.next().is_some_and(|(key, _)| key.starts_with(prefix)) {
            page.next = page.items.last().map(|(key, _)| key.clone());
        }
        Ok(page)
    })
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Container(String);

impl Container {
    pub(crate) fn open(name: &str) -> Result<Self, buckets::Error> {
        Ok(Self(name.to_owned()))
    }

    fn get<R>(&self, key: &str, read: impl FnOnce(&[u8]) -> R) -> Result<R, buckets::Error> {
        let no_object = || buckets::Error(format!("there is no object {key:?} in {}", self.0));
        KEPT.with_borrow(|kept| {
            let object = kept.buckets.get(&self.0).and_then(|objects| objects.get(key));
            object.map(|bytes| read(bytes)).ok_or_else(no_object)
        })
    }

    pub(crate) fn read(&self, key: &str, start: u64, last: u64) -> Result<ObjectReader, buckets::Error> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let part = self.get(key, |bytes| {
            let end = place(last).saturating_add(1).min(bytes.len());
            bytes.get(place(start)..end).unwrap_or_default().to_vec()
        });
        part.map(|part| ObjectReader(io::Cursor::new(part)))
    }

    pub(crate) fn write(&self, key: &str) -> Result<ObjectWriter, buckets::Error> {
        Ok(ObjectWriter { bucket: self.0.clone(), key: key.to_owned(), bytes: Vec::new() })
    }

    pub(crate) fn size(&self, key: &str) -> Result<u64, buckets::Error> {
        self.get(key, |bytes| bytes.len() as u64)
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, buckets::Error> {
        Ok(self.get(key, |_| ()).is_ok())
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), buckets::Error> {
        KEPT.with_borrow_mut(|kept| {
            kept.buckets.get_mut(&self.0).and_then(|objects| objects.remove(key));
        });
        Ok(())
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, buckets::Error> {
        KEPT.with_borrow(|kept| {
            let objects = kept.buckets.get(&self.0).into_iter().flatten();
            Ok(objects.map(|(key, _)| key.clone()).collect())
        })
    }
}

/// An object that is read.
#[derive(Debug)]
pub(crate) struct ObjectReader(io::Cursor<Vec<u8>>);

impl ObjectReader {
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.0, buffer)
    }
}

/// An object that is written.
#[derive(Debug)]
pub(crate) struct ObjectWriter {
    bucket: String,
    key: String,
    bytes: Vec<u8>,
}

impl ObjectWriter {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    pub(crate) fn finish(self) -> Result<(), buckets::Error> {
        let Self { bucket, key, bytes } = self;
        KEPT.with_borrow_mut(|kept| kept.buckets.entry(bucket).or_default().insert(key, bytes));
        Ok(())
    }
}
