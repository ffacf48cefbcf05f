//! What is wrong with a request as its bytes stand: every reason, each a sentence for people that goes on after "the
//! request is malformed:".

/// Why a request was not let through: mostly, since two programs could take it for two different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// LF as a line's end, without CR.
    #[error("a line of it ends in LF without CR before it")]
    BareLf,
    /// CR inside of a line.
    #[error("it has a CR that no LF follows")]
    BareCr,
    /// A line that begins with white space (RFC 9112, section 5.2).
    #[error("a header of it goes on in a second line")]
    Folding,
    /// NUL or another control character.
    #[error("it has a NUL or another control character in it")]
    Control,
    /// Other white space in the request line than two single spaces, or a part of it that is not there.
    #[error("its first line is not a method, a target and a version, with single spaces between them")]
    RequestLine,
    /// A method that is not a token.
    #[error("its method is not a token")]
    Method,
    /// A target that is not UTF-8.
    #[error("its target is not text")]
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("its version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// A line without a colon where a header belongs.
    #[error("a header of it has no colon")]
    NoColon,
    /// A header's name that is not a token.
    #[error("the name of a header of it is not a token")]
    HeaderName,
    /// White space between a header's name and the colon.
    #[error("a header of it has a space before its colon")]
    SpaceBeforeColon,
    /// More than one header `Host`.
    #[error("it has more than one Host header")]
    Hosts,
    /// No header `Host` in HTTP/1.1.
    #[error("it has no Host header")]
    NoHost,
    /// More than one header `Content-Length`, be they the same.
    #[error("it has more than one Content-Length header")]
    Lengths,
    /// A `Content-Length` that is not digits alone, or too many of them.
    #[error("its Content-Length is not one number")]
    Length,
    /// A `Transfer-Encoding` that is not `chunked`, or said twice.
    #[error("its Transfer-Encoding is not chunked, said once")]
    Encoding,
    /// A `Transfer-Encoding` in HTTP/1.0, which knows none.
    #[error("it has a Transfer-Encoding, which HTTP/1.0 does not know")]
    EncodingInHttp10,
    /// Both at once.
    #[error("it has both a Content-Length and a Transfer-Encoding")]
    LengthAndEncoding,
    /// A chunk's size that is not hexadecimal digits alone, or too many of them.
    #[error("the size of a chunk of its body is not a number")]
    ChunkSize,
    /// What stands after the sizes of chunks, of one body, is too long.
    #[error("the chunks of its body have extensions of more than {limit_bytes} bytes")]
    ChunkExtensions {
        /// The bound.
        limit_bytes: usize,
    },
    /// A chunk without the CR LF that ends it.
    #[error("a chunk of its body does not end where its size says")]
    ChunkEnd,
    /// A trailer that says how long the request is, whose it is, or how it is to be passed on.
    #[error("it has a trailer that may only be a header")]
    Trailer,
    /// A head, or the trailers, with all their bytes.
    #[error("its headers are larger than {limit_bytes} bytes")]
    TooLarge {
        /// The bound.
        limit_bytes: usize,
    },
}
