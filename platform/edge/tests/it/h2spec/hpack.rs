//! h2spec's suite `hpack`: headers that do not decode end the connection.

use super::*;

/// The whole of a request's headers, which end the connection since they do not decode.
fn fails(title: &'static str, block: &[u8]) -> Case {
    let sent = case(title).sends([frame(HEADERS, WHOLE, 1, block)]);
    sent.expects(Expected::ConnectionError(&[COMPRESSION_ERROR]))
}

/// The same of a sound request with this behind it.
fn fails_after(title: &'static str, bytes: &[u8]) -> Case {
    fails(title, &[&block(&GET)[..], bytes].concat())
}

#[test]
fn section_2_3_3_index_address_space() {
    check(
        "hpack/2.3.3",
        [
            fails_after("Sends a indexed header field representation with invalid index", b"\xc6"),
            fails_after("Sends a literal header field representation with invalid index", b"\x7f\x07\x00"),
        ],
    );
}

#[test]
fn section_4_2_maximum_table_size() {
    check(
        "hpack/4.2",
        [fails_after("Sends a dynamic table size update at the end of header block", b"\x21")],
    );
}

#[test]
fn section_5_2_string_literal_representation() {
    check(
        "hpack/5.2",
        [
            fails_after(
                "Sends a Huffman-encoded string literal representation with padding longer than 7 bits",
                b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",
            ),
            fails_after(
                "Sends a Huffman-encoded string literal representation padded by zero",
                b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90",
            ),
            fails_after(
                "Sends a Huffman-encoded string literal representation containing the EOS symbol",
                b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f",
            ),
        ],
    );
}

#[test]
fn section_6_1_indexed_header_field_representation() {
    check("hpack/6.1", [fails_after("Sends a indexed header field representation with index 0", b"\x80")]);
}

#[test]
fn section_6_3_dynamic_table_size_update() {
    /// What tells a dynamic table size update, which has the other five bits of its first byte.
    const SIZE_UPDATE: u8 = 0x20;
    let larger = integer(SIZE_UPDATE, 5, TABLE_BYTES_MAX as usize + 1);
    check(
        "hpack/6.3",
        [fails(
            "Sends a dynamic table size update larger than the value of SETTINGS_HEADER_TABLE_SIZE",
            &[larger, block(&GET)].concat(),
        )],
    );
}
