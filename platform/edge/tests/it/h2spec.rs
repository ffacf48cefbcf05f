//! The cases of h2spec (github.com/summerwind/h2spec) against the load balancer, under its sections and titles, so that
//! one that fails can be looked up there. The client is our own: it sends bytes and reads frames. The number of a case
//! is its place in its section; all 147 for servers are here, of the suites `generic`, `http2` and `hpack`.
//!
//! A case takes what h2spec takes. Of an error of the connection or of a stream that is GOAWAY (or RST_STREAM) with one
//! of the codes, or the connection's end after whatever code: `h2`, with which hyper speaks HTTP/2, says PROTOCOL_ERROR
//! where the RFC has COMPRESSION_ERROR, and in places where it has FRAME_SIZE_ERROR, FLOW_CONTROL_ERROR or
//! STREAM_CLOSED, and then ends the connection. In one thing cases are stricter here: an answer has to say 200.
//!
//! What a [`Case`] sends between two waits is sent at once, so that it is read before anything is answered.

pub(crate) mod frames;
mod generic;
mod hpack;
mod http2;

use crate::support::*;
use frames::*;
use futures::future::join_all;
use http::Response;
use http_body_util::BodyExt;
use skiff_edge::Limits;
use skiff_ports::body;
use skiff_ports::invoke::{Invoke, InvokeError};
use std::rc::Rc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What every request is answered with, once all of it has come. h2spec wants five bytes or more.
const ANSWER: &str = "answered";
/// Streams that a client may have open at once.
const STREAMS_MAX: u32 = 8;
/// Bytes of the largest frame, and of HPACK's table, where SETTINGS do not say otherwise.
const FRAME_BYTES_MAX: u32 = 16_384;
const TABLE_BYTES_MAX: u32 = 4_096;
/// Bytes of a window where nobody said otherwise.
const WINDOW_BYTES: u32 = 65_535;
/// The flags of a request's HEADERS that are all of it.
const WHOLE: u8 = END_STREAM | END_HEADERS;
/// `:status: 200` by HPACK's static table, which is how an answer's headers begin.
const STATUS_OK: u8 = 0x88;

/// h2spec's common headers, with two methods.
const GET: [(&str, &str); 4] = common("GET");
const POST: [(&str, &str); 4] = common("POST");

/// What PINGs carry.
const ZEROS: [u8; 8] = [0; 8];
const NAME: [u8; 8] = *b"h2spec\0\0";

/// A case that is not met by design.
struct Deviation {
    case: &'static str,
    /// What happens instead of what the case waits for last.
    instead: Expected,
    why: &'static str,
}

/// All of them. One that is met after all has to go.
const DEVIATIONS: [Deviation; 1] = [Deviation {
    case: "http2/3.5/2",
    instead: Expected::Http1Refusal("HTTP/1.1 400 "),
    why: "The port speaks HTTP/1.1 as well, and what does not begin with the preface is that: it is refused \
          as malformed, in words that its client may read, and the connection ends. h2spec takes the \
          answer for half a frame. RFC 9113, section 3.4, lets GOAWAY be omitted where HTTP/2 is not spoken.",
}];

/// What a case waits for. Frames that say nothing to it are passed over.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// GOAWAY with one of these codes, or the connection's end.
    ConnectionError(&'static [u32]),
    /// The same, or RST_STREAM with one of these codes.
    StreamError(&'static [u32]),
    End,
    /// GOAWAY, with this code if one is named.
    GoAway(Option<u32>),
    /// The first RST_STREAM is of stream 1, with this code.
    Reset(u32),
    /// The first frame of all is the server's SETTINGS.
    FirstSettings,
    SettingsAck,
    /// The first HEADERS are of stream 1, and say 200.
    Answer,
    /// A stream's last frame; RST_STREAM without an error is one too.
    StreamEnd,
    Data,
    /// The first DATA has so many bytes.
    DataOf(usize),
    Ping,
    /// The first PING answers one with these bytes.
    Pong([u8; 8]),
    /// It does, or the connection ends.
    PongOrEnd([u8; 8]),
    /// No HTTP/2, but an answer of HTTP/1 that begins so, and then the connection's end.
    Http1Refusal(&'static str),
}

impl Expected {
    /// Whether this frame settles it, and how; none at the connection's end.
    fn settled_by(self, frame: Option<&Frame>) -> Option<bool> {
        let Some(frame) = frame else {
            return Some(matches!(
                self,
                Self::ConnectionError(_) | Self::StreamError(_) | Self::End | Self::PongOrEnd(_)
            ));
        };
        let is = |kind: u8| frame.kind == kind;
        let pongs = |bytes: [u8; 8]| frame.has(ACK) && frame.payload == bytes;
        match self {
            Self::ConnectionError(codes) => (is(GO_AWAY) && codes.contains(&frame.code())).then_some(true),
            Self::StreamError(codes) => {
                ((is(GO_AWAY) || is(RESET)) && codes.contains(&frame.code())).then_some(true)
            }
            Self::End | Self::Http1Refusal(_) => None,
            Self::GoAway(code) => is(GO_AWAY).then(|| code.is_none_or(|code| code == frame.code())),
            Self::Reset(code) => is(RESET).then(|| frame.stream == 1 && frame.code() == code),
            Self::FirstSettings => Some(is(SETTINGS) && !frame.has(ACK)),
            Self::SettingsAck => is(SETTINGS).then(|| frame.has(ACK)),
            Self::Answer => is(HEADERS).then(|| frame.stream == 1 && frame.payload.starts_with(&[STATUS_OK])),
            Self::StreamEnd => {
                let ends = (is(DATA) || is(HEADERS)) && frame.has(END_STREAM);
                (ends || is(RESET) && frame.code() == NO_ERROR).then_some(true)
            }
            Self::Data => is(DATA).then_some(true),
            Self::DataOf(bytes) => is(DATA).then_some(frame.payload.len() == bytes),
            Self::Ping => is(PING).then_some(true),
            Self::Pong(bytes) => is(PING).then(|| pongs(bytes)),
            Self::PongOrEnd(bytes) => (is(PING) && pongs(bytes)).then_some(true),
        }
    }
}

enum Step {
    Send(Vec<u8>),
    Expect(Expected),
}

/// A case: what is sent and what is waited for, in turns.
struct Case {
    title: &'static str,
    /// Whether both sides have their SETTINGS acknowledged before.
    shakes_hands: bool,
    steps: Vec<Step>,
}

fn case(title: &'static str) -> Case {
    Case { title, shakes_hands: true, steps: Vec::new() }
}

impl Case {
    /// From the connection's first byte on.
    fn since_the_start(mut self) -> Self {
        self.shakes_hands = false;
        self
    }

    fn sends(mut self, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.steps.push(Step::Send(frames.into_iter().flatten().collect()));
        self
    }

    fn expects(mut self, expected: Expected) -> Self {
        self.steps.push(Step::Expect(expected));
        self
    }

    /// Has its last wait be for this.
    fn expects_instead(&mut self, instead: Expected) {
        let last = self.steps.last_mut().expect("a case waits for something");
        *last = Step::Expect(instead);
    }

    /// Runs it on a connection of its own; what came instead, if it is not met.
    async fn run(&self, bench: &Bench) -> Result<(), String> {
        let mut stream = bench.connect().await;
        if self.shakes_hands {
            shake_hands(&mut stream).await?;
        }
        for step in &self.steps {
            match step {
                // Who is cut off meanwhile finds so when it reads.
                Step::Send(bytes) => {
                    let _ = stream.write_all(bytes).await;
                }
                Step::Expect(Expected::Http1Refusal(begin)) => {
                    let text = read_to_end(&mut stream).await;
                    if !text.starts_with(*begin) {
                        return Err(format!("expected {begin:?}, and {text:?} came"));
                    }
                }
                Step::Expect(expected) => meet(&mut stream, *expected).await?,
            }
        }
        Ok(())
    }
}

/// Reads until this is settled; everything that came, if it is not met.
async fn meet(stream: &mut TcpStream, expected: Expected) -> Result<(), String> {
    let mut came = String::new();
    loop {
        let Ok(frame) = tokio::time::timeout(DEADLINE, read_frame(stream)).await else {
            return Err(format!("expected {expected:?}, and nothing but this came: {came}"));
        };
        came.push_str(&told(frame.as_ref()));
        match expected.settled_by(frame.as_ref()) {
            Some(true) => return Ok(()),
            Some(false) => return Err(format!("expected {expected:?}, and this came: {came}")),
            None => {}
        }
    }
}

/// What a failure tells of a frame, or of the connection's end.
fn told(frame: Option<&Frame>) -> String {
    let Some(Frame { kind, flags, stream, payload }) = frame else { return "the end".to_owned() };
    let begin = &payload[..payload.len().min(16)];
    format!("[kind {kind}, flags {flags}, stream {stream}, {} bytes {begin:?}] ", payload.len())
}

/// Begins as h2spec does: SETTINGS from both sides, each acknowledged.
async fn shake_hands(stream: &mut TcpStream) -> Result<(), String> {
    let begin = [PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, WINDOW_BYTES)])].concat();
    stream.write_all(&begin).await.unwrap();
    let (mut told, mut acknowledged) = (false, false);
    while !told || !acknowledged {
        let read = tokio::time::timeout(DEADLINE, read_frame(stream)).await;
        let Ok(Some(next)) = read else { return Err("the server does not begin as it has to".to_owned()) };
        match next.kind {
            SETTINGS if next.has(ACK) => acknowledged = true,
            SETTINGS => {
                // The cases count on these.
                assert_eq!(next.setting(MAX_CONCURRENT_STREAMS), Some(STREAMS_MAX));
                assert_eq!(next.setting(MAX_FRAME_SIZE).unwrap_or(FRAME_BYTES_MAX), FRAME_BYTES_MAX);
                assert_eq!(next.setting(HEADER_TABLE_SIZE).unwrap_or(TABLE_BYTES_MAX), TABLE_BYTES_MAX);
                told = true;
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs the cases of a section side by side, each on a connection of its own; after them the load balancer serves as
/// before.
fn check(section: &str, cases: impl IntoIterator<Item = Case>) {
    run(async {
        let limits = Limits { http2_streams_max: STREAMS_MAX, ..Limits::default() };
        let bench = Bench::with(limits, answers());
        let runs = cases.into_iter().zip(1..);
        let runs = runs.map(|(case, number)| attempt(&bench, format!("{section}/{number}"), case));
        let failures: String = join_all(runs).await.into_iter().flatten().collect();
        assert!(failures.is_empty(), "{failures}");
        let raw = bench.raw("GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n").await;
        assert!(raw.ends_with(ANSWER), "{section}: {raw}");
    });
}

/// Runs a case under its number in h2spec; what to say of it, if it fails.
async fn attempt(bench: &Bench, id: String, mut case: Case) -> Option<String> {
    let deviation = DEVIATIONS.iter().find(|deviation| deviation.case == id);
    if let Some(deviation) = deviation {
        case.expects_instead(deviation.instead);
    }
    let came = case.run(bench).await.err()?;
    let why = deviation.map_or("", |deviation| deviation.why);
    Some(format!("{id} {}: {came} {why}\n", case.title))
}

/// A task that answers once it has read the whole request.
fn answers() -> Rc<dyn Invoke> {
    task(|_, request| async move {
        let collected = request.into_body().collect().await;
        collected.map_err(|error| InvokeError::Failed(error.to_string()))?;
        Ok(Response::new(body::full(ANSWER)))
    })
}

const fn common(method: &'static str) -> [(&'static str, &'static str); 4] {
    [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "hello.localhost")]
}

/// HEADERS that are whole, but for the request's body if these flags do not end it.
fn headers<'a>(flags: u8, stream: u32, headers: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(headers))
}

/// A GET without more.
fn get(stream: u32) -> Vec<u8> {
    headers(END_STREAM, stream, &GET)
}

/// Four bytes of a request's body, or more than it should have.
fn test_data(flags: u8, stream: u32) -> Vec<u8> {
    frame(DATA, flags, stream, b"test")
}

/// h2spec's dummy headers, as HPACK has them.
fn dummies(count: usize) -> Vec<u8> {
    let value = "x".repeat(4_000);
    let header = |number: usize| block(&[(format!("x-dummy{number}").as_str(), value.as_str())]);
    (0..count).flat_map(header).collect()
}
