//! A stream of Redis with a group of consumers, whose file is synced before anything is answered.
//!
//! Its protocol is spoken here as far as these commands need it (RESP2, redis.io/docs/latest/develop/reference/protocol-spec).

use super::{Line, Server};
use crate::bench::http::line;
use crate::bench::peers;
use crate::bench::servers::Placement;
use crate::bench::setup::Bench;
use crate::shell::find;
use anyhow::{Context, bail};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The stream, and its group.
const STREAM: &str = "bench";
const GROUP: &str = "workers";

/// Starts one.
pub(super) fn start(bench: &Bench) -> anyhow::Result<Server> {
    let program = find("redis-server")
        .context("there is no redis-server on the PATH (Debian: `apt-get install redis-server`)")?;
    let folder = bench.folder().join("redis");
    std::fs::create_dir_all(&folder)?;
    let running = peers::start(bench, Placement::AllCores, |address| {
        let port = address.rsplit(':').next().unwrap_or_default();
        let mut command = Command::new(program);
        command.args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--dir"]).arg(&folder);
        command
    })?;
    let address = running.address.clone();
    Redis::open(&address, 0)?.ask(&[&["XGROUP", "CREATE", STREAM, GROUP, "$", "MKSTREAM"]])?;
    let open =
        move |number| -> anyhow::Result<Box<dyn Line>> { Ok(Box::new(Redis::open(&address, number)?)) };
    Ok(Server { name: "Redis stream", pid: running.pid, open: Box::new(open), _guard: running._guard })
}

struct Redis {
    stream: BufReader<TcpStream>,
    consumer: String,
    /// The ids of what the last read gave.
    received: Vec<String>,
}

/// An answer.
enum Answer {
    /// A number, a word, or a text.
    Text(String),
    List(Vec<Answer>),
    Nothing,
}

impl Redis {
    fn open(address: &str, number: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), consumer: format!("c{number}"), received: vec![] })
    }

    /// Sends commands together, and waits for their answers.
    fn ask(&mut self, commands: &[&[&str]]) -> anyhow::Result<Vec<Answer>> {
        let mut request = String::new();
        for command in commands {
            request.push_str(&format!("*{}\r\n", command.len()));
            command.iter().for_each(|word| request.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        commands.iter().map(|_| self.answer()).collect()
    }

    /// Sends commands behind those that delete what was received.
    fn delete_and(&mut self, commands: &[&[&str]]) -> anyhow::Result<Vec<Answer>> {
        let received = std::mem::take(&mut self.received);
        if received.is_empty() {
            return self.ask(commands);
        }
        let ids: Vec<&str> = received.iter().map(String::as_str).collect();
        let acknowledge = [&["XACK", STREAM, GROUP][..], &ids[..]].concat();
        let delete = [&["XDEL", STREAM][..], &ids[..]].concat();
        self.ask(&[&[&acknowledge[..], &delete[..]][..], commands].concat())
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let head = line(&mut self.stream)?;
        let (kind, rest) = head.split_at_checked(1).context("an answer says of what kind it is")?;
        match kind {
            "+" | ":" => Ok(Answer::Text(rest.to_owned())),
            "$" | "*" if rest.starts_with('-') => Ok(Answer::Nothing),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(text.len() - 2);
                Ok(Answer::Text(String::from_utf8(text)?))
            }
            "*" => {
                let answers = (0..rest.parse::<usize>()?).map(|_| self.answer());
                Ok(Answer::List(answers.collect::<anyhow::Result<_>>()?))
            }
            _ => bail!("Redis says: {head}"),
        }
    }
}

impl Line for Redis {
    fn send(&mut self, bodies: &[&str]) -> anyhow::Result<()> {
        let commands: Vec<[&str; 5]> =
            bodies.iter().map(|body| ["XADD", STREAM, "*", "body", *body]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(<[&str; 5]>::as_slice).collect();
        self.ask(&commands).map(drop)
    }

    fn take(&mut self, most: usize) -> anyhow::Result<usize> {
        let (consumer, most) = (self.consumer.clone(), most.to_string());
        let read = ["XREADGROUP", "GROUP", GROUP, &consumer, "COUNT", &most, "STREAMS", STREAM, ">"];
        let Some(answer) = self.delete_and(&[&read])?.pop() else { bail!("Redis says nothing") };
        entries(answer, &mut self.received);
        Ok(self.received.len())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.delete_and(&[]).map(drop)
    }
}

/// The ids of the entries of streams: `[[stream, [[id, [field, value]], …]]]`.
fn entries(answer: Answer, ids: &mut Vec<String>) {
    let Answer::List(streams) = answer else { return };
    let lists = streams.into_iter().filter_map(|stream| match stream {
        Answer::List(stream) => stream.into_iter().nth(1),
        Answer::Text(_) | Answer::Nothing => None,
    });
    for list in lists {
        let Answer::List(entries) = list else { continue };
        for entry in entries {
            if let Answer::List(entry) = entry
                && let Some(Answer::Text(id)) = entry.into_iter().next()
            {
                ids.push(id);
            }
        }
    }
}
