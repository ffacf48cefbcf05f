//! A connection of which the first byte was looked at: it comes first to whoever reads.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, whole again.
pub(super) struct First<S> {
    /// Until it is read.
    byte: Option<u8>,
    stream: S,
}

impl<S> First<S> {
    /// One that this byte was read from.
    pub(super) fn put_back(byte: u8, stream: S) -> Self {
        Self { byte: Some(byte), stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for First<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(byte) = self.byte.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

skiff_kit::write_through!([S: AsyncWrite + Unpin] First<S>, stream);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn the_first_byte_comes_first_and_once() {
        let mut whole = First::put_back(b'a', &b"bc"[..]);
        assert_eq!(whole.read(&mut []).await.unwrap(), 0);
        let mut text = String::new();
        whole.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abc");
    }
}
