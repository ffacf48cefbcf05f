//! h2spec's suite `http2`, the sections but for the sixth: what RFC 7540 forbids ends a stream or the connection.

mod frame_definitions;

use super::*;

/// An extension's frame of eight bytes, of a kind that nobody has defined.
fn unknown() -> Vec<u8> {
    frame(0x16, 0, 0, &ZEROS)
}

/// A request's HEADERS that CONTINUATION has to follow.
fn begun(flags: u8, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, 1, &block(headers))
}

/// CONTINUATION with one dummy header.
fn continued(flags: u8, stream: u32) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, &dummies(1))
}

/// A case that ends the connection with one of these codes.
fn fails<const N: usize>(title: &'static str, codes: &'static [u32], frames: [Vec<u8>; N]) -> Case {
    case(title).sends(frames).expects(Expected::ConnectionError(codes))
}

/// A case that ends its stream, or the connection, with one of these codes.
fn fails_stream<const N: usize>(title: &'static str, codes: &'static [u32], frames: [Vec<u8>; N]) -> Case {
    case(title).sends(frames).expects(Expected::StreamError(codes))
}

#[test]
fn section_3_5_http2_connection_preface() {
    let begin = [PREFACE.to_vec(), settings(&[(INITIAL_WINDOW_SIZE, WINDOW_BYTES)])];
    let invalid = b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec();
    check(
        "http2/3.5",
        [
            case("Sends client connection preface")
                .since_the_start()
                .sends(begin)
                .expects(Expected::FirstSettings),
            fails("Sends invalid connection preface", &[PROTOCOL_ERROR], [invalid]).since_the_start(),
        ],
    );
}

#[test]
fn section_4_1_frame_format() {
    /// Flags that PING does not know.
    const UNDEFINED: u8 = 0x16;
    /// The bit before a stream's number, which means nothing.
    const RESERVED: u32 = 1 << 31;
    check(
        "http2/4.1",
        [
            case("Sends a frame with unknown type")
                .sends([unknown(), ping(ZEROS)])
                .expects(Expected::Pong(ZEROS)),
            case("Sends a frame with undefined flag")
                .sends([frame(PING, UNDEFINED, 0, &ZEROS)])
                .expects(Expected::Ping),
            case("Sends a frame with reserved field bit")
                .sends([frame(PING, UNDEFINED, RESERVED, &ZEROS)])
                .expects(Expected::Ping),
        ],
    );
}

#[test]
fn section_4_2_frame_size() {
    let largest = vec![b'x'; FRAME_BYTES_MAX as usize];
    let larger = vec![b'x'; FRAME_BYTES_MAX as usize + 1];
    let headers_of_all = [block(&GET), dummies(5)].concat();
    check(
        "http2/4.2",
        [
            case("Sends a DATA frame with 2^14 octets in length")
                .sends([headers(0, 1, &POST), frame(DATA, END_STREAM, 1, &largest)])
                .expects(Expected::Answer),
            fails_stream(
                "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
                &[FRAME_SIZE_ERROR],
                [headers(0, 1, &POST), frame(DATA, END_STREAM, 1, &larger)],
            ),
            fails(
                "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
                &[FRAME_SIZE_ERROR],
                [frame(HEADERS, WHOLE, 1, &headers_of_all)],
            ),
        ],
    );
}

#[test]
fn section_4_3_header_compression_and_decompression() {
    check(
        "http2/4.3",
        [
            fails(
                "Sends invalid header block fragment",
                &[COMPRESSION_ERROR],
                // A literal that ends before its name.
                [frame(HEADERS, WHOLE, 1, &[0x40])],
            ),
            fails(
                "Sends a PRIORITY frame while sending the header blocks",
                &[PROTOCOL_ERROR],
                [begun(0, &GET), priority(1, depends_on(0, 255)), continued(END_HEADERS, 1)],
            ),
            fails(
                "Sends a HEADERS frame to another stream while sending the header blocks",
                &[PROTOCOL_ERROR],
                [begun(0, &GET), get(3), continued(END_HEADERS, 1)],
            ),
        ],
    );
}

#[test]
fn section_5_1_stream_states() {
    check("http2/5.1", idle().into_iter().chain(half_closed()).chain(closed()));
}

fn idle() -> [Case; 4] {
    let continuation = frame(CONTINUATION, END_HEADERS, 1, &block(&GET));
    [
        fails_stream(
            "idle: Sends a DATA frame",
            &[PROTOCOL_ERROR, STREAM_CLOSED],
            [test_data(END_STREAM, 1)],
        ),
        fails("idle: Sends a RST_STREAM frame", &[PROTOCOL_ERROR], [reset(1, CANCEL)]),
        fails("idle: Sends a WINDOW_UPDATE frame", &[PROTOCOL_ERROR], [window_update(1, 100)]),
        fails("idle: Sends a CONTINUATION frame", &[PROTOCOL_ERROR], [continuation]),
    ]
}

fn half_closed() -> [Case; 3] {
    let continuation = frame(CONTINUATION, END_HEADERS, 1, &block(&GET));
    [
        fails_stream(
            "half closed (remote): Sends a DATA frame",
            &[STREAM_CLOSED],
            [get(1), test_data(END_STREAM, 1)],
        ),
        fails_stream("half closed (remote): Sends a HEADERS frame", &[STREAM_CLOSED], [get(1), get(1)]),
        fails_stream(
            "half closed (remote): Sends a CONTINUATION frame",
            &[STREAM_CLOSED, PROTOCOL_ERROR],
            [get(1), continuation],
        ),
    ]
}

fn closed() -> [Case; 6] {
    let answered = |title| case(title).sends([get(1)]).expects(Expected::StreamEnd);
    let given_up = |title, codes: &'static [u32], last| {
        fails_stream(title, codes, [headers(0, 1, &GET), reset(1, CANCEL), last])
    };
    [
        given_up(
            "closed: Sends a DATA frame after sending RST_STREAM frame",
            &[STREAM_CLOSED],
            test_data(END_STREAM, 1),
        ),
        given_up("closed: Sends a HEADERS frame after sending RST_STREAM frame", &[STREAM_CLOSED], get(1)),
        given_up(
            "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
            &[STREAM_CLOSED, PROTOCOL_ERROR],
            continued(END_HEADERS, 1),
        ),
        answered("closed: Sends a DATA frame")
            .sends([test_data(END_STREAM, 1)])
            .expects(Expected::StreamError(&[STREAM_CLOSED])),
        answered("closed: Sends a HEADERS frame")
            .sends([get(1)])
            .expects(Expected::ConnectionError(&[STREAM_CLOSED])),
        answered("closed: Sends a CONTINUATION frame")
            .sends([continued(END_HEADERS, 1)])
            .expects(Expected::ConnectionError(&[STREAM_CLOSED, PROTOCOL_ERROR])),
    ]
}

#[test]
fn section_5_1_1_stream_identifiers() {
    check(
        "http2/5.1.1",
        [
            fails("Sends even-numbered stream identifier", &[PROTOCOL_ERROR], [get(2)]),
            fails(
                "Sends stream identifier that is numerically smaller than previous",
                &[PROTOCOL_ERROR],
                [get(5), get(3)],
            ),
        ],
    );
}

#[test]
fn section_5_1_2_stream_concurrency() {
    let title = "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded";
    // Without a window no answer ends.
    let no_window = settings(&[(INITIAL_WINDOW_SIZE, 0)]);
    let streams = (0..=STREAMS_MAX).map(|number| get(2 * number + 1));
    let sent = case(title).sends(std::iter::once(no_window).chain(streams));
    check("http2/5.1.2", [sent.expects(Expected::StreamError(&[PROTOCOL_ERROR, REFUSED_STREAM]))]);
}

#[test]
fn section_5_3_1_stream_dependencies() {
    let on_itself = [depends_on(1, 255).to_vec(), block(&GET)].concat();
    check(
        "http2/5.3.1",
        [
            fails_stream(
                "Sends HEADERS frame that depends on itself",
                &[PROTOCOL_ERROR],
                [frame(HEADERS, WITH_PRIORITY | WHOLE, 1, &on_itself)],
            ),
            fails_stream(
                "Sends PRIORITY frame that depend on itself",
                &[PROTOCOL_ERROR],
                [priority(1, depends_on(1, 255))],
            ),
        ],
    );
}

#[test]
fn section_5_4_1_connection_error_handling() {
    let invalid = || frame(PING, 0, 3, &ZEROS);
    check(
        "http2/5.4.1",
        [
            case("Sends an invalid PING frame for connection close")
                .sends([invalid()])
                .expects(Expected::End),
            case("Sends an invalid PING frame to receive GOAWAY frame")
                .sends([invalid()])
                .expects(Expected::GoAway(None)),
        ],
    );
}

#[test]
fn section_5_5_extending_http2() {
    check(
        "http2/5.5",
        [
            case("Sends an unknown extension frame")
                .sends([unknown(), ping(ZEROS)])
                .expects(Expected::Pong(ZEROS)),
            fails(
                "Sends an unknown extension frame in the middle of a header block",
                &[PROTOCOL_ERROR],
                [begun(END_STREAM, &GET), unknown()],
            ),
        ],
    );
}

#[test]
fn section_7_error_codes() {
    const UNKNOWN: u32 = 0xff;
    check(
        "http2/7",
        [
            case("Sends a GOAWAY frame with unknown error code")
                .sends([go_away(UNKNOWN, ""), ping(NAME)])
                .expects(Expected::PongOrEnd(NAME)),
            case("Sends a RST_STREAM frame with unknown error code")
                .sends([headers(0, 1, &POST), reset(1, UNKNOWN), ping(ZEROS)])
                .expects(Expected::PongOrEnd(ZEROS)),
        ],
    );
}

#[test]
fn section_8_1_http_request_response_exchange() {
    check(
        "http2/8.1",
        [fails_stream(
            "Sends a second HEADERS frame without the END_STREAM flag",
            &[PROTOCOL_ERROR],
            [headers(0, 1, &POST), test_data(0, 1), headers(0, 1, &[("x-test", "ok")])],
        )],
    );
}

/// A request that is malformed: these headers are all of it.
fn malformed<'a>(title: &'static str, all: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Case {
    fails_stream(title, &[PROTOCOL_ERROR], [headers(END_STREAM, 1, all)])
}

#[test]
fn section_8_1_2_http_header_fields() {
    let title = "Sends a HEADERS frame that contains the header field name in uppercase letters";
    check("http2/8.1.2", [malformed(title, GET.iter().chain(&[("X-TEST", "ok")]))]);
}

#[test]
fn section_8_1_2_1_pseudo_header_fields() {
    let after_a_regular_one = "Sends a HEADERS frame that contains a pseudo-header field that appears in a \
                               header block after a regular header field";
    check(
        "http2/8.1.2.1",
        [
            malformed(
                "Sends a HEADERS frame that contains a unknown pseudo-header field",
                GET.iter().chain(&[(":test", "ok")]),
            ),
            malformed(
                "Sends a HEADERS frame that contains the pseudo-header field defined for response",
                GET.iter().chain(&[(":status", "200")]),
            ),
            fails_stream(
                "Sends a HEADERS frame that contains a pseudo-header field as trailers",
                &[PROTOCOL_ERROR],
                [headers(0, 1, &POST), test_data(0, 1), headers(0, 1, &[(":method", "POST")])],
            ),
            malformed(after_a_regular_one, [("x-test", "ok")].iter().chain(&GET)),
        ],
    );
}

#[test]
fn section_8_1_2_2_connection_specific_header_fields() {
    let te = "Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"";
    check(
        "http2/8.1.2.2",
        [
            malformed(
                "Sends a HEADERS frame that contains the connection-specific header field",
                GET.iter().chain(&[("connection", "keep-alive")]),
            ),
            malformed(te, GET.iter().chain(&[("trailers", "test"), ("te", "trailers, deflate")])),
        ],
    );
}

#[test]
fn section_8_1_2_3_request_pseudo_header_fields() {
    let [method, scheme, path, authority] = GET;
    check(
        "http2/8.1.2.3",
        [
            malformed(
                "Sends a HEADERS frame with empty \":path\" pseudo-header field",
                &[method, scheme, (":path", ""), authority],
            ),
            // It omits `:scheme` as well, as h2spec does.
            malformed("Sends a HEADERS frame that omits \":method\" pseudo-header field", &[path, authority]),
            malformed(
                "Sends a HEADERS frame that omits \":scheme\" pseudo-header field",
                &[method, path, authority],
            ),
            malformed(
                "Sends a HEADERS frame that omits \":path\" pseudo-header field",
                &[method, scheme, authority],
            ),
            malformed(
                "Sends a HEADERS frame with duplicated \":method\" pseudo-header field",
                &[method, scheme, path, authority, method],
            ),
            malformed(
                "Sends a HEADERS frame with duplicated \":scheme\" pseudo-header field",
                &[method, scheme, path, authority, scheme],
            ),
            malformed(
                "Sends a HEADERS frame with duplicated \":path\" pseudo-header field",
                &[method, scheme, path, authority, path],
            ),
        ],
    );
}

#[test]
fn section_8_1_2_6_malformed_requests_and_responses() {
    let of_one_byte = || headers(0, 1, POST.iter().chain(&[("content-length", "1")]));
    let of_one_frame = "Sends a HEADERS frame with the \"content-length\" header field which does not equal \
                        the DATA frame payload length";
    let of_many_frames = "Sends a HEADERS frame with the \"content-length\" header field which does not \
                          equal the sum of the multiple DATA frames payload length";
    check(
        "http2/8.1.2.6",
        [
            fails_stream(of_one_frame, &[PROTOCOL_ERROR], [of_one_byte(), test_data(END_STREAM, 1)]),
            fails_stream(
                of_many_frames,
                &[PROTOCOL_ERROR],
                [of_one_byte(), test_data(0, 1), test_data(END_STREAM, 1)],
            ),
        ],
    );
}

#[test]
fn section_8_2_server_push() {
    // The stream that is promised.
    let promised = [3_u32.to_be_bytes().to_vec(), block(&GET)].concat();
    check(
        "http2/8.2",
        [fails(
            "Sends a PUSH_PROMISE frame",
            &[PROTOCOL_ERROR],
            [frame(PUSH_PROMISE, END_HEADERS, 1, &promised)],
        )],
    );
}
