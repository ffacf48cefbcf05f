//! `wasi:blobstore/types`: an object's bytes on their way in and out, as values.

use crate::View;
use crate::bindings::types::{Host, HostIncomingValue, HostOutgoingValue};
use crate::blobstore::{BlobResult, told};
use crate::reader::{Reader, read_all};
use crate::transfer::Transfer;
use crate::writer::Upload;
use wasmtime::component::Resource;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

/// Bytes for an object.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct OutgoingValue {
    pub(crate) upload: Upload,
    /// Whether its stream was given out.
    is_taken: bool,
}

/// Bytes of an object as it was when they were asked for.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct IncomingValue {
    pub(crate) transfer: Transfer,
    pub(crate) size_bytes: u64,
}

impl Host for View<'_> {}

impl HostOutgoingValue for View<'_> {
    fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<OutgoingValue>> {
        // It can't say that there is no room for another handle, so that ends the guest.
        Ok(self.table.push(OutgoingValue { upload: Upload::new(), is_taken: false })?)
    }

    fn outgoing_value_write_body(
        &mut self,
        value: Resource<OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let OutgoingValue { upload, is_taken } = self.table.get_mut(&value)?;
        if *is_taken {
            return Ok(Err(()));
        }
        *is_taken = true;
        let stream: DynOutputStream = Box::new(upload.stream());
        Ok(self.table.push_child(stream, &value).map_err(drop))
    }

    async fn finish(&mut self, value: Resource<OutgoingValue>) -> BlobResult<()> {
        // As long as its stream is there, that ends the guest: the interface says so.
        let OutgoingValue { upload, .. } = self.table.delete(value)?;
        Ok(upload.finish().await)
    }

    fn drop(&mut self, value: Resource<OutgoingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl HostIncomingValue for View<'_> {
    async fn incoming_value_consume_sync(&mut self, value: Resource<IncomingValue>) -> BlobResult<Vec<u8>> {
        let IncomingValue { transfer, size_bytes } = self.table.delete(value)?;
        let memory = self.caller.guest().limits().memory;
        if size_bytes > memory.bytes() {
            return Ok(Err(format!(
                "the value has {size_bytes} bytes, more than the task's memory of {memory}: read it as a stream"
            )));
        }
        Ok(read_all(transfer, size_bytes).await)
    }

    fn incoming_value_consume_async(
        &mut self,
        value: Resource<IncomingValue>,
    ) -> BlobResult<Resource<DynInputStream>> {
        let IncomingValue { transfer, .. } = self.table.delete(value)?;
        let stream: DynInputStream = Box::new(Reader::new(transfer));
        told(self.table.push(stream).map_err(Into::into))
    }

    fn size(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&value)?.size_bytes)
    }

    fn drop(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}
