//! HTTP/2's frames as bytes, put together by hand so that unsound ones can be sent as well as sound ones, and read one
//! by one. Nothing here knows which frame may follow which; headers are literals of HPACK, without its tables.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What a client's connection begins with, before its SETTINGS.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

// Flags of frames.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

// Settings (RFC 9113, section 6.5.2).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

// Codes of errors (RFC 9113, section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;

/// A frame of any kind, whatever it says.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface with SETTINGS that leave everything as it is.
pub(crate) fn preface() -> Vec<u8> {
    [PREFACE, &settings(&[])].concat()
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let setting = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &settings.iter().flat_map(setting).collect::<Vec<_>>())
}

/// RST_STREAM.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &code.to_be_bytes())
}

pub(crate) fn go_away(code: u32, text: &str) -> Vec<u8> {
    frame(GO_AWAY, 0, 0, &[&[0; 4][..], &code.to_be_bytes(), text.as_bytes()].concat())
}

pub(crate) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

pub(crate) fn ping(bytes: [u8; 8]) -> Vec<u8> {
    frame(PING, 0, 0, &bytes)
}

pub(crate) fn priority(stream: u32, payload: [u8; 5]) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &payload)
}

/// What PRIORITY and HEADERS say of a stream: upon which it depends, and one less than its weight.
pub(crate) fn depends_on(stream: u32, weight: u8) -> [u8; 5] {
    let [a, b, c, d] = stream.to_be_bytes();
    [a, b, c, d, weight]
}

/// Headers as HPACK has them: literals that are not indexed, with new names.
pub(crate) fn block<'a>(headers: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            bytes.extend(integer(0, 7, text.len()));
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer of HPACK in as many bits of its first byte, the others of which are `above` (RFC 7541, section 5.1).
pub(crate) fn integer(above: u8, bits: u32, value: usize) -> Vec<u8> {
    let byte = |value: usize| u8::try_from(value).unwrap();
    let most = (1 << bits) - 1;
    if value < most {
        return vec![above | byte(value)];
    }
    let mut bytes = vec![above | byte(most)];
    let mut rest = value - most;
    while rest >= 1 << 7 {
        bytes.push(0x80 | byte(rest & 0x7f));
        rest >>= 7;
    }
    bytes.push(byte(rest));
    bytes
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The code of the error that GOAWAY or RST_STREAM names.
    pub(crate) fn code(&self) -> u32 {
        let begin = if self.kind == GO_AWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[begin..begin + 4].try_into().unwrap())
    }

    /// What SETTINGS say of one.
    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        let setting = self.payload.chunks(6).find(|setting| setting.starts_with(&id.to_be_bytes()));
        setting.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
    }
}

/// The next frame; none at the connection's end.
pub(crate) async fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(id), payload })
}
