//! Whether a body is as long as its head has promised: pure.
//!
//! On a connection, bytes too few or too many break the framing of HTTP, and who reads learns of it. A call in process has no
//! framing, so the bytes are counted here (RFC 9110, section 8.6; RFC 9112, section 6.3).

/// What a body has still to have, if anything was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length {
    left_bytes: Option<u64>,
}

impl Length {
    pub(crate) fn new(promised_bytes: Option<u64>) -> Self {
        Self { left_bytes: promised_bytes }
    }

    /// Takes note of bytes that came; false if that is more than was promised.
    pub(crate) fn note(&mut self, bytes: u64) -> bool {
        let Some(left_bytes) = &mut self.left_bytes else { return true };
        match left_bytes.checked_sub(bytes) {
            Some(left) => {
                *left_bytes = left;
                true
            }
            None => false,
        }
    }

    /// Whether a body that ends here is what was promised.
    pub(crate) fn is_kept(self) -> bool {
        self.left_bytes.is_none_or(|left_bytes| left_bytes == 0)
    }

    /// Whether a body that will have exactly so many bytes, if that is known, can be what was promised.
    pub(crate) fn allows(self, exact_bytes: Option<u64>) -> bool {
        match (self.left_bytes, exact_bytes) {
            (Some(promised), Some(exact)) => promised == exact,
            (None, _) | (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_as_many_bytes_as_were_promised() {
        let mut length = Length::new(Some(5));
        assert!(length.note(2) && !length.is_kept());
        assert!(length.note(0) && length.note(3) && length.is_kept());
        assert!(!length.note(1));
        assert!(Length::new(Some(0)).is_kept());
    }

    #[test]
    fn where_nothing_was_promised_anything_is_right() {
        let mut length = Length::new(None);
        assert!(length.is_kept() && length.note(u64::MAX) && length.note(u64::MAX) && length.is_kept());
        assert!(length.allows(None) && length.allows(Some(7)));
    }

    #[test]
    fn what_is_known_to_be_otherwise_is_not_begun() {
        let length = Length::new(Some(5));
        assert!(length.allows(Some(5)) && length.allows(None));
        assert!(!length.allows(Some(4)) && !length.allows(Some(6)));
    }
}
