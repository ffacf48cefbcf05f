//! `wasi:blobstore/container`: the objects of a bucket.
//!
//! What always holds: a handle stands for a bucket's name, and for nothing that would outlive the bucket; a list of names goes on
//! behind the last that was read, so what is written or deleted meanwhile disturbs no other.

use crate::bindings::container::{Host, HostContainer, HostStreamObjectNames};
use crate::bindings::types::{ContainerMetadata, ObjectMetadata};
use crate::blobstore::{BlobError, BlobResult, told};
use crate::transfer::Transfer;
use crate::values::{IncomingValue, OutgoingValue};
use crate::{View, expect};
use skiff_ports::buckets::LIST_MAX;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError, GuestObject};
use skiff_types::Name;
use std::collections::BTreeMap;
use wasmtime::component::Resource;

/// Keys that are deleted in one call.
const DELETED_MAX: usize = 1_000;

/// A handle to a bucket.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct Container {
    pub(crate) name: Name,
    pub(crate) created_at_ms: u64,
}

/// The names of a bucket's objects, as far as the guest has not read them.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct ObjectNames {
    bucket: Name,
    after: Option<String>,
    is_end: bool,
}

/// As the interface tells times: in seconds.
fn seconds(at_ms: u64) -> u64 {
    at_ms / 1_000
}

impl View<'_> {
    /// The bucket that a handle stands for.
    fn bucket(&self, container: &Resource<Container>) -> Result<Name, BlobError> {
        Ok(self.table.get(container)?.name.clone())
    }

    async fn head(&mut self, bucket: Name, key: String) -> Result<GuestObject, BlobError> {
        let answer = self.ask(GuestCall::Head { bucket, key }).await?;
        Ok(object(answer)?)
    }

    async fn has(&mut self, container: Resource<Container>, key: String) -> Result<bool, BlobError> {
        let bucket = self.bucket(&container)?;
        match self.ask(GuestCall::Head { bucket, key }).await {
            Ok(_) => Ok(true),
            Err(GuestCallError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn info_of(
        &mut self,
        container: Resource<Container>,
        key: String,
    ) -> Result<ObjectMetadata, BlobError> {
        let bucket = self.bucket(&container)?;
        let GuestObject { key, size, modified_at_ms, .. } = self.head(bucket.clone(), key).await?;
        Ok(ObjectMetadata {
            name: key,
            container: bucket.to_string(),
            created_at: seconds(modified_at_ms),
            size,
        })
    }

    async fn read(
        &mut self,
        container: Resource<Container>,
        key: String,
        (start, last): (u64, u64),
    ) -> Result<Resource<IncomingValue>, BlobError> {
        let bucket = self.bucket(&container)?;
        let end = last.saturating_add(1);
        let answer = self.ask(GuestCall::Read { bucket, key, start, end }).await?;
        let (transfer, object) = expect(answer, |answer| match answer {
            GuestAnswer::Reading(transfer, object) => Some((transfer, object)),
            _ => None,
        })?;
        let transfer = Transfer::new(self.caller, transfer);
        let size_bytes = end.min(object.size).saturating_sub(start);
        Ok(self.table.push(IncomingValue { transfer, size_bytes })?)
    }

    async fn write(
        &mut self,
        container: Resource<Container>,
        key: String,
        value: Resource<OutgoingValue>,
    ) -> Result<(), BlobError> {
        let bucket = self.bucket(&container)?;
        let upload = self.table.get(&value)?.upload.clone();
        if upload.has_begun() {
            return Err("an object was named for this value already: make another for another object".into());
        }
        let put = GuestCall::Put { bucket, key, content_type: None, metadata: BTreeMap::new() };
        let answer = self.ask(put).await?;
        let transfer = expect(answer, |answer| match answer {
            GuestAnswer::Writing(transfer) => Some(transfer),
            _ => None,
        })?;
        upload.begin(Transfer::new(self.caller, transfer));
        Ok(())
    }

    async fn delete(
        &mut self,
        container: Resource<Container>,
        mut keys: Vec<String>,
    ) -> Result<(), BlobError> {
        let bucket = self.bucket(&container)?;
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(DELETED_MAX));
            self.ask(GuestCall::Delete { bucket: bucket.clone(), keys }).await?;
            keys = rest;
        }
        Ok(())
    }

    async fn empty(&mut self, container: Resource<Container>) -> Result<(), BlobError> {
        let bucket = self.bucket(&container)?;
        self.ask(GuestCall::Clear(bucket)).await?;
        Ok(())
    }

    /// The next names, `count` at most and no more than fit into one answer, and whether they were the last.
    async fn next_names(
        &mut self,
        names: Resource<ObjectNames>,
        count: u64,
    ) -> Result<(Vec<String>, bool), BlobError> {
        let ObjectNames { bucket, after, is_end } = self.table.get(&names)?;
        let limit = u32::try_from(count).unwrap_or(LIST_MAX).min(LIST_MAX);
        if *is_end || limit == 0 {
            return Ok((Vec::new(), *is_end));
        }
        let list =
            GuestCall::List { bucket: bucket.clone(), prefix: String::new(), after: after.clone(), limit };
        let answer = self.ask(list).await?;
        let (objects, next) = expect(answer, |answer| match answer {
            GuestAnswer::Listed(objects, next) => Some((objects, next)),
            _ => None,
        })?;
        let is_end = next.is_none();
        let read = self.table.get_mut(&names)?;
        (read.after, read.is_end) = (next, is_end);
        Ok((objects.into_iter().map(|object| object.key).collect(), is_end))
    }
}

fn object(answer: GuestAnswer) -> Result<GuestObject, &'static str> {
    expect(answer, |answer| match answer {
        GuestAnswer::Object(object) => Some(object),
        _ => None,
    })
}

impl Host for View<'_> {}

impl HostContainer for View<'_> {
    fn name(&mut self, container: Resource<Container>) -> BlobResult<String> {
        Ok(Ok(self.table.get(&container)?.name.to_string()))
    }

    fn info(&mut self, container: Resource<Container>) -> BlobResult<ContainerMetadata> {
        let Container { name, created_at_ms } = self.table.get(&container)?;
        Ok(Ok(ContainerMetadata { name: name.to_string(), created_at: seconds(*created_at_ms) }))
    }

    async fn get_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        start: u64,
        end: u64,
    ) -> BlobResult<Resource<IncomingValue>> {
        told(self.read(container, name, (start, end)).await)
    }

    async fn write_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        data: Resource<OutgoingValue>,
    ) -> BlobResult<()> {
        told(self.write(container, name, data).await)
    }

    fn list_objects(&mut self, container: Resource<Container>) -> BlobResult<Resource<ObjectNames>> {
        let bucket = self.table.get(&container)?.name.clone();
        let names = ObjectNames { bucket, after: None, is_end: false };
        told(self.table.push(names).map_err(Into::into))
    }

    async fn delete_object(&mut self, container: Resource<Container>, name: String) -> BlobResult<()> {
        told(self.delete(container, vec![name]).await)
    }

    async fn delete_objects(&mut self, container: Resource<Container>, names: Vec<String>) -> BlobResult<()> {
        told(self.delete(container, names).await)
    }

    async fn has_object(&mut self, container: Resource<Container>, name: String) -> BlobResult<bool> {
        told(self.has(container, name).await)
    }

    async fn object_info(
        &mut self,
        container: Resource<Container>,
        name: String,
    ) -> BlobResult<ObjectMetadata> {
        told(self.info_of(container, name).await)
    }

    async fn clear(&mut self, container: Resource<Container>) -> BlobResult<()> {
        told(self.empty(container).await)
    }

    fn drop(&mut self, container: Resource<Container>) -> wasmtime::Result<()> {
        self.table.delete(container)?;
        Ok(())
    }
}

impl HostStreamObjectNames for View<'_> {
    async fn read_stream_object_names(
        &mut self,
        names: Resource<ObjectNames>,
        len: u64,
    ) -> BlobResult<(Vec<String>, bool)> {
        told(self.next_names(names, len).await)
    }

    async fn skip_stream_object_names(
        &mut self,
        names: Resource<ObjectNames>,
        num: u64,
    ) -> BlobResult<(u64, bool)> {
        told(self.next_names(names, num).await.map(|(names, is_end)| (names.len() as u64, is_end)))
    }

    fn drop(&mut self, names: Resource<ObjectNames>) -> wasmtime::Result<()> {
        self.table.delete(names)?;
        Ok(())
    }
}
