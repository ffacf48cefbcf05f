//! Takes bytes in as they come: counts and hashes them, and stores them away, in small buffers.
//!
//! A write holds two buffers of its backend at most, one that fills and one that is being stored. How long bytes may take to come is
//! bounded by whoever passes them on. What always holds: bytes that did not come whole, or are not what they were said to be, leave
//! nothing.

use crate::buckets::blobs::{self, NewBlob};
use crate::buckets::objects::NewPlace;
use crate::buckets::{Core, SMALL_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::try_join;
use md5::{Digest, Md5};
use object_store::{MultipartUpload, PutPayload};
use sha2::Sha256;
use skiff_ports::buckets::{BucketError, Checks, ObjectBytes, PUT_BYTES_MAX};
use std::io;
use tokio_util::sync::CancellationToken;

/// Bytes that a buffer has from the beginning, if so many are said to come: what is only said is not to cost more.
const BUFFER_BYTES_FIRST: usize = 64 << 10;

/// Bytes that came whole and are safe, but that no row names yet.
pub(crate) struct Taken {
    pub(crate) bytes: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) stored: Stored,
}

/// Where bytes are until their row is written.
pub(crate) enum Stored {
    /// In memory, to lie in the database.
    Small(Bytes),
    /// In a blob, on the drive.
    Blob(NewBlob),
}

impl Stored {
    /// What is to be written of it.
    pub(crate) fn place(&self) -> NewPlace {
        match self {
            Self::Small(bytes) => NewPlace::Small(bytes.clone()),
            Self::Blob(blob) => NewPlace::Blob(blob.name),
        }
    }
}

impl Core {
    /// Takes note of whether the row of some bytes was written: those without one are deleted.
    pub(crate) async fn settle<T>(
        &self,
        stored: Stored,
        written: Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        match (stored, &written) {
            (Stored::Small(_), _) | (Stored::Blob(_), Ok(_)) => {}
            // Nobody knows whether a commit that failed is on the drive; the next start sees.
            (Stored::Blob(blob), Err(BucketError::Storage(_))) => blob.leave(),
            (Stored::Blob(blob), Err(_)) => {
                let name = blob.name;
                self.blobs.discard(blob).await;
                self.forget_upload(name).await;
            }
        }
        written
    }

    /// Takes bytes in. `gone` ends the wait for more of them: whoever asked no longer waits.
    pub(crate) async fn take_in(
        &self,
        bytes: ObjectBytes,
        checks: Checks,
        gone: CancellationToken,
    ) -> Result<Taken, BucketError> {
        let mut source = Source::new(bytes, checks, gone)?;
        let buffer_bytes = self.blobs.buffer_bytes();
        let first = source.fill(buffer_bytes).await?;
        let stored = if first.len() < buffer_bytes {
            source.check()?;
            if first.len() <= SMALL_BYTES_MAX {
                Stored::Small(first)
            } else {
                let blob = self.blobs.begin();
                if let Err(error) = self.blobs.put(blob.name, first).await {
                    self.blobs.discard(blob).await;
                    return Err(error);
                }
                Stored::Blob(blob)
            }
        } else {
            Stored::Blob(self.store_in_parts(first, &mut source).await?)
        };
        Ok(Taken { bytes: source.bytes, md5: source.md5.finalize().into(), stored })
    }

    /// Stores what fills more than one buffer, while the next fills.
    async fn store_in_parts(&self, first: Bytes, source: &mut Source) -> Result<NewBlob, BucketError> {
        let blob = self.blobs.begin();
        let mut upload = self.begin_upload(blob.name).await?;
        match store_parts(upload.as_mut(), first, source, self.blobs.buffer_bytes()).await {
            Ok(()) => Ok(blob),
            Err(error) => {
                self.give_up(upload, blob).await;
                Err(error)
            }
        }
    }
}

async fn store_parts(
    upload: &mut dyn MultipartUpload,
    first: Bytes,
    source: &mut Source,
    buffer_bytes: usize,
) -> Result<(), BucketError> {
    let mut full = first;
    while !full.is_empty() {
        let part = upload.put_part(PutPayload::from(full));
        let stored = async { part.await.map_err(blobs::failed) };
        ((), full) = try_join(stored, source.fill(buffer_bytes)).await?;
    }
    source.check()?;
    upload.complete().await.map(drop).map_err(blobs::failed)
}

/// Bytes that come, and what they have come to so far.
struct Source {
    stream: ObjectBytes,
    /// What came and did not fit into the buffer.
    rest: Bytes,
    bytes: u64,
    md5: Md5,
    sha256: Option<Sha256>,
    checks: Checks,
    gone: CancellationToken,
}

impl Source {
    fn new(stream: ObjectBytes, checks: Checks, gone: CancellationToken) -> Result<Self, BucketError> {
        if checks.bytes.is_some_and(|bytes| bytes > PUT_BYTES_MAX) {
            return Err(BucketError::TooLarge);
        }
        let sha256 = checks.sha256.map(|_| Sha256::new());
        Ok(Self { stream, rest: Bytes::new(), bytes: 0, md5: Md5::new(), sha256, checks, gone })
    }

    /// The next bytes: so many, or fewer if there are no more.
    async fn fill(&mut self, wanted: usize) -> Result<Bytes, BucketError> {
        let expected = self.checks.bytes.map_or(0, |bytes| bytes.saturating_sub(self.bytes));
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let mut buffer = BytesMut::with_capacity(expected.min(wanted).min(BUFFER_BYTES_FIRST));
        buffer.extend_from_slice(&self.rest.split_to(self.rest.len().min(wanted)));
        while buffer.len() < wanted {
            let Some(mut chunk) = self.next().await? else { break };
            // What fills buffers by itself is let go only with them.
            let fitting = chunk.split_to(chunk.len().min(wanted - buffer.len()));
            buffer.extend_from_slice(&fitting);
            self.rest = chunk;
        }
        Ok(buffer.freeze())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BucketError> {
        let next = tokio::select! {
            biased;
            () = self.gone.cancelled() => {
                let error = io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for the answer any more");
                return Err(BucketError::Body(error));
            }
            next = self.stream.next() => next,
        };
        let Some(chunk) = next.transpose().map_err(BucketError::Body)? else { return Ok(None) };
        self.bytes += chunk.len() as u64;
        match self.checks.bytes {
            Some(said) if self.bytes > said => {
                return Err(BucketError::Checks("more bytes came than were said"));
            }
            _ if self.bytes > PUT_BYTES_MAX => return Err(BucketError::TooLarge),
            _ => {}
        }
        self.md5.update(&chunk);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&chunk);
        }
        Ok(Some(chunk))
    }

    /// Whether all that came, once nothing more comes, is what it was said to be.
    fn check(&self) -> Result<(), BucketError> {
        if self.gone.is_cancelled() {
            return Err(BucketError::Body(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.checks.bytes.is_some_and(|said| said != self.bytes) {
            return Err(BucketError::Checks("fewer bytes came than were said"));
        }
        if self.checks.md5.is_some_and(|said| said != <[u8; 16]>::from(self.md5.clone().finalize())) {
            return Err(BucketError::Checks("their MD5 is another"));
        }
        if let (Some(said), Some(sha256)) = (self.checks.sha256, &self.sha256)
            && said != <[u8; 32]>::from(sha256.clone().finalize())
        {
            return Err(BucketError::Checks("their SHA-256 is another"));
        }
        Ok(())
    }
}
