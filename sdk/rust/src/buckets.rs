//! Buckets: objects, as `wasi:blobstore` reaches them.
//!
//! ```
//! # fn main() -> Result<(), skiff_sdk::buckets::Error> {
//! use skiff_sdk::buckets::Bucket;
//!
//! let bucket = Bucket::open("uploads")?;
//! bucket.write("notes/1.txt", b"hello")?;
//! assert_eq!(bucket.read("notes/1.txt")?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! An object that is read or written whole has to fit into the task's memory; [`Bucket::reader`] and [`Bucket::writer`] stream.
//! Outside of a component, as in unit tests, every bucket is there, empty at first, and kept in memory, for each thread by itself.

use crate::runtime::{Container, ObjectReader, ObjectWriter};
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

/// A bucket of the task's namespace.
#[derive(Debug)]
pub struct Bucket(Container);

/// Why a bucket did not do it, for people: there is no such bucket or object, or the task's role does not allow it, and then with
/// the grant that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Bucket {
    /// The bucket of this name.
    pub fn open(name: &str) -> Result<Self, Error> {
        Container::open(name).map(Self)
    }

    /// A whole object.
    pub fn read(&self, key: &str) -> Result<Vec<u8>, Error> {
        read_all(self.reader(key)?)
    }

    /// These bytes of an object, as far as it has them.
    pub fn read_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>, Error> {
        // `wasi:blobstore` means by its end the last byte.
        match range.end.checked_sub(1) {
            Some(last) if range.start <= last => read_all(Reader(self.0.read(key, range.start, last)?)),
            Some(_) | None => Ok(Vec::new()),
        }
    }

    /// An object as it is now, as a stream.
    pub fn reader(&self, key: &str) -> Result<Reader, Error> {
        // What lies behind an object's end counts as its end.
        self.0.read(key, 0, u64::MAX - 1).map(Reader)
    }

    /// Writes a whole object, in the place of one that is there.
    pub fn write(&self, key: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut writer = self.writer(key)?;
        writer.write_all(bytes).map_err(|error| Error(error.to_string()))?;
        writer.finish()
    }

    /// Begins to write an object: it is there once [`Writer::finish`] has returned, and otherwise never.
    pub fn writer(&self, key: &str) -> Result<Writer, Error> {
        self.0.write(key).map(Writer)
    }

    /// How many bytes an object has.
    pub fn size(&self, key: &str) -> Result<u64, Error> {
        self.0.size(key)
    }

    /// Whether there is such an object.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        self.0.exists(key)
    }

    /// Deletes an object, if it is there.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.delete(key)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        self.0.keys()
    }
}

fn read_all(mut reader: Reader) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|error| Error(error.to_string()))?;
    Ok(bytes)
}

/// An object that is read.
#[derive(Debug)]
pub struct Reader(ObjectReader);

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// An object that is written.
#[derive(Debug)]
pub struct Writer(ObjectWriter);

impl Writer {
    /// That was all: from now on the object is there.
    pub fn finish(self) -> Result<(), Error> {
        self.0.finish()
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_there_once_it_is_finished() {
        let bucket = Bucket::open("finished").unwrap();
        let mut writer = bucket.writer("a").unwrap();
        writer.write_all(b"hel").unwrap();
        assert!(!bucket.exists("a").unwrap());
        writer.write_all(b"lo").unwrap();
        writer.finish().unwrap();
        assert_eq!((bucket.read("a").unwrap().as_slice(), bucket.size("a").unwrap()), (&b"hello"[..], 5));
        drop(bucket.writer("b").unwrap());
        assert_eq!(bucket.keys().unwrap(), ["a"]);
        bucket.delete("a").unwrap();
        assert!(bucket.read("a").unwrap_err().to_string().contains("\"a\""));
    }

    #[test]
    fn ranges_have_their_end_outside() {
        let bucket = Bucket::open("ranges").unwrap();
        bucket.write("a", b"0123456789").unwrap();
        for (range, expected) in [(0..3, "012"), (8..100, "89"), (3..3, ""), (0..0, "")] {
            assert_eq!(bucket.read_range("a", range.clone()).unwrap(), expected.as_bytes(), "{range:?}");
        }
    }
}
