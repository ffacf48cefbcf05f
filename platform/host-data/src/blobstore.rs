//! `wasi:blobstore/blobstore`: a container is a bucket of the task's namespace.

use crate::bindings::blobstore::Host;
use crate::bindings::types::ObjectId;
use crate::container::Container;
use crate::{View, expect};
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError};
use skiff_types::Name;
use wasmtime::component::{Resource, ResourceTableError};

/// Why a call fails.
#[derive(Debug)]
pub(crate) enum BlobError {
    /// The guest is told this.
    Told(String),
    /// It broke the contract of resources, and ends.
    Trap(wasmtime::Error),
}

/// What a call of `wasi:blobstore` comes to: an error in it is the guest's to know, one outside ends the guest.
pub(crate) type BlobResult<T> = wasmtime::Result<Result<T, String>>;

/// As the bindings have it.
pub(crate) fn told<T>(result: Result<T, BlobError>) -> BlobResult<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(BlobError::Told(text)) => Ok(Err(text)),
        Err(BlobError::Trap(error)) => Err(error),
    }
}

impl From<GuestCallError> for BlobError {
    fn from(error: GuestCallError) -> Self {
        Self::Told(error.to_string())
    }
}

impl From<&str> for BlobError {
    fn from(text: &str) -> Self {
        Self::Told(text.to_owned())
    }
}

impl From<ResourceTableError> for BlobError {
    fn from(error: ResourceTableError) -> Self {
        match error {
            ResourceTableError::Full => "the sandbox has as many handles as it may: drop some".into(),
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => Self::Trap(error.into()),
        }
    }
}

/// What a guest calls a bucket, if any could be called so.
fn named(container: &str) -> Result<Name, BlobError> {
    let name = container.parse::<Name>();
    name.map_err(|error| BlobError::Told(format!("there is no such bucket: {error}")))
}

impl View<'_> {
    /// A handle to a bucket that there is.
    async fn container(
        &mut self,
        name: String,
        call: impl FnOnce(Name) -> GuestCall + Send,
    ) -> Result<Resource<Container>, BlobError> {
        let name = named(&name)?;
        let answer = self.ask(call(name.clone())).await?;
        let created_at_ms = expect(answer, |answer| match answer {
            GuestAnswer::Container(created_at_ms) => Some(created_at_ms),
            _ => None,
        })?;
        Ok(self.table.push(Container { name, created_at_ms })?)
    }

    async fn copy(&mut self, from: ObjectId, to: ObjectId, moves: bool) -> Result<(), BlobError> {
        let from = (named(&from.container)?, from.object);
        let to = (named(&to.container)?, to.object);
        self.ask(GuestCall::Copy { from, to, moves }).await?;
        Ok(())
    }

    async fn remove(&mut self, name: String) -> Result<(), BlobError> {
        let name = named(&name)?;
        self.ask(GuestCall::RemoveBucket(name)).await?;
        Ok(())
    }

    async fn exists(&mut self, name: String) -> Result<bool, BlobError> {
        let Ok(name) = named(&name) else { return Ok(false) };
        match self.ask(GuestCall::Bucket(name)).await {
            Ok(_) => Ok(true),
            Err(GuestCallError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Host for View<'_> {
    async fn create_container(&mut self, name: String) -> BlobResult<Resource<Container>> {
        told(self.container(name, GuestCall::CreateBucket).await)
    }

    async fn get_container(&mut self, name: String) -> BlobResult<Resource<Container>> {
        told(self.container(name, GuestCall::Bucket).await)
    }

    async fn delete_container(&mut self, name: String) -> BlobResult<()> {
        told(self.remove(name).await)
    }

    async fn container_exists(&mut self, name: String) -> BlobResult<bool> {
        told(self.exists(name).await)
    }

    async fn copy_object(&mut self, src: ObjectId, dest: ObjectId) -> BlobResult<()> {
        told(self.copy(src, dest, false).await)
    }

    async fn move_object(&mut self, src: ObjectId, dest: ObjectId) -> BlobResult<()> {
        told(self.copy(src, dest, true).await)
    }
}
