//! h2spec's suite `http2`, the sixth section: each kind of frame where it may not be, or is not as it has to be.

use super::*;

/// The largest window that there may be.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// SETTINGS that say one thing.
fn setting(id: u16, value: u32) -> Vec<u8> {
    settings(&[(id, value)])
}

#[test]
fn section_6_1_data() {
    let title = "Sends a DATA frame on the stream that is not in \"open\" or \"half-closed (local)\" state";
    let of_four_bytes = headers(0, 1, POST.iter().chain(&[("content-length", "4")]));
    check(
        "http2/6.1",
        [
            fails(
                "Sends a DATA frame with 0x0 stream identifier",
                &[PROTOCOL_ERROR],
                [test_data(END_STREAM, 0)],
            ),
            fails_stream(title, &[STREAM_CLOSED], [headers(END_STREAM, 1, &POST), test_data(END_STREAM, 1)]),
            fails(
                "Sends a DATA frame with invalid pad length",
                &[PROTOCOL_ERROR],
                [of_four_bytes, frame(DATA, PADDED | END_STREAM, 1, b"\x06Test")],
            ),
        ],
    );
}

#[test]
fn section_6_2_headers() {
    let block = block(&GET);
    let padding = u8::try_from(block.len() + 2).unwrap();
    check(
        "http2/6.2",
        [
            fails(
                "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
                &[PROTOCOL_ERROR],
                [begun(0, &GET), priority(1, depends_on(0, 255)), continued(END_HEADERS, 1)],
            ),
            fails(
                "Sends a HEADERS frame to another stream while sending a HEADERS frame",
                &[PROTOCOL_ERROR],
                [begun(0, &GET), get(3), continued(END_HEADERS, 1)],
            ),
            fails("Sends a HEADERS frame with 0x0 stream identifier", &[PROTOCOL_ERROR], [get(0)]),
            fails_stream(
                "Sends a HEADERS frame with invalid pad length",
                &[PROTOCOL_ERROR],
                [frame(HEADERS, PADDED | WHOLE, 1, &[&[padding][..], &block].concat())],
            ),
        ],
    );
}

#[test]
fn section_6_3_priority() {
    check(
        "http2/6.3",
        [
            fails(
                "Sends a PRIORITY frame with 0x0 stream identifier",
                &[PROTOCOL_ERROR],
                [priority(0, depends_on(0, 255))],
            ),
            fails_stream(
                "Sends a PRIORITY frame with a length other than 5 octets",
                &[FRAME_SIZE_ERROR],
                [get(1), frame(PRIORITY, 0, 1, &[0x80, 0, 0, 1])],
            ),
        ],
    );
}

#[test]
fn section_6_4_rst_stream() {
    check(
        "http2/6.4",
        [
            fails(
                "Sends a RST_STREAM frame with 0x0 stream identifier",
                &[PROTOCOL_ERROR],
                [reset(0, CANCEL)],
            ),
            fails("Sends a RST_STREAM frame on a idle stream", &[PROTOCOL_ERROR], [reset(1, CANCEL)]),
            fails_stream(
                "Sends a RST_STREAM frame with a length other than 4 octets",
                &[FRAME_SIZE_ERROR],
                [get(1), frame(RESET, 0, 1, &[0; 3])],
            ),
        ],
    );
}

#[test]
fn section_6_5_settings() {
    check(
        "http2/6.5",
        [
            fails(
                "Sends a SETTINGS frame with ACK flag and payload",
                &[FRAME_SIZE_ERROR],
                [frame(SETTINGS, ACK, 0, &[0])],
            ),
            fails(
                "Sends a SETTINGS frame with a stream identifier other than 0x0",
                &[PROTOCOL_ERROR],
                [frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])],
            ),
            fails_stream(
                "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
                &[PROTOCOL_ERROR, FRAME_SIZE_ERROR],
                [frame(SETTINGS, 0, 0, &[0, 3, 0])],
            ),
        ],
    );
}

#[test]
fn section_6_5_2_defined_settings_parameters() {
    let above = "SETTINGS_INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window \
                 size";
    check(
        "http2/6.5.2",
        [
            fails(
                "SETTINGS_ENABLE_PUSH (0x2): Sends the value other than 0 or 1",
                &[PROTOCOL_ERROR],
                [setting(ENABLE_PUSH, 2)],
            ),
            fails(above, &[FLOW_CONTROL_ERROR], [setting(INITIAL_WINDOW_SIZE, WINDOW_BYTES_MAX + 1)]),
            fails(
                "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
                &[PROTOCOL_ERROR],
                [setting(MAX_FRAME_SIZE, FRAME_BYTES_MAX - 1)],
            ),
            fails(
                "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
                &[PROTOCOL_ERROR],
                [setting(MAX_FRAME_SIZE, 1 << 24)],
            ),
            case("Sends a SETTINGS frame with unknown identifier")
                .sends([setting(0xff, 1), ping(ZEROS)])
                .expects(Expected::Pong(ZEROS)),
        ],
    );
}

#[test]
fn section_6_5_3_settings_synchronization() {
    check(
        "http2/6.5.3",
        [
            case("Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE")
                .sends([settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)])])
                .expects(Expected::SettingsAck)
                .sends([get(1)])
                .expects(Expected::DataOf(1)),
            case("Sends a SETTINGS frame without ACK flag")
                .sends([setting(ENABLE_PUSH, 0)])
                .expects(Expected::SettingsAck),
        ],
    );
}

#[test]
fn section_6_7_ping() {
    check(
        "http2/6.7",
        [
            case("Sends a PING frame").sends([ping(NAME)]).expects(Expected::Pong(NAME)),
            case("Sends a PING frame with ACK")
                .sends([frame(PING, ACK, 0, b"invalid\0"), ping(NAME)])
                .expects(Expected::Pong(NAME)),
            fails(
                "Sends a PING frame with a stream identifier field value other than 0x0",
                &[PROTOCOL_ERROR],
                [frame(PING, 0, 1, &ZEROS)],
            ),
            fails(
                "Sends a PING frame with a length field value other than 8",
                &[FRAME_SIZE_ERROR],
                [frame(PING, 0, 0, &ZEROS[..6])],
            ),
        ],
    );
}

#[test]
fn section_6_8_goaway() {
    check(
        "http2/6.8",
        [fails(
            "Sends a GOAWAY frame with a stream identifier other than 0x0",
            &[PROTOCOL_ERROR],
            [frame(GO_AWAY, 0, 1, &[0; 8])],
        )],
    );
}

#[test]
fn section_6_9_window_update() {
    check(
        "http2/6.9",
        [
            fails(
                "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
                &[PROTOCOL_ERROR],
                [window_update(0, 0)],
            ),
            fails_stream(
                "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
                &[PROTOCOL_ERROR],
                [headers(0, 1, &GET), window_update(1, 0)],
            ),
            fails(
                "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
                &[FRAME_SIZE_ERROR],
                [frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
            ),
        ],
    );
}

#[test]
fn section_6_9_1_the_flow_control_window() {
    let above = "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1";
    let above_on_a_stream = "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above \
                             2^31-1 on a stream";
    let most = |stream: u32| window_update(stream, WINDOW_BYTES_MAX);
    check(
        "http2/6.9.1",
        [
            case("Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame")
                .sends([setting(INITIAL_WINDOW_SIZE, 1)])
                .expects(Expected::SettingsAck)
                .sends([get(1)])
                .expects(Expected::DataOf(1)),
            case(above).sends([most(0), most(0)]).expects(Expected::GoAway(Some(FLOW_CONTROL_ERROR))),
            case(above_on_a_stream)
                .sends([headers(0, 1, &GET), most(1), most(1)])
                .expects(Expected::Reset(FLOW_CONTROL_ERROR)),
        ],
    );
}

#[test]
fn section_6_9_2_initial_flow_control_window_size() {
    check(
        "http2/6.9.2",
        [
            case("Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame")
                .sends([setting(INITIAL_WINDOW_SIZE, 0)])
                .expects(Expected::SettingsAck)
                .sends([get(1), setting(INITIAL_WINDOW_SIZE, 1)])
                .expects(Expected::DataOf(1)),
            case("Sends a SETTINGS frame for window size to be negative")
                .sends([setting(INITIAL_WINDOW_SIZE, 3)])
                .expects(Expected::SettingsAck)
                .sends([get(1)])
                .expects(Expected::Data)
                .sends([setting(INITIAL_WINDOW_SIZE, 2)])
                .expects(Expected::SettingsAck)
                .sends([window_update(1, 2)])
                .expects(Expected::DataOf(1)),
            fails(
                "Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum window size value",
                &[FLOW_CONTROL_ERROR],
                [setting(INITIAL_WINDOW_SIZE, WINDOW_BYTES_MAX + 1)],
            ),
        ],
    );
}

#[test]
fn section_6_10_continuation() {
    let after_data = [begun(0, &POST), test_data(END_STREAM, 1), continued(0, 1), continued(END_HEADERS, 0)];
    check(
        "http2/6.10",
        [
            case("Sends multiple CONTINUATION frames preceded by a HEADERS frame")
                .sends([begun(END_STREAM, &GET), continued(0, 1), continued(END_HEADERS, 1)])
                .expects(Expected::Answer),
            fails(
                "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
                &[PROTOCOL_ERROR],
                [begun(0, &POST), continued(0, 1), test_data(END_STREAM, 1)],
            ),
            fails(
                "Sends a CONTINUATION frame with 0x0 stream identifier",
                &[PROTOCOL_ERROR],
                [begun(END_STREAM, &GET), continued(END_HEADERS, 0)],
            ),
            fails(
                "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
                &[PROTOCOL_ERROR],
                [get(1), continued(END_HEADERS, 1)],
            ),
            fails(
                "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
                &[PROTOCOL_ERROR],
                [begun(END_STREAM, &GET), continued(END_HEADERS, 1), continued(END_HEADERS, 1)],
            ),
            fails("Sends a CONTINUATION frame preceded by a DATA frame", &[PROTOCOL_ERROR], after_data),
        ],
    );
}
