//! curl: each version of HTTP, uploads with and without a length, `Expect: 100-continue`, trailers, and events that come as
//! they are sent.

use super::outside::{EVENTS, Outside};
use super::{AMPLE, HOST, Listeners, tools};
use crate::harness::{PATIENCE, Platform, eventually, free_port, guest_path};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What `hello` answers.
const HELLO: &str = "Hello from Skiff!\n";
/// Bytes that are uploaded: more than the buffers on the way hold.
const UPLOAD_BYTES: usize = 2 << 20;
/// How long curl waits to be told to go on with an upload, in seconds, before it goes on without.
const GO_ON_S: u64 = 50;
/// The longest that it takes for anything, in seconds.
const TIME_S_MAX: u64 = 60;
/// How curl speaks, and which version that has to be.
const IN_CLEAR: [(&str, &str); 3] =
    [("--http1.1", "1.1"), ("--http2", "1.1"), ("--http2-prior-knowledge", "2")];
const BY_TLS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

/// Ways to one host: the URL's beginning, what curl must be told to speak, and the version that this is.
struct Way {
    origin: String,
    speaks: &'static str,
    version: &'static str,
}

/// All ways there are to two listeners.
fn ways(clear: u16, secure: u16) -> Vec<Way> {
    let way = |origin: String| {
        move |(speaks, version): (&'static str, &'static str)| Way { origin: origin.clone(), speaks, version }
    };
    let in_clear = IN_CLEAR.into_iter().map(way(format!("http://127.0.0.1:{clear}")));
    in_clear.chain(BY_TLS.into_iter().map(way(format!("https://127.0.0.1:{secure}")))).collect()
}

/// curl, told where to go and as whom.
struct Curl<'a> {
    authority: &'a Path,
    host: &'a str,
    way: &'a Way,
}

impl Curl<'_> {
    fn command(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", &TIME_S_MAX.to_string()]);
        command.arg("--cacert").arg(self.authority).args(["--header", &format!("host: {}", self.host)]);
        command.arg(self.way.speaks).args(arguments).arg(format!("{}{path}", self.way.origin));
        command.stdin(Stdio::null());
        command
    }

    /// What it prints.
    fn run(&self, path: &str, arguments: &[&str]) -> String {
        let output = self.command(path, arguments).output().expect("curl is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {} {path}: {said}", self.way.speaks, self.way.origin);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until it is answered with this status.
    fn has_status(&self, path: &str, status: &str) {
        let asked = ["--output", "/dev/null", "--write-out", "%{response_code}"];
        eventually(&format!("{} {path} is answered with {status}", self.way.origin), || {
            let output = self.command(path, &asked).output().expect("curl is there");
            (output.stdout == status.as_bytes()).then_some(())
        });
    }
}

#[test]
fn curl_speaks_each_version_of_http() {
    if !tools::has_curl() {
        return;
    }
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &AMPLE);
    let listeners = Listeners::leading_to(&platform, "hello");
    for way in ways(listeners.clear, listeners.secure) {
        // By the service's own host, and by another that the default action is for.
        for host in ["hello.localhost", HOST] {
            let curl = Curl { authority: &listeners.authority, host, way: &way };
            curl.has_status("/", "200");
            let answer = curl.run("/", &["--write-out", "%{http_version} %{response_code}"]);
            assert_eq!(answer, format!("{HELLO}{} 200", way.version), "{} {}", way.origin, way.speaks);
            let head = curl.run("/", &["--head"]);
            assert!(head.starts_with(&format!("HTTP/{} 200", way.version)), "{head}");
        }
    }
}

/// A platform that leads to a server outside, and a file to upload.
struct Uploads {
    platform: Platform,
    listeners: Listeners,
    file: String,
    bytes: Vec<u8>,
}

impl Uploads {
    fn prepare(target: &str) -> Self {
        // One worker, so that what it has answered once holds.
        let platform = Platform::start(&["--workers", "1"]);
        platform.ok(&["target-group", "create", "outside", "--outside", target]);
        let listeners = Listeners::leading_to(&platform, "outside");
        let bytes: Vec<u8> = (0..UPLOAD_BYTES).map(|place| (place * place / 7) as u8).collect();
        let file = platform.dir().join("upload");
        std::fs::write(&file, &bytes).unwrap();
        Self { platform, listeners, file: file.to_str().unwrap().to_owned(), bytes }
    }

    fn ways(&self) -> Vec<Way> {
        ways(self.listeners.clear, self.listeners.secure)
    }

    /// Uploads the file, which has to come back; the heads of the answer, in lower case.
    fn comes_back(&self, curl: &Curl, path: &str, arguments: &[&str]) -> String {
        let back = self.platform.dir().join("back");
        let files = ["--data-binary", &format!("@{}", self.file), "--output", back.to_str().unwrap()];
        let shown = ["--request", "POST", "--dump-header", "-"];
        let heads = curl.run(path, &[&files[..], &shown, arguments].concat());
        assert!(std::fs::read(&back).unwrap() == self.bytes, "other bytes came back, after {heads}");
        heads.to_ascii_lowercase()
    }
}

#[test]
fn curl_uploads_with_a_length_and_without() {
    if !tools::has_curl() {
        return;
    }
    let outside = Outside::start();
    let uploads = Uploads::prepare(&outside.target());
    let length = format!("x-length: {UPLOAD_BYTES}\r\n");
    for way in uploads.ways() {
        let curl = Curl { authority: &uploads.listeners.authority, host: HOST, way: &way };
        curl.has_status("/", "404");
        let heads = uploads.comes_back(&curl, "/upload", &["--header", "expect:"]);
        assert!(heads.contains(&length) && heads.contains("x-coding: none\r\n"), "{heads}");
        if way.version == "1.1" {
            let chunked = ["--header", "expect:", "--header", "transfer-encoding: chunked"];
            let heads = uploads.comes_back(&curl, "/upload", &chunked);
            assert!(heads.contains("x-coding: chunked\r\n"), "{heads}");
            assert!(heads.contains("x-length: none\r\n"), "{heads}");
        }
    }
}

#[test]
fn curl_is_told_to_go_on_once_there_is_a_target_that_takes_its_upload() {
    if !tools::has_curl() {
        return;
    }
    let outside = Outside::start();
    let uploads = Uploads::prepare(&outside.target());
    let daemon = guest_path("http-daemon");
    let deploy = ["deploy", daemon.to_str().unwrap(), "--name", "app", "--port", "8080"];
    uploads.platform.ok(&deploy);
    let limit = GO_ON_S.to_string();
    let expecting = ["--header", "expect: 100-continue", "--expect100-timeout", &limit];
    let ways = uploads.ways();
    let by_http1 = || ways.iter().filter(|way| way.speaks == "--http1.1");
    for way in by_http1() {
        for (host, path, ready) in [(HOST, "/upload", "404"), ("app.localhost", "/echo", "405")] {
            let curl = Curl { authority: &uploads.listeners.authority, host, way };
            curl.has_status(if host == HOST { "/" } else { path }, ready);
            let heads = uploads.comes_back(&curl, path, &expecting);
            assert!(heads.starts_with("http/1.1 100 continue\r\n\r\nhttp/1.1 200 ok\r\n"), "{heads}");
            // The load balancer has answered it: who is behind has nothing to answer.
            assert!(host != HOST || heads.contains("x-expect: none\r\n"), "{heads}");
        }
    }

    // Where there is no target nothing is uploaded.
    let away = format!("127.0.0.1:{}", free_port());
    uploads.platform.ok(&["target-group", "create", "outside", "--outside", &away]);
    for way in by_http1() {
        let curl = Curl { authority: &uploads.listeners.authority, host: HOST, way };
        curl.has_status("/", "502");
        let asked = ["--output", "/dev/null", "--write-out", "%{response_code} %{size_upload}"];
        let file = ["--data-binary", &format!("@{}", uploads.file)];
        let said = curl.run("/upload", &[&expecting[..], &asked, &file].concat());
        assert_eq!(said, "502 0");
    }
}

#[test]
fn curl_is_sent_trailers_where_it_takes_them() {
    if !tools::has_curl() {
        return;
    }
    let outside = Outside::start();
    let platform = Platform::start(&[]);
    platform.ok(&["target-group", "create", "outside", "--outside", &outside.target()]);
    let listeners = Listeners::leading_to(&platform, "outside");
    for way in ways(listeners.clear, listeners.secure) {
        let curl = Curl { authority: &listeners.authority, host: HOST, way: &way };
        curl.has_status("/", "404");
        let said = curl.run("/trailers", &["--include", "--header", "te: trailers"]);
        let (head, rest) = said.split_once("\r\n\r\n").expect("a head");
        assert!(!head.contains("x-sum: 7"), "{said}");
        assert!(rest.starts_with("Hello\n"), "{said}");
        let trailers = rest.to_ascii_lowercase();
        assert!(trailers.contains("x-sum: 7\r\n") && trailers.contains("x-end: yes\r\n"), "{said}");
        if way.version == "1.1" {
            let said = curl.run("/trailers", &["--include"]);
            assert!(said.ends_with("\r\n\r\nHello\n"), "it did not say that it takes them: {said}");
        }
    }
}

#[test]
fn curl_is_sent_each_event_as_it_comes() {
    if !tools::has_curl() {
        return;
    }
    let outside = Outside::start();
    let platform = Platform::start(&[]);
    platform.ok(&["target-group", "create", "outside", "--outside", &outside.target()]);
    let listeners = Listeners::leading_to(&platform, "outside");
    for way in ways(listeners.clear, listeners.secure) {
        let curl = Curl { authority: &listeners.authority, host: HOST, way: &way };
        curl.has_status("/", "404");
        let mut command = curl.command("/events", &["--no-buffer"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("curl is there");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut next = || lines.next().map(|line| line.expect("text"));
        // The next one is sent once this one has come; were it kept back, curl would end for want of it.
        for number in 0..EVENTS {
            let came = next();
            assert_eq!(
                came,
                Some(format!("data: {number}")),
                "{} {} in {PATIENCE:?}",
                way.origin,
                way.speaks
            );
            assert_eq!(next().as_deref(), Some(""));
            if number + 1 < EVENTS {
                outside.goes_on();
            }
        }
        assert_eq!(next(), None);
        assert!(child.wait().unwrap().success());
    }
}
