//! What [`crate::tables`] imports: the world `skiff:tables/imports` of `sdk/wit`, for both WASI generations. A component that never
//! calls it imports nothing of it.
//!
//! Written by hand as [`super::snapshot`] is, and for the same reason; a test holds the world's encoding against the contract.

#![allow(unsafe_code, reason = "a function of the host is a foreign one")]

use super::abi::{MaybeNumber, MaybeSlice, Slice, milliseconds};
use crate::tables::{Error, Expect, Item, Page, Write};
use std::mem::MaybeUninit;

/// The world, as `wasm-component-ld` reads it from a section of the module. It has to be in one file with who calls the import.
#[allow(dead_code, reason = "it is there for its section")]
#[unsafe(link_section = "component-type:skiff:tables@0.1.0:imports:encoded world")]
static WORLD: [u8; include_bytes!("tables.world").len()] = *include_bytes!("tables.world");

#[link(wasm_import_module = "skiff:tables/table@0.1.0")]
unsafe extern "C" {
    #[link_name = "get"]
    fn import_get(
        table: *const u8,
        table_bytes: usize,
        keys: *const u8,
        key_count: usize,
        result: *mut TableResult<Slice>,
    );

    #[link_name = "write"]
    fn import_write(
        table: *const u8,
        table_bytes: usize,
        writes: *const u8,
        write_count: usize,
        result: *mut TableResult<Slice>,
    );

    #[link_name = "increment"]
    fn import_increment(
        table: *const u8,
        table_bytes: usize,
        key: *const u8,
        key_bytes: usize,
        delta: i64,
        result: *mut TableResult<i64>,
    );

    #[link_name = "scan"]
    fn import_scan(
        table: *const u8,
        table_bytes: usize,
        prefix: *const u8,
        prefix_bytes: usize,
        has_after: i32,
        after: *const u8,
        after_bytes: usize,
        limit: u32,
        result: *mut TableResult<PageLeft>,
    );
}

#[repr(C)]
#[derive(Clone, Copy)]
struct TableResult<T: Copy> {
    failed: u8,
    payload: TablePayload<T>,
}

#[repr(C)]
#[derive(Clone, Copy)]
union TablePayload<T: Copy> {
    ok: T,
    error: TableError,
}

/// An `error`. The largest of its cases is `conflict`, and the others have its first field alone.
#[repr(C)]
#[derive(Clone, Copy)]
struct TableError {
    case: u8,
    payload: Conflicting,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Conflicting {
    message: Slice,
    version: MaybeNumber,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ItemLeft {
    value: Slice,
    version: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MaybeItem {
    is_some: u8,
    item: ItemLeft,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct KeyAndItem {
    key: Slice,
    item: ItemLeft,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PageLeft {
    items: Slice,
    next: MaybeSlice,
}

/// A `write-item`.
#[repr(C)]
struct WriteGiven {
    key: Slice,
    value: MaybeSlice,
    expires_in_ms: MaybeNumber,
    expect: u8,
    version: u64,
}

impl ItemLeft {
    /// # Safety
    /// The host left it there, and nobody else takes it.
    unsafe fn take(self) -> Item {
        // SAFETY: as this function's caller says.
        Item { value: unsafe { self.value.take() }, version: self.version }
    }
}

impl<T: Copy> TableResult<T> {
    /// Has the host leave a result, and takes it apart.
    ///
    /// # Safety
    /// `call` has the host write a result whose success lies as `T`, for which all zeros are a value.
    unsafe fn of(call: impl FnOnce(*mut Self)) -> Result<T, Error> {
        let mut result = MaybeUninit::<Self>::zeroed();
        call(result.as_mut_ptr());
        // SAFETY: as this function's caller says; each case has a string, and `conflict` a version besides.
        unsafe {
            let Self { failed, payload } = result.assume_init();
            if failed == 0 {
                return Ok(payload.ok);
            }
            let TableError { case, payload: Conflicting { message, version } } = payload.error;
            let message = message.take_text();
            Err(match case {
                0 => Error::Denied(message),
                1 => Error::NoSuch(message),
                2 => Error::Conflict { message, version: version.get() },
                3 => Error::Busy(message),
                4 => Error::Invalid(message),
                _ => Error::Failed(message),
            })
        }
    }
}

/// Calls the host.
#[inline(never)]
pub(crate) fn table_get(table: &str, keys: &[&str]) -> Result<Vec<Option<Item>>, Error> {
    let keys: Vec<Slice> = keys.iter().map(|key| Slice::text(key)).collect();
    let (table, keys) = (Slice::text(table), Slice::list(&keys));
    // SAFETY: the host reads what lives until it returns, and leaves a list of options, as the interface in `sdk/wit` says.
    unsafe {
        let left = TableResult::<Slice>::of(|result| {
            import_get(table.start(), table.count(), keys.start(), keys.count(), result);
        })?;
        let items: Vec<MaybeItem> = left.take();
        Ok(items.into_iter().map(|left| (left.is_some != 0).then(|| left.item.take())).collect())
    }
}

/// Calls the host.
#[inline(never)]
pub(crate) fn table_write(table: &str, writes: &[Write]) -> Result<Vec<u64>, Error> {
    let given = |write: &Write| {
        let (expect, version) = match write.expect {
            Expect::Any => (0, 0),
            Expect::Absent => (1, 0),
            Expect::Present => (2, 0),
            Expect::Version(version) => (3, version),
        };
        WriteGiven {
            key: Slice::text(&write.key),
            value: MaybeSlice::bytes(write.value.as_deref()),
            expires_in_ms: MaybeNumber::of(write.expires_in.map(milliseconds)),
            expect,
            version,
        }
    };
    let given: Vec<WriteGiven> = writes.iter().map(given).collect();
    let (table, given) = (Slice::text(table), Slice::list(&given));
    // SAFETY: the host reads what lives until it returns, and leaves a list of numbers, as the interface in `sdk/wit` says.
    unsafe {
        let left = TableResult::<Slice>::of(|result| {
            import_write(table.start(), table.count(), given.start(), given.count(), result);
        })?;
        Ok(left.take())
    }
}

/// Calls the host.
#[inline(never)]
pub(crate) fn table_increment(table: &str, key: &str, delta: i64) -> Result<i64, Error> {
    let (table, key) = (Slice::text(table), Slice::text(key));
    // SAFETY: the host reads what lives until it returns, and leaves a number, as the interface in `sdk/wit` says.
    unsafe {
        TableResult::<i64>::of(|result| {
            import_increment(table.start(), table.count(), key.start(), key.count(), delta, result);
        })
    }
}

/// Calls the host.
#[inline(never)]
pub(crate) fn table_scan(table: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
    let (table, prefix) = (Slice::text(table), Slice::text(prefix));
    let (has_after, after, after_bytes) = MaybeSlice::text(after).flat();
    // SAFETY: the host reads what lives until it returns, and leaves a page, as the interface in `sdk/wit` says.
    unsafe {
        let PageLeft { items, next } = TableResult::<PageLeft>::of(|result| {
            import_scan(
                table.start(),
                table.count(),
                prefix.start(),
                prefix.count(),
                has_after,
                after,
                after_bytes,
                limit,
                result,
            );
        })?;
        let items: Vec<KeyAndItem> = items.take();
        let items = items.into_iter().map(|left| (left.key.take_text(), left.item.take())).collect();
        Ok(Page { items, next: next.take_text() })
    }
}
