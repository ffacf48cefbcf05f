//! How strings, lists, options and errors lie in memory between a component and its host: the canonical ABI, as far as the
//! interfaces of the platform need it.
//!
//! What always holds: what is handed to the host lives until it returns; what it hands over was allocated by `cabi_realloc` for
//! one owner, and is taken by one.

#![allow(unsafe_code, reason = "what the host leaves in memory is read by its layout")]

use crate::service_error::ServiceError;

/// A string or a list.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    start: *const u8,
    count: usize,
}

impl Slice {
    pub(crate) fn text(text: &str) -> Self {
        Self::list(text.as_bytes())
    }

    pub(crate) fn list<T>(items: &[T]) -> Self {
        Self { start: items.as_ptr().cast(), count: items.len() }
    }

    /// What the host says lies there.
    pub(crate) fn raw(start: *const u8, count: usize) -> Self {
        Self { start, count }
    }

    pub(crate) fn start(self) -> *const u8 {
        self.start
    }

    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// Takes a list over.
    ///
    /// # Safety
    /// The host left a list of items there that lie as `T`, and nobody else takes it.
    pub(crate) unsafe fn take<T>(self) -> Vec<T> {
        if self.count == 0 {
            return Vec::new();
        }
        // SAFETY: as this function's caller says; the host allocates exactly what it hands over.
        unsafe { Vec::from_raw_parts(self.start.cast_mut().cast(), self.count, self.count) }
    }

    /// Takes a string over.
    ///
    /// # Safety
    /// The host left a string there, and nobody else takes it.
    pub(crate) unsafe fn take_text(self) -> String {
        // SAFETY: as this function's caller says.
        let bytes = unsafe { self.take() };
        // The host sends UTF-8; what is none would be its fault, and does no harm.
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// A string or a list, or none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MaybeSlice {
    is_some: u8,
    slice: Slice,
}

impl MaybeSlice {
    pub(crate) fn text(text: Option<&str>) -> Self {
        Self { is_some: text.is_some().into(), slice: Slice::text(text.unwrap_or_default()) }
    }

    pub(crate) fn bytes(bytes: Option<&[u8]>) -> Self {
        Self { is_some: bytes.is_some().into(), slice: Slice::list(bytes.unwrap_or_default()) }
    }

    /// As three arguments of a function.
    pub(crate) fn flat(self) -> (i32, *const u8, usize) {
        (self.is_some.into(), self.slice.start, self.slice.count)
    }

    /// Takes the string over, if there is one.
    ///
    /// # Safety
    /// As of [`Slice::take_text`].
    pub(crate) unsafe fn take_text(self) -> Option<String> {
        // SAFETY: as this function's caller says; only if there is one was anything left there.
        (self.is_some != 0).then(|| unsafe { self.slice.take_text() })
    }
}

/// A number, or none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MaybeNumber {
    is_some: u8,
    number: u64,
}

impl MaybeNumber {
    pub(crate) fn of(number: Option<u64>) -> Self {
        Self { is_some: number.is_some().into(), number: number.unwrap_or_default() }
    }

    pub(crate) fn get(self) -> Option<u64> {
        (self.is_some != 0).then_some(self.number)
    }
}

/// The `error` of `skiff:events/bus` and `skiff:queues/producer`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ErrorLeft {
    case: u8,
    text: Slice,
}

impl ErrorLeft {
    /// Takes it over.
    ///
    /// # Safety
    /// The host left an error there, and nobody else takes it.
    pub(crate) unsafe fn take(self) -> ServiceError {
        // SAFETY: as this function's caller says; each case has a string.
        let text = unsafe { self.text.take_text() };
        match self.case {
            0 => ServiceError::Denied(text),
            1 => ServiceError::NoSuch(text),
            2 => ServiceError::Busy(text),
            3 => ServiceError::Invalid(text),
            _ => ServiceError::Failed(text),
        }
    }
}

/// Milliseconds, rounded up: what is to last a moment lasts one.
pub(crate) fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
