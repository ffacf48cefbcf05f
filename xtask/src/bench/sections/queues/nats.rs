//! A work queue of NATS JetStream, on files that are synced before anything is answered.
//!
//! Its protocol is spoken here as far as these calls need it (docs.nats.io/reference/reference-protocols).

use super::{Line, Server};
use crate::bench::http::line;
use crate::bench::peers;
use crate::bench::servers::Placement;
use crate::bench::setup::Bench;
use crate::shell::{find, output};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The stream and its subject, and the consumer.
const STREAM: &str = "bench";
const CONSUMER: &str = "workers";
/// The first version that syncs always when it is told to.
const VERSION_MIN: [u32; 2] = [2, 10];

/// Starts one.
pub(super) fn start(bench: &Bench) -> anyhow::Result<Server> {
    let program = find("nats-server")
        .context("there is no nats-server on the PATH (Debian: `apt-get install nats-server`)")?;
    check_version(&program)?;
    let folder = bench.folder().join("nats");
    std::fs::create_dir_all(&folder)?;
    let settings = folder.join("nats.conf");
    let running = peers::start(bench, Placement::AllCores, |address| {
        let text = format!(
            "listen: {address}\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            folder.display().to_string()
        );
        // If it can't be written, the server says so by not starting.
        let _ = std::fs::write(&settings, text);
        let mut command = Command::new(program);
        command.arg("--config").arg(&settings);
        command
    })?;
    let address = running.address.clone();
    let mut nats = Nats::open(&address, 0)?;
    let stream = json!({ "name": STREAM, "subjects": [STREAM], "storage": "file", "retention": "workqueue" });
    nats.set_up(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &stream)?;
    let config = json!({ "durable_name": CONSUMER, "ack_policy": "explicit", "max_ack_pending": -1 });
    let consumer = json!({ "stream_name": STREAM, "config": config });
    nats.set_up(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}"), &consumer)?;
    let open = move |number| -> anyhow::Result<Box<dyn Line>> { Ok(Box::new(Nats::open(&address, number)?)) };
    Ok(Server { name: "NATS JetStream", pid: running.pid, open: Box::new(open), _guard: running._guard })
}

/// Refuses a version that only syncs now and then.
fn check_version(program: &Path) -> anyhow::Result<()> {
    let said = output(Command::new(program).arg("--version"))?;
    let version = said.trim().rsplit('v').next().unwrap_or_default();
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).take(2).collect();
    ensure!(
        parts.as_slice() >= VERSION_MIN.as_slice(),
        "this nats-server is {version}, and only 2.10 or later syncs always: put a newer one first on the PATH"
    );
    Ok(())
}

struct Nats {
    stream: BufReader<TcpStream>,
    inbox: String,
    /// Whom to tell that what the last pull gave is done.
    received: Vec<String>,
}

/// A message that came.
struct Came {
    /// Whom to answer, if anybody is.
    reply: Option<String>,
    /// Headers and payload.
    bytes: Vec<u8>,
    /// Whether it has headers: what says that there are no messages has.
    has_headers: bool,
}

impl Nats {
    fn open(address: &str, number: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let inbox = format!("_INBOX.bench{number}");
        let mut nats = Self { stream: BufReader::new(stream), inbox, received: vec![] };
        let greeting = line(&mut nats.stream)?;
        ensure!(greeting.starts_with("INFO "), "NATS says: {greeting}");
        let connect = json!({ "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "name": "bench" });
        let subscribe = format!("CONNECT {connect}\r\nSUB {} 1\r\n", nats.inbox);
        nats.stream.get_mut().write_all(subscribe.as_bytes())?;
        Ok(nats)
    }

    /// Asks for something of JetStream's own.
    fn set_up(&mut self, subject: &str, body: &Value) -> anyhow::Result<()> {
        self.publish(&[(subject, &body.to_string())])?;
        self.answered()
    }

    /// Publishes messages, each of which is answered to our inbox.
    fn publish(&mut self, messages: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut request = String::new();
        for (subject, body) in messages {
            request.push_str(&format!("PUB {subject} {} {}\r\n{body}\r\n", self.inbox, body.len()));
        }
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// Waits for an answer that says that it was done.
    fn answered(&mut self) -> anyhow::Result<()> {
        check_done(&self.next()?)
    }

    /// Publishes behind the acknowledgements of what was received; how many of those will be answered.
    fn acknowledge_and(&mut self, messages: &[(&str, &str)]) -> anyhow::Result<usize> {
        let received = std::mem::take(&mut self.received);
        let acknowledgements = received.iter().map(|reply| (reply.as_str(), "+ACK"));
        let all: Vec<(&str, &str)> = acknowledgements.chain(messages.iter().copied()).collect();
        self.publish(&all)?;
        Ok(received.len())
    }

    /// The next message to our inbox.
    fn next(&mut self) -> anyhow::Result<Came> {
        loop {
            let head = line(&mut self.stream)?;
            let words: Vec<&str> = head.split(' ').collect();
            let (has_headers, reply) = match words[..] {
                ["PING"] => {
                    self.stream.get_mut().write_all(b"PONG\r\n")?;
                    continue;
                }
                ["+OK"] | ["INFO", ..] => continue,
                ["MSG", _, _, _] => (false, None),
                ["MSG", _, _, reply, _] => (false, Some(reply.to_owned())),
                ["HMSG", _, _, _, _] => (true, None),
                ["HMSG", _, _, reply, _, _] => (true, Some(reply.to_owned())),
                _ => bail!("NATS says: {head}"),
            };
            let length: usize = words.last().context("a message says how long it is")?.parse()?;
            let mut bytes = vec![0; length + 2];
            self.stream.read_exact(&mut bytes)?;
            bytes.truncate(length);
            return Ok(Came { reply, bytes, has_headers });
        }
    }
}

impl Line for Nats {
    fn send(&mut self, bodies: &[&str]) -> anyhow::Result<()> {
        let messages: Vec<(&str, &str)> = bodies.iter().map(|body| (STREAM, *body)).collect();
        self.publish(&messages)?;
        bodies.iter().try_for_each(|_| self.answered())
    }

    fn take(&mut self, most: usize) -> anyhow::Result<usize> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}");
        let pull = json!({ "batch": most, "no_wait": true }).to_string();
        let mut waiting = self.acknowledge_and(&[(subject.as_str(), pull.as_str())])?;
        // What the pull gives may come before the acknowledgements' answers.
        let mut is_over = false;
        while waiting > 0 || !is_over {
            let came = self.next()?;
            match came.reply {
                Some(reply) if !came.has_headers => self.received.push(reply),
                _ if came.has_headers => {
                    let text = String::from_utf8_lossy(&came.bytes);
                    // Nobody listens there: no acknowledgement is to be lost in silence.
                    ensure!(!text.starts_with("NATS/1.0 503"), "NATS says: {text}");
                    // There are no more.
                    is_over = true;
                }
                _ => {
                    check_done(&came)?;
                    waiting = waiting.saturating_sub(1);
                }
            }
            is_over |= self.received.len() == most;
        }
        Ok(self.received.len())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let waiting = self.acknowledge_and(&[])?;
        (0..waiting).try_for_each(|_| self.answered())
    }
}

/// Fails unless an answer says that it was done.
fn check_done(came: &Came) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(&came.bytes);
    ensure!(!came.has_headers && !text.contains("\"error\""), "NATS says: {text}");
    Ok(())
}
