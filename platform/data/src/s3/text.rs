//! The two codes that S3 writes keys and digests in: percent-encoding and base64.

/// A part of a query, decoded as forms are: `+` is a space, and `%` with two hexadecimal digits is a byte. What is no such code
/// stands for itself. None if it comes to no UTF-8.
pub(super) fn form_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(hex_byte);
        decoded.push(match (code, byte) {
            (Some(code), _) => code,
            (None, b'+') => b' ',
            (None, byte) => byte,
        });
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).ok()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok()?;
    Some(byte[0])
}

/// A key as `encoding-type=url` has it: all but letters, digits and `-_.~/` as `%XX`.
pub(super) fn url_encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

/// `N` bytes in base64 (RFC 4648, section 4), with its padding.
pub(super) fn base64_decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.trim_end_matches('=').as_bytes();
    // So many digits there are to so many bytes, and as many characters with the padding.
    if digits.len() != (N * 8).div_ceil(6) || text.len() != N.div_ceil(3) * 4 {
        return None;
    }
    let mut decoded = [0; N];
    let (mut bits, mut pending, mut at) = (0_u32, 0_u32, 0);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        pending = (pending << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            decoded[at] = (pending >> bits) as u8;
            pending &= (1 << bits) - 1;
            at += 1;
        }
    }
    (pending == 0).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries_are_decoded_once() {
        for (text, decoded) in [
            ("", ""),
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("%252e", "%2e"),
            ("%zz%", "%zz%"),
            ("%2", "%2"),
            ("%E2%9C%93", "✓"),
        ] {
            assert_eq!(form_decoded(text).as_deref(), Some(decoded), "{text}");
        }
        assert_eq!(form_decoded("%FF"), None);
    }

    #[test]
    fn base64_has_one_form_for_each_value() {
        assert_eq!(base64_decoded::<4>("AAECAw=="), Some([0, 1, 2, 3]));
        assert_eq!(base64_decoded::<3>("////"), Some([255; 3]));
        for bad in ["AAECAw", "AAECAw=", "AAECAx==", "AAECAw==AA==", "AAEC\n===", "", "========"] {
            assert_eq!(base64_decoded::<4>(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_itself(text in any::<String>()) {
            let encoded = url_encoded(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(form_decoded(&encoded), Some(text));
        }
    }
}
