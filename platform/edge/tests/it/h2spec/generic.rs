//! h2spec's suite `generic`: what is sound is taken.

use super::*;

/// A stream's first PRIORITY: it depends upon none, with the largest weight.
const FREE: [u8; 5] = [0, 0, 0, 0, 255];

#[test]
fn section_1_starting_http2() {
    let begin = [PREFACE.to_vec(), settings(&[(INITIAL_WINDOW_SIZE, WINDOW_BYTES)])];
    check(
        "generic/1",
        [case("Sends a client connection preface")
            .since_the_start()
            .sends(begin)
            .expects(Expected::FirstSettings)],
    );
}

#[test]
fn section_2_streams_and_multiplexing() {
    let no_window = || settings(&[(INITIAL_WINDOW_SIZE, 0)]);
    check(
        "generic/2",
        [
            case("Sends a PRIORITY frame on idle stream")
                .sends([priority(1, FREE), ping(ZEROS)])
                .expects(Expected::Pong(ZEROS)),
            case("Sends a WINDOW_UPDATE frame on half-closed (remote) stream")
                .sends([no_window(), get(1), window_update(1, 1)])
                .expects(Expected::Data),
            case("Sends a PRIORITY frame on half-closed (remote) stream")
                .sends([no_window(), get(1), priority(1, FREE), window_update(1, 1)])
                .expects(Expected::Data),
            case("Sends a RST_STREAM frame on half-closed (remote) stream")
                .sends([get(1), reset(1, CANCEL), ping(ZEROS)])
                .expects(Expected::PongOrEnd(ZEROS)),
            case("Sends a PRIORITY frame on closed stream")
                .sends([get(1)])
                .expects(Expected::StreamEnd)
                .sends([priority(1, FREE), ping(ZEROS)])
                .expects(Expected::Pong(ZEROS)),
        ],
    );
}

#[test]
fn section_3_1_data() {
    let padded = [&[5][..], b"test", &[0; 5]].concat();
    check(
        "generic/3.1",
        [
            case("Sends a DATA frame")
                .sends([headers(0, 1, &POST), test_data(END_STREAM, 1)])
                .expects(Expected::Answer),
            case("Sends multiple DATA frames")
                .sends([headers(0, 1, &POST), test_data(0, 1), test_data(END_STREAM, 1)])
                .expects(Expected::Answer),
            case("Sends a DATA frame with padding")
                .sends([headers(0, 1, &POST), frame(DATA, PADDED | END_STREAM, 1, &padded)])
                .expects(Expected::Answer),
        ],
    );
}

#[test]
fn section_3_2_headers() {
    let padded = [vec![8], block(&GET), vec![0; 8]].concat();
    let with_priority = [FREE.to_vec(), block(&GET)].concat();
    check(
        "generic/3.2",
        [
            case("Sends a HEADERS frame").sends([get(1)]).expects(Expected::Answer),
            case("Sends a HEADERS frame with padding")
                .sends([frame(HEADERS, PADDED | WHOLE, 1, &padded)])
                .expects(Expected::Answer),
            case("Sends a HEADERS frame with priority")
                .sends([frame(HEADERS, WITH_PRIORITY | WHOLE, 1, &with_priority)])
                .expects(Expected::Answer),
        ],
    );
}

#[test]
fn section_3_3_priority() {
    /// Says that a stream has no other that depends upon the same (RFC 7540, section 5.3.1).
    const EXCLUSIVE: u32 = 1 << 31;
    let title = "Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a lower stream ID";
    let before = |title, priority| case(title).sends([priority, get(1)]).expects(Expected::Answer);
    check(
        "generic/3.3",
        [
            before("Sends a PRIORITY frame with priority 1", priority(1, depends_on(0, 0))),
            before("Sends a PRIORITY frame with priority 256", priority(1, FREE)),
            before("Sends a PRIORITY frame with stream dependency", priority(3, depends_on(1, 0))),
            before("Sends a PRIORITY frame with exclusive", priority(1, depends_on(EXCLUSIVE, 0))),
            before(title, priority(3, FREE)),
        ],
    );
}

#[test]
fn section_3_4_rst_stream() {
    check(
        "generic/3.4",
        [case("Sends a RST_STREAM frame")
            .sends([headers(0, 1, &GET), reset(1, CANCEL), ping(ZEROS)])
            .expects(Expected::PongOrEnd(ZEROS))],
    );
}

#[test]
fn section_3_5_settings() {
    let all = settings(&[
        (HEADER_TABLE_SIZE, 4_096),
        (ENABLE_PUSH, 1),
        (MAX_CONCURRENT_STREAMS, 100),
        (INITIAL_WINDOW_SIZE, WINDOW_BYTES),
        (MAX_FRAME_SIZE, FRAME_BYTES_MAX),
        (MAX_HEADER_LIST_SIZE, 100),
    ]);
    check("generic/3.5", [case("Sends a SETTINGS frame").sends([all]).expects(Expected::SettingsAck)]);
}

#[test]
fn section_3_7_ping() {
    check("generic/3.7", [case("Sends a PING frame").sends([ping(NAME)]).expects(Expected::Pong(NAME))]);
}

#[test]
fn section_3_8_goaway() {
    check(
        "generic/3.8",
        [case("Sends a GOAWAY frame")
            .sends([go_away(NO_ERROR, "h2spec"), ping(NAME)])
            .expects(Expected::PongOrEnd(NAME))],
    );
}

#[test]
fn section_3_9_window_update() {
    check(
        "generic/3.9",
        [
            case("Sends a WINDOW_UPDATE frame with stream ID 0")
                .sends([window_update(0, 1), ping(ZEROS)])
                .expects(Expected::Pong(ZEROS)),
            case("Sends a WINDOW_UPDATE frame with stream ID 1")
                .sends([get(1), window_update(1, 1)])
                .expects(Expected::Answer),
        ],
    );
}

#[test]
fn section_3_10_continuation() {
    let block = block(&GET);
    let begin = || frame(HEADERS, END_STREAM, 1, &block[..5]);
    let rest = |from: usize| frame(CONTINUATION, END_HEADERS, 1, &block[from..]);
    check(
        "generic/3.10",
        [
            case("Sends a CONTINUATION frame").sends([begin(), rest(5)]).expects(Expected::Answer),
            case("Sends multiple CONTINUATION frames")
                .sends([begin(), frame(CONTINUATION, 0, 1, &block[5..10]), rest(10)])
                .expects(Expected::Answer),
        ],
    );
}

#[test]
fn section_4_http_message_exchanges() {
    let with_trailers = headers(0, 1, POST.iter().chain(&[("trailer", "x-test")]));
    check(
        "generic/4",
        [
            case("Sends a GET request").sends([get(1)]).expects(Expected::Answer),
            case("Sends a HEAD request")
                .sends([headers(END_STREAM, 1, &common("HEAD"))])
                .expects(Expected::Answer),
            case("Sends a POST request")
                .sends([headers(0, 1, &POST), test_data(END_STREAM, 1)])
                .expects(Expected::Answer),
            case("Sends a POST request with trailers")
                .sends([with_trailers, test_data(0, 1), headers(END_STREAM, 1, &[("x-test", "ok")])])
                .expects(Expected::Answer),
        ],
    );
}

/// The bytes are h2spec's own, though some have not what their titles say.
#[test]
fn section_5_hpack() {
    let after: [(&str, &[u8]); 13] = [
        ("Sends a indexed header field representation", b"\xba"),
        (
            "Sends a literal header field with incremental indexing - indexed name",
            b"\x40\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4",
        ),
        (
            "Sends a literal header field with incremental indexing - indexed name (with Huffman coding)",
            b"\x40\x0auser-agent\x06h2spec",
        ),
        ("Sends a literal header field with incremental indexing - new name", b"\x40\x06x-test\x06h2spec"),
        (
            "Sends a literal header field with incremental indexing - new name (with Huffman coding)",
            b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
        ),
        ("Sends a literal header field without indexing - indexed name", b"\x00\x0auser-agent\x06h2spec"),
        (
            "Sends a literal header field without indexing - indexed name (with Huffman coding)",
            b"\x00\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4",
        ),
        ("Sends a literal header field without indexing - new name", b"\x00\x06x-test\x06h2spec"),
        (
            "Sends a literal header field without indexing - new name (huffman encoded)",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
        ),
        ("Sends a literal header field never indexed - indexed name", b"\x10\x0auser-agent\x06h2spec"),
        (
            "Sends a literal header field never indexed - indexed name (huffman encoded)",
            b"\x10\x87\xb5\x05\xb1\x61\xcc\x5a\x93\x84\x9c\x48\xac\xa4",
        ),
        (
            "Sends a literal header field never indexed - new name",
            b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
        ),
        (
            "Sends a literal header field never indexed - new name (huffman encoded)",
            b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4",
        ),
    ];
    let before: [(&str, &[u8]); 2] = [
        ("Sends a dynamic table size update", b"\x3f\x61"),
        ("Sends multiple dynamic table size update", b"\x3f\x61\x3f\xe1\x1f"),
    ];
    let request = block(&GET);
    let after = after.map(|(title, bytes)| (title, [&request[..], bytes].concat()));
    let before = before.map(|(title, bytes)| (title, [bytes, &request[..]].concat()));
    let cases = after.into_iter().chain(before).map(|(title, block)| {
        case(title).sends([frame(HEADERS, WHOLE, 1, &block)]).expects(Expected::Answer)
    });
    check("generic/5", cases);
}
