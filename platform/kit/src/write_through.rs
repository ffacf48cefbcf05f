//! Writing through: how a type with a stream inside passes on what is written to it, unchanged.
//!
//! It deliberately is a macro and no type: whoever wraps a stream does something of its own where it is read, and is more than a
//! stream to others.

/// Implements tokio's `AsyncWrite` for a type, by the field that is named: in brackets what the type is generic over, then the type
/// and the field. Both are to be `Unpin`.
///
/// ```
/// struct Counted<S> {
///     stream: S,
/// }
///
/// skiff_kit::write_through!([S: tokio::io::AsyncWrite + Unpin] Counted<S>, stream);
/// ```
#[macro_export]
macro_rules! write_through {
    ([$($generics:tt)*] $type:ty, $field:ident) => {
        impl<$($generics)*> ::tokio::io::AsyncWrite for $type {
            fn poll_write(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
                bytes: &[u8],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                ::tokio::io::AsyncWrite::poll_write(::std::pin::Pin::new(&mut self.$field), context, bytes)
            }

            fn poll_write_vectored(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
                parts: &[::std::io::IoSlice<'_>],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                ::tokio::io::AsyncWrite::poll_write_vectored(
                    ::std::pin::Pin::new(&mut self.$field),
                    context,
                    parts,
                )
            }

            fn is_write_vectored(&self) -> bool {
                ::tokio::io::AsyncWrite::is_write_vectored(&self.$field)
            }

            fn poll_flush(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                ::tokio::io::AsyncWrite::poll_flush(::std::pin::Pin::new(&mut self.$field), context)
            }

            fn poll_shutdown(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                ::tokio::io::AsyncWrite::poll_shutdown(::std::pin::Pin::new(&mut self.$field), context)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream};

    struct Plain {
        stream: BufWriter<DuplexStream>,
    }

    struct Around<S> {
        stream: S,
    }

    crate::write_through!([] Plain, stream);
    crate::write_through!([S: AsyncWrite + Unpin] Around<S>, stream);

    #[tokio::test]
    async fn what_is_written_flushed_and_shut_down_is_so_inside() {
        let (near, mut far) = tokio::io::duplex(64);
        // It keeps what it is given until it is flushed.
        let mut outer = Around { stream: Plain { stream: BufWriter::new(near) } };
        assert_eq!(outer.is_write_vectored(), outer.stream.stream.is_write_vectored());
        assert_eq!(outer.write(b"a").await.unwrap(), 1);
        assert_eq!(outer.write_vectored(&[IoSlice::new(b"b"), IoSlice::new(b"c")]).await.unwrap(), 2);
        assert_eq!(outer.stream.stream.buffer(), b"abc");
        outer.flush().await.unwrap();
        assert_eq!(outer.stream.stream.buffer(), b"");
        outer.shutdown().await.unwrap();
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "abc", "it ends though nobody was dropped");
    }
}
