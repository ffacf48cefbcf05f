//! What [`crate::buckets`] imports: `wasi:blobstore@0.2.0-draft`, by the world of that package in `sdk/wit`, for both WASI
//! generations. A component that never calls it imports nothing of it.
//!
//! Written by hand as [`super::snapshot`] is, and for the same reason; a test holds the world's encoding against the contract. The
//! streams are those of `wasip2`.

#![allow(unsafe_code, reason = "a function of the host is a foreign one")]

use super::abi::Slice;
use crate::buckets::Error;
use std::io;
use std::mem::MaybeUninit;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// The world, as `wasm-component-ld` reads it from a section of the module. It has to be in one file with who calls the imports.
#[allow(dead_code, reason = "it is there for its section")]
#[unsafe(link_section = "component-type:wasi:blobstore@0.2.0-draft:imports:encoded world")]
static WORLD: [u8; include_bytes!("buckets.world").len()] = *include_bytes!("buckets.world");

/// Keys that are asked for at a time.
const KEYS_AT_ONCE: u64 = 1_000;
/// The most bytes that are asked for at a time.
const READ_BYTES: u64 = 64 << 10;

#[link(wasm_import_module = "wasi:blobstore/blobstore@0.2.0-draft")]
unsafe extern "C" {
    #[link_name = "get-container"]
    fn get_container(name: *const u8, name_bytes: usize, result: *mut BlobResult<u32>);
}

#[link(wasm_import_module = "wasi:blobstore/container@0.2.0-draft")]
unsafe extern "C" {
    #[link_name = "[resource-drop]container"]
    fn drop_container(container: u32);

    #[link_name = "[resource-drop]stream-object-names"]
    fn drop_names(names: u32);

    #[link_name = "[method]container.get-data"]
    fn get_data(
        container: u32,
        name: *const u8,
        name_bytes: usize,
        start: u64,
        end: u64,
        result: *mut BlobResult<u32>,
    );

    #[link_name = "[method]container.write-data"]
    fn write_data(
        container: u32,
        name: *const u8,
        name_bytes: usize,
        value: u32,
        result: *mut BlobResult<u32>,
    );

    #[link_name = "[method]container.list-objects"]
    fn list_objects(container: u32, result: *mut BlobResult<u32>);

    #[link_name = "[method]container.delete-object"]
    fn delete_object(container: u32, name: *const u8, name_bytes: usize, result: *mut BlobResult<u32>);

    #[link_name = "[method]container.has-object"]
    fn has_object(container: u32, name: *const u8, name_bytes: usize, result: *mut BlobResult<u8>);

    #[link_name = "[method]container.object-info"]
    fn object_info(container: u32, name: *const u8, name_bytes: usize, result: *mut BlobResult<InfoLeft>);

    #[link_name = "[method]stream-object-names.read-stream-object-names"]
    fn read_names(names: u32, count: u64, result: *mut BlobResult<NamesLeft>);
}

#[link(wasm_import_module = "wasi:blobstore/types@0.2.0-draft")]
unsafe extern "C" {
    #[link_name = "[resource-drop]incoming-value"]
    fn drop_incoming(value: u32);

    #[link_name = "[resource-drop]outgoing-value"]
    fn drop_outgoing(value: u32);

    #[link_name = "[static]outgoing-value.new-outgoing-value"]
    fn new_outgoing_value() -> u32;

    #[link_name = "[method]outgoing-value.outgoing-value-write-body"]
    fn write_body(value: u32, result: *mut Stream);

    #[link_name = "[static]outgoing-value.finish"]
    fn finish(value: u32, result: *mut BlobResult<u32>);

    #[link_name = "[static]incoming-value.incoming-value-consume-async"]
    fn consume_async(value: u32, result: *mut BlobResult<u32>);
}

/// A result whose error is a string.
#[repr(C)]
#[derive(Clone, Copy)]
struct BlobResult<T: Copy> {
    failed: u8,
    payload: BlobPayload<T>,
}

#[repr(C)]
#[derive(Clone, Copy)]
union BlobPayload<T: Copy> {
    ok: T,
    error: Slice,
}

/// `object-metadata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct InfoLeft {
    name: Slice,
    container: Slice,
    created_at: u64,
    size: u64,
}

/// Names, and whether they were the last.
#[repr(C)]
#[derive(Clone, Copy)]
struct NamesLeft {
    names: Slice,
    is_end: u8,
}

/// A result without an error's text.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stream {
    failed: u8,
    handle: u32,
}

impl<T: Copy> BlobResult<T> {
    /// Has the host leave a result, and takes it apart.
    ///
    /// # Safety
    /// `call` has the host write a result whose success lies as `T`, for which all zeros are a value, or has nothing.
    unsafe fn of(call: impl FnOnce(*mut Self)) -> Result<T, Error> {
        let mut result = MaybeUninit::<Self>::zeroed();
        call(result.as_mut_ptr());
        // SAFETY: as this function's caller says.
        unsafe {
            let Self { failed, payload } = result.assume_init();
            match failed {
                0 => Ok(payload.ok),
                _ => Err(Error(payload.error.take_text())),
            }
        }
    }
}

/// A handle, and how it is given back.
#[derive(Debug)]
struct Handle {
    number: u32,
    give_back: unsafe extern "C" fn(u32),
}

impl Handle {
    /// The handle without its end: whoever has it then is to give it back.
    fn into_number(self) -> u32 {
        std::mem::ManuallyDrop::new(self).number
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is this one's own, and of the type that the function is for.
        unsafe { (self.give_back)(self.number) }
    }
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Container(Handle);

impl Container {
    #[inline(never)]
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let name = Slice::text(name);
        // SAFETY: the host reads a name that lives until it returns, and leaves a handle, as the interface in `sdk/wit` says. So it
        // is with all that follow.
        let number = unsafe { BlobResult::of(|result| get_container(name.start(), name.count(), result)) }?;
        Ok(Self(Handle { number, give_back: drop_container }))
    }

    pub(crate) fn read(&self, key: &str, start: u64, last: u64) -> Result<ObjectReader, Error> {
        let (container, key) = (self.0.number, Slice::text(key));
        // SAFETY: see `open`; the value is consumed once.
        let stream = unsafe {
            let value = BlobResult::of(|result| {
                get_data(container, key.start(), key.count(), start, last, result);
            })?;
            let value = Handle { number: value, give_back: drop_incoming };
            let stream = BlobResult::of(|result| consume_async(value.into_number(), result))?;
            InputStream::from_handle(stream)
        };
        Ok(ObjectReader { stream, waiting: Vec::new(), taken: 0, is_end: false })
    }

    pub(crate) fn write(&self, key: &str) -> Result<ObjectWriter, Error> {
        let (container, key) = (self.0.number, Slice::text(key));
        // SAFETY: see `open`; the stream is taken once, and gone before its value.
        unsafe {
            let value = Handle { number: new_outgoing_value(), give_back: drop_outgoing };
            let mut stream = MaybeUninit::<Stream>::zeroed();
            write_body(value.number, stream.as_mut_ptr());
            let Stream { failed, handle } = stream.assume_init();
            if failed != 0 {
                return Err(Error("the platform gives no stream to write the object to".to_owned()));
            }
            let stream = OutputStream::from_handle(handle);
            BlobResult::<u32>::of(|result| {
                write_data(container, key.start(), key.count(), value.number, result);
            })?;
            Ok(ObjectWriter { stream, value })
        }
    }

    pub(crate) fn size(&self, key: &str) -> Result<u64, Error> {
        let (container, key) = (self.0.number, Slice::text(key));
        // SAFETY: see `open`; the names that it says are taken over, to be freed.
        unsafe {
            let info: InfoLeft =
                BlobResult::of(|result| object_info(container, key.start(), key.count(), result))?;
            drop((info.name.take_text(), info.container.take_text()));
            Ok(info.size)
        }
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, Error> {
        let (container, key) = (self.0.number, Slice::text(key));
        // SAFETY: see `open`.
        let exists: u8 =
            unsafe { BlobResult::of(|result| has_object(container, key.start(), key.count(), result)) }?;
        Ok(exists != 0)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Error> {
        let (container, key) = (self.0.number, Slice::text(key));
        // SAFETY: see `open`.
        unsafe { BlobResult::<u32>::of(|result| delete_object(container, key.start(), key.count(), result)) }
            .map(drop)
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        // SAFETY: see `open`.
        unsafe {
            let names = BlobResult::of(|result| list_objects(self.0.number, result))?;
            let names = Handle { number: names, give_back: drop_names };
            loop {
                let left: NamesLeft =
                    BlobResult::of(|result| read_names(names.number, KEYS_AT_ONCE, result))?;
                let more: Vec<Slice> = left.names.take();
                keys.extend(more.into_iter().map(|name| name.take_text()));
                if left.is_end != 0 {
                    return Ok(keys);
                }
            }
        }
    }
}

/// An object that is read.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    stream: InputStream,
    /// What came and was not asked for yet.
    waiting: Vec<u8>,
    taken: usize,
    is_end: bool,
}

impl ObjectReader {
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.waiting.len() {
            if self.is_end || buffer.is_empty() {
                return Ok(0);
            }
            self.taken = 0;
            self.waiting.clear();
            match self.stream.blocking_read(READ_BYTES) {
                Ok(bytes) => self.waiting = bytes,
                Err(StreamError::Closed) => self.is_end = true,
                Err(StreamError::LastOperationFailed(error)) => return Err(broken(&error)),
            }
        }
        let count = buffer.len().min(self.waiting.len() - self.taken);
        buffer[..count].copy_from_slice(&self.waiting[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

/// An object that is written. The stream is gone before the value that it belongs to.
#[derive(Debug)]
pub(crate) struct ObjectWriter {
    stream: OutputStream,
    value: Handle,
}

impl ObjectWriter {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let permitted = match self.stream.check_write() {
                Ok(permitted) => usize::try_from(permitted).unwrap_or(usize::MAX),
                Err(error) => return Err(not_taken(error)),
            };
            if permitted == 0 && !bytes.is_empty() {
                self.stream.subscribe().block();
                continue;
            }
            let count = permitted.min(bytes.len());
            self.stream.write(&bytes[..count]).map_err(not_taken)?;
            return Ok(count);
        }
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self { stream, value } = self;
        stream.blocking_flush().map_err(|error| Error(not_taken(error).to_string()))?;
        drop(stream);
        // SAFETY: see `Container::open`; the value is the host's from here on.
        unsafe { BlobResult::<u32>::of(|result| finish(value.into_number(), result)) }.map(drop)
    }
}

fn not_taken(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::Error::other("the platform takes no more of the object"),
        StreamError::LastOperationFailed(error) => broken(&error),
    }
}

fn broken(error: &wasip2::io::error::Error) -> io::Error {
    // The first line says it; a host may go on with a backtrace of its own.
    io::Error::other(error.to_debug_string().lines().next().unwrap_or("unknown").to_owned())
}
