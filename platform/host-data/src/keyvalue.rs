//! `wasi:keyvalue`: a store is a table of the task's namespace, and its buckets are handles to it.
//!
//! Whether a task may touch a key is judged at each call, not when a store is opened. Of a batch, as many items as one call of the
//! platform takes are written together, and an error says nothing of those before: so the interface has it.
//!
//! What always holds: a handle stands for a table's name, and for nothing that would outlive the table.

use crate::bindings::store::{Error, Host, HostBucket, KeyResponse};
use crate::bindings::{atomics, batch};
use crate::{View, expect};
use bytes::Bytes;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError, GuestExpect, GuestItem, GuestWrite};
use skiff_ports::tables::{ITEM_VALUE_BYTES_MAX, ITEMS_BYTES_MAX, ITEMS_MAX, SCAN_MAX};
use skiff_sandbox::Caller;
use skiff_types::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use wasmtime::component::{Resource, ResourceTableError};

/// Items that one answer holds however large they are.
const FEW_ITEMS: usize = ITEMS_BYTES_MAX / ITEM_VALUE_BYTES_MAX;

/// A handle to a table.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct Bucket {
    name: Name,
}

/// An item as it was when somebody looked, to be replaced if it is so still.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct Cas {
    table: Name,
    key: String,
    found: Option<GuestItem>,
}

/// Why a call fails.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The guest is told this.
    Told(Error),
    /// It broke the contract of resources, and ends.
    Trap(wasmtime::Error),
}

type StoreResult<T> = Result<T, StoreError>;

impl From<GuestCallError> for StoreError {
    fn from(error: GuestCallError) -> Self {
        Self::Told(match error {
            GuestCallError::NotFound(_) => Error::NoSuchStore,
            GuestCallError::Denied { .. } => Error::AccessDenied,
            GuestCallError::Conflict { .. }
            | GuestCallError::Invalid(_)
            | GuestCallError::Busy(_)
            | GuestCallError::Failed(_) => Error::Other(error.to_string()),
        })
    }
}

impl From<&str> for StoreError {
    fn from(text: &str) -> Self {
        Self::Told(Error::Other(text.to_owned()))
    }
}

impl From<ResourceTableError> for StoreError {
    fn from(error: ResourceTableError) -> Self {
        match error {
            ResourceTableError::Full => "the sandbox has as many handles as it may: drop some".into(),
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => Self::Trap(error.into()),
        }
    }
}

impl View<'_> {
    /// The table that a handle stands for.
    fn named(&self, bucket: &Resource<Bucket>) -> StoreResult<Name> {
        Ok(self.table.get(bucket)?.name.clone())
    }

    /// Looks at an item, to replace it later.
    async fn look(&mut self, table: Name, key: String) -> StoreResult<Resource<Cas>> {
        let found = item(self.caller, &table, key.clone()).await?;
        Ok(self.table.push(Cas { table, key, found })?)
    }
}

async fn items(caller: &Caller, table: &Name, keys: Vec<String>) -> StoreResult<Vec<Option<GuestItem>>> {
    let count = keys.len();
    let answer = caller.ask(GuestCall::Get { table: table.clone(), keys }).await?;
    Ok(expect(answer, |answer| match answer {
        GuestAnswer::Items(items) if items.len() == count => Some(items),
        _ => None,
    })?)
}

async fn item(caller: &Caller, table: &Name, key: String) -> StoreResult<Option<GuestItem>> {
    Ok(items(caller, table, vec![key]).await?.pop().flatten())
}

/// As many at once as one answer may hold.
async fn many_items(caller: &Caller, table: &Name, keys: &[String]) -> StoreResult<Vec<Option<GuestItem>>> {
    match items(caller, table, keys.to_vec()).await {
        // They may be too large together: so few never are.
        Err(StoreError::Told(Error::Other(_))) if keys.len() > FEW_ITEMS => {
            let mut found = Vec::with_capacity(keys.len());
            for few in keys.chunks(FEW_ITEMS) {
                found.extend(items(caller, table, few.to_vec()).await?);
            }
            Ok(found)
        }
        found => found,
    }
}

async fn carry_out(caller: &Caller, table: &Name, writes: Vec<GuestWrite>) -> Result<(), GuestCallError> {
    caller.ask(GuestCall::Write { table: table.clone(), writes }).await.map(drop)
}

/// A write of one item, whatever is there.
fn write(key: String, value: Option<Vec<u8>>) -> GuestWrite {
    GuestWrite { key, value: value.map(Bytes::from), expires_in_ms: None, expect: GuestExpect::Any }
}

impl Host for View<'_> {
    fn convert_error(&mut self, error: StoreError) -> wasmtime::Result<Error> {
        match error {
            StoreError::Told(error) => Ok(error),
            StoreError::Trap(error) => Err(error),
        }
    }

    async fn open(&mut self, identifier: String) -> StoreResult<Resource<Bucket>> {
        let name: Name = identifier.parse().map_err(|_| StoreError::Told(Error::NoSuchStore))?;
        self.ask(GuestCall::OpenTable(name.clone())).await?;
        Ok(self.table.push(Bucket { name })?)
    }
}

impl HostBucket for View<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<Option<Vec<u8>>> {
        let table = self.named(&bucket)?;
        Ok(item(self.caller, &table, key).await?.map(|item| item.value.into()))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> StoreResult<()> {
        let table = self.named(&bucket)?;
        Ok(carry_out(self.caller, &table, vec![write(key, Some(value))]).await?)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<()> {
        let table = self.named(&bucket)?;
        Ok(carry_out(self.caller, &table, vec![write(key, None)]).await?)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<bool> {
        let table = self.named(&bucket)?;
        Ok(item(self.caller, &table, key).await?.is_some())
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> StoreResult<KeyResponse> {
        let table = self.named(&bucket)?;
        let keys = GuestCall::Keys { table, prefix: String::new(), after: cursor, limit: SCAN_MAX };
        let answer = self.ask(keys).await?;
        let (keys, cursor) = expect(answer, |answer| match answer {
            GuestAnswer::Keys(keys, next) => Some((keys, next)),
            _ => None,
        })?;
        Ok(KeyResponse { keys, cursor })
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> StoreResult<i64> {
        let table = self.named(&bucket)?;
        let answer = self.ask(GuestCall::Increment { table, key, delta }).await?;
        Ok(expect(answer, |answer| match answer {
            GuestAnswer::Sum(sum) => Some(sum),
            _ => None,
        })?)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { table, key, found } = self.table.delete(cas)?;
        let expect = found.map_or(GuestExpect::Absent, |item| GuestExpect::Version(item.version));
        let swap = GuestWrite { expect, ..write(key.clone(), Some(value)) };
        let failed = match carry_out(self.caller, &table, vec![swap]).await {
            Ok(()) => return Ok(Ok(())),
            // To be tried again with what is there now.
            Err(GuestCallError::Conflict { .. }) => match self.look(table, key).await {
                Ok(cas) => return Ok(Err(atomics::CasError::CasFailed(cas))),
                Err(error) => error,
            },
            Err(error) => error.into(),
        };
        Ok(Err(atomics::CasError::StoreError(self.convert_error(failed)?)))
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<Resource<Cas>> {
        let table = self.named(&bucket)?;
        self.look(table, key).await
    }

    fn current(&mut self, cas: Resource<Cas>) -> StoreResult<Option<Vec<u8>>> {
        let found = &self.table.get(&cas)?.found;
        Ok(found.as_ref().map(|item| item.value.to_vec()))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> StoreResult<Vec<Option<(String, Vec<u8>)>>> {
        let table = self.named(&bucket)?;
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(ITEMS_MAX) {
            let items = many_items(self.caller, &table, keys).await?;
            let pairs = items.into_iter().zip(keys);
            found.extend(pairs.map(|(item, key)| Some((key.clone(), item?.value.into()))));
        }
        Ok(found)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> StoreResult<()> {
        let table = self.named(&bucket)?;
        // Each key once: what was said of it last.
        let key_values: BTreeMap<String, Vec<u8>> = key_values.into_iter().collect();
        let (mut writes, mut bytes) = (Vec::new(), 0);
        for (key, value) in key_values {
            if writes.len() == ITEMS_MAX || bytes + value.len() > ITEMS_BYTES_MAX {
                carry_out(self.caller, &table, mem::take(&mut writes)).await?;
                bytes = 0;
            }
            bytes += value.len();
            writes.push(write(key, Some(value)));
        }
        match writes.is_empty() {
            true => Ok(()),
            false => Ok(carry_out(self.caller, &table, writes).await?),
        }
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> StoreResult<()> {
        let table = self.named(&bucket)?;
        let keys: Vec<String> = keys.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        for keys in keys.chunks(ITEMS_MAX) {
            carry_out(self.caller, &table, keys.iter().map(|key| write(key.clone(), None)).collect()).await?;
        }
        Ok(())
    }
}
