//! `skiff:tables`: what `wasi:keyvalue` can't say of a table: versions, expiry, conditions over several items, scans.

use crate::bindings::table::{Conflicting, Error, Expect, Host, Item, Page, WriteItem};
use crate::{View, expect};
use bytes::Bytes;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError, GuestExpect, GuestItem, GuestWrite};
use skiff_types::Name;

/// Why a call fails: always as the guest is told.
#[derive(Debug)]
pub(crate) struct TableError(Error);

type TableResult<T> = Result<T, TableError>;

impl From<GuestCallError> for TableError {
    fn from(error: GuestCallError) -> Self {
        Self(match error {
            GuestCallError::NotFound(message) => Error::NoSuch(message),
            GuestCallError::Denied { message, .. } => Error::Denied(message),
            GuestCallError::Conflict { message, version } => {
                Error::Conflict(Conflicting { message, version })
            }
            GuestCallError::Invalid(message) => Error::Invalid(message),
            GuestCallError::Busy(message) => Error::Busy(message),
            GuestCallError::Failed(message) => Error::Failed(message),
        })
    }
}

impl From<&str> for TableError {
    fn from(text: &str) -> Self {
        Self(Error::Failed(text.to_owned()))
    }
}

/// What a guest calls a table, if any could be called so.
fn named(table: &str) -> TableResult<Name> {
    let name = table.parse::<Name>();
    name.map_err(|error| TableError(Error::NoSuch(format!("there is no such table: {error}"))))
}

fn shown(item: GuestItem) -> Item {
    Item { value: item.value.into(), version: item.version }
}

fn asked(write: WriteItem) -> GuestWrite {
    let expect = match write.expect {
        Expect::Any => GuestExpect::Any,
        Expect::Absent => GuestExpect::Absent,
        Expect::Present => GuestExpect::Present,
        Expect::Version(version) => GuestExpect::Version(version),
    };
    let WriteItem { key, value, expires_in_ms, .. } = write;
    GuestWrite { key, value: value.map(Bytes::from), expires_in_ms, expect }
}

impl Host for View<'_> {
    fn convert_error(&mut self, TableError(error): TableError) -> wasmtime::Result<Error> {
        Ok(error)
    }

    async fn get(&mut self, table: String, keys: Vec<String>) -> TableResult<Vec<Option<Item>>> {
        let (table, count) = (named(&table)?, keys.len());
        let answer = self.ask(GuestCall::Get { table, keys }).await?;
        let items = expect(answer, |answer| match answer {
            GuestAnswer::Items(items) if items.len() == count => Some(items),
            _ => None,
        })?;
        Ok(items.into_iter().map(|item| item.map(shown)).collect())
    }

    async fn write(&mut self, table: String, writes: Vec<WriteItem>) -> TableResult<Vec<u64>> {
        let (table, writes) = (named(&table)?, writes.into_iter().map(asked).collect());
        let answer = self.ask(GuestCall::Write { table, writes }).await?;
        Ok(expect(answer, |answer| match answer {
            GuestAnswer::Versions(versions) => Some(versions),
            _ => None,
        })?)
    }

    async fn increment(&mut self, table: String, key: String, delta: i64) -> TableResult<i64> {
        let table = named(&table)?;
        let answer = self.ask(GuestCall::Increment { table, key, delta }).await?;
        Ok(expect(answer, |answer| match answer {
            GuestAnswer::Sum(sum) => Some(sum),
            _ => None,
        })?)
    }

    async fn scan(
        &mut self,
        table: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> TableResult<Page> {
        let table = named(&table)?;
        let answer = self.ask(GuestCall::Scan { table, prefix, after, limit }).await?;
        let (items, next) = expect(answer, |answer| match answer {
            GuestAnswer::Page(items, next) => Some((items, next)),
            _ => None,
        })?;
        Ok(Page { items: items.into_iter().map(|(key, item)| (key, shown(item))).collect(), next })
    }
}
