//! Bytes in JSON: as text where they are UTF-8, else in base64 (RFC 4648, section 4, with padding), in a field of its own.
//!
//! Who writes may use either; who reads is shown text wherever it can be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Why what is said is no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// Both are said.
    #[error("{text} and {text}_base64 are both given: give one of them")]
    Twice {
        /// The field of the text.
        text: &'static str,
    },
    /// Neither is.
    #[error("{text} is missing: give it, or {text}_base64 for bytes that are no text")]
    Missing {
        /// The field of the text.
        text: &'static str,
    },
    /// It is no base64.
    #[error("{text}_base64 is no base64 with its padding, like aGVsbG8=")]
    NoBase64 {
        /// The field of the text.
        text: &'static str,
    },
}

/// The bytes that are said in the fields `name` and `name_base64`, if any are.
pub(crate) fn read(
    name: &'static str,
    text: Option<&str>,
    base64: Option<&str>,
) -> Result<Option<Bytes>, InvalidPayload> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(InvalidPayload::Twice { text: name }),
        (Some(text), None) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64).map_err(|_| InvalidPayload::NoBase64 { text: name })?;
            Ok(Some(bytes.into()))
        }
        (None, None) => Ok(None),
    }
}

/// The two fields that say these bytes: text, or base64.
pub(crate) fn said(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_again() {
        for bytes in [&b""[..], b"hello", "é\0".as_bytes(), &[0xff, 0, 1], &[0xc3]] {
            let (text, base64) = said(bytes);
            assert_eq!(text.is_some(), std::str::from_utf8(bytes).is_ok());
            let read = read("body", text.as_deref(), base64.as_deref()).unwrap();
            assert_eq!(read.as_deref(), Some(bytes));
        }
        assert_eq!(read("body", None, Some("aGVsbG8=")).unwrap().as_deref(), Some(&b"hello"[..]));
        assert_eq!(read("body", None, None), Ok(None));
    }

    #[test]
    fn what_is_no_bytes_is_refused() {
        assert_eq!(read("body", Some("a"), Some("aA==")), Err(InvalidPayload::Twice { text: "body" }));
        for bad in ["aGVsbG8", "a", "%%%%", "aGVs bG8="] {
            let refused = Err(InvalidPayload::NoBase64 { text: "body" });
            assert_eq!(read("body", None, Some(bad)), refused, "{bad} was taken");
        }
    }
}
