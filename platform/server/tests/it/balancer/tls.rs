//! Listeners of https: certificates that are imported, chosen by the name that a client asks for, and exchanged under load
//! without a failed request; `skiff up --tls dev`; and what is refused.
//!
//! Where it matters what is spoken, the client is the system's curl; where it matters which certificate is shown, it is one
//! of rustls that takes up no session.

use super::{HELLO, answers, ask, deploy_named, free_port, rule};
use crate::harness::{PATIENCE, Platform, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How often the certificate is exchanged under load.
const EXCHANGES: usize = 100;
/// Clients that make the load, each request on a connection of its own.
const CLIENTS: usize = 3;

/// A certificate authority of the test's own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

/// A certificate and its key, in files as they are imported.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) private_key: String,
    /// As it is shown.
    der: Vec<u8>,
}

impl Authority {
    /// One whose files are in this folder.
    pub(crate) fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Another name than those that it vouches for have: OpenSSL takes them for self-signed otherwise.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, dir: dir.to_owned() };
        std::fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// The file of its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("authority.pem")
    }

    /// A certificate for these; the files are named so.
    pub(crate) fn issue(&self, file: &str, domains: &[&str]) -> Issued {
        let domains: Vec<String> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        self.issue_as(file, CertificateParams::new(domains).unwrap())
    }

    fn issue_as(&self, file: &str, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |kind: &str, text: String| {
            let path = self.dir.join(format!("{file}.{kind}.pem"));
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Issued {
            certificate: write("certificate", certificate.pem()),
            private_key: write("key", key.serialize_pem()),
            der: certificate.der().to_vec(),
        }
    }

    /// What a client needs that trusts it.
    fn trusted(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        // Who takes up a session is shown nothing.
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Imports a certificate with its key.
pub(crate) fn import(platform: &Platform, name: &str, issued: &Issued) {
    platform.ok(&import_of(name, &issued.certificate, &issued.private_key));
}

fn import_of<'a>(name: &'a str, certificate: &'a str, private_key: &'a str) -> [&'a str; 7] {
    ["cert", "import", name, "--certificate", certificate, "--private-key", private_key]
}

/// Makes a listener of https with these certificates, and more; its port.
pub(crate) fn listen(platform: &Platform, name: &str, certificates: &str, more: &[&str]) -> u16 {
    let port = free_port();
    let text = port.to_string();
    let create = ["listener", "create", name, "--port", &text, "--protocol", "https"];
    platform.ok(&[&create[..], &["--certificate", certificates], more].concat());
    port
}

/// A connection, after the handshake.
struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    fn open(config: &Arc<ClientConfig>, port: u16, host: &str) -> Result<Self> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(Error::other)?;
        let mut stream = StreamOwned::new(tls, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    /// The certificate that it was shown, as DER.
    fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().expect("a server shows one")[0].to_vec()
    }

    /// A GET on it, which stays open; the whole answer.
    fn get(&mut self, host: &str, path: &str) -> Result<String> {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")?;
        self.0.flush()?;
        let (mut answer, mut part) = (Vec::new(), [0; 4_096]);
        while !is_whole(&String::from_utf8_lossy(&answer)) {
            match self.0.read(&mut part)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => answer.extend_from_slice(&part[..count]),
            }
        }
        String::from_utf8(answer).map_err(Error::other)
    }
}

/// Whether an answer has come to its end, by its length or by its last chunk.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => body.len() >= length.trim().parse().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    }
}

/// Waits until a client that asks for this host is shown that certificate.
fn is_shown(config: &Arc<ClientConfig>, port: u16, host: &str, der: &[u8]) {
    eventually(&format!("{host} is shown its certificate"), || {
        let connection = Connection::open(config, port, host).ok()?;
        (connection.certificate() == der).then_some(())
    });
}

/// What curl says of a GET with these arguments: the body and then, on a line of its own, the version of HTTP and the
/// status; or why it failed.
fn curl(authority: &Path, url: &str, arguments: &[&str]) -> std::result::Result<String, String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
    command.args(["--write-out", "\n%{http_version} %{response_code}", "--cacert"]).arg(authority);
    let output = command.args(arguments).arg(url).output().expect("curl is there");
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Waits until curl is answered so, whichever version of HTTP it speaks.
fn curl_is_answered(authority: &Path, url: &str, arguments: &[&str], body: &str) {
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let wanted = format!("{body}\n{version} 200");
        let mut last = None;
        eventually(&format!("{url} is answered by HTTP/{version}"), || {
            let answer = curl(authority, url, &[arguments, &[option]].concat());
            if last.as_ref() != Some(&answer) {
                println!("curl {option} {url}: {answer:?}");
                last = Some(answer.clone());
            }
            (answer.as_ref() == Ok(&wanted)).then_some(())
        });
    }
}

#[test]
fn a_service_is_reached_by_https() {
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &["--host", "shop.example.com"]);
    let authority = Authority::new(platform.dir());
    let issued = authority.issue("shop", &["shop.example.com"]);
    import(&platform, "shop", &issued);
    let port = listen(&platform, "secure", "shop", &[]);
    let (url, resolve) =
        (format!("https://shop.example.com:{port}/"), format!("shop.example.com:{port}:127.0.0.1"));
    curl_is_answered(&authority.file(), &url, &["--resolve", &resolve], HELLO);
    // A rule of the listener's goes before, and a redirection says what is spoken there.
    rule(&platform, "away", "10", "path=/away", &["--listener", "secure", "--redirect", "/elsewhere"]);
    let config = authority.trusted();
    let answer = eventually("the rule holds", || {
        let mut connection = Connection::open(&config, port, "shop.example.com").ok()?;
        let answer = connection.get(&format!("shop.example.com:{port}"), "/away").ok()?;
        answer.starts_with("HTTP/1.1 301").then_some(answer)
    });
    assert!(answer.contains(&format!("https://shop.example.com:{port}/elsewhere")), "{answer}");

    // Who speaks in clear is told, and who trusts somebody else is not taken in.
    let clear = answers(&format!("127.0.0.1:{port}"), "shop.example.com", "/", |answer| answer.status == 400);
    assert!(!clear.text.is_empty(), "{clear:?}");
    let other = tempfile::tempdir().unwrap();
    let stranger = Authority::new(other.path());
    assert!(curl(&stranger.file(), &url, &["--resolve", &resolve]).is_err());

    let shown = platform.ok(&["listener", "show", "secure"]);
    assert!(shown.contains("https") && shown.contains("shop (expires "), "{shown}");
    let shown = platform.json(&["cert", "show", "shop"]);
    assert_eq!(
        (&shown["domains"][0], &shown["listeners"][0]),
        (&"shop.example.com".into(), &"secure".into())
    );
    let key = std::fs::read_to_string(&issued.private_key).unwrap();
    let key = key.lines().nth(1).unwrap();
    for told in [
        platform.ok(&["cert", "ls"]),
        platform.ok(&["cert", "show", "shop"]),
        shown.to_string(),
        platform.log(),
    ] {
        assert!(!told.contains(key), "{told}");
    }
}

#[test]
fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let platform = Platform::start(&[]);
    let authority = Authority::new(platform.dir());
    let first = authority.issue("first", &["first.example.com", "other.example.net"]);
    let exact = authority.issue("exact", &["api.example.org"]);
    let wildcard = authority.issue("wildcard", &["*.example.org"]);
    for (name, issued) in [("first", &first), ("exact", &exact), ("wildcard", &wildcard)] {
        import(&platform, name, issued);
    }
    let port = listen(&platform, "secure", "first,wildcard,exact", &["--respond", "204"]);
    let config = authority.trusted();
    for (host, issued) in [
        ("first.example.com", &first),
        ("api.example.org", &exact),
        ("API.example.org", &exact),
        ("web.example.org", &wildcard),
        ("other.example.net", &first),
    ] {
        is_shown(&config, port, host, &issued.der);
    }
    // The first is for all others, whom it does not convince.
    let refused = Connection::open(&config, port, "a.b.example.org").err().expect("it is not for that name");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // Another order, another first.
    platform.ok(&["listener", "create", "secure", "--certificate", "exact,wildcard"]);
    eventually("the first certificate is shown no more", || {
        Connection::open(&config, port, "first.example.com").err()
    });
    is_shown(&config, port, "web.example.org", &wildcard.der);
    platform.ok(&["cert", "rm", "first"]);
}

/// Asks again and again, on a connection of its own each time, until it is told to stop; any failure fails the test.
fn load(config: &Arc<ClientConfig>, port: u16, host: &str, stop: &AtomicBool, answered: &AtomicU64) {
    while !stop.load(Relaxed) {
        let answer =
            Connection::open(config, port, host).and_then(|mut opened| opened.get(host, "/sleep?ms=5"));
        let answer = answer.unwrap_or_else(|error| panic!("{host}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        answered.fetch_add(1, Relaxed);
    }
}

/// The same on one connection, which lives through every exchange.
fn load_on_one(config: &Arc<ClientConfig>, port: u16, host: &str, stop: &AtomicBool, answered: &AtomicU64) {
    let mut connection = Connection::open(config, port, host).expect("the listener is there");
    while !stop.load(Relaxed) {
        let answer = connection.get(host, "/sleep?ms=5").unwrap_or_else(|error| panic!("{host}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        answered.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_certificate_is_exchanged_under_load_without_a_failed_request() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    let (authority, host) = (Authority::new(platform.dir()), "app.localhost.example");
    let issued = [authority.issue("one", &[host]), authority.issue("two", &[host])];
    import(&platform, "app", &issued[1]);
    let port = listen(&platform, "secure", "app", &["--forward", "app"]);
    let config = authority.trusted();
    is_shown(&config, port, host, &issued[1].der);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (config, stop, answered) = (&config, &stop, &answered);
        scope.spawn(move || load_on_one(config, port, host, stop, answered));
        for _ in 0..CLIENTS {
            scope.spawn(move || load(config, port, host, stop, answered));
        }
        // Whatever fails here, the clients are to end.
        let stopped = Stop(stop);
        for exchange in 0..EXCHANGES {
            let next = &issued[exchange % 2];
            import(&platform, "app", next);
            is_shown(config, port, host, &next.der);
        }
        drop(stopped);
    });
    assert!(answered.load(Relaxed) > EXCHANGES as u64, "{answered:?} requests were answered");
}

/// Says stop when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn for_development_there_is_a_certificate_without_more() {
    let port = free_port();
    let mut platform = Platform::start(&["--tls", "dev", "--tls-port", &port.to_string()]);
    platform.deploy("hello", "hello", &[]);
    let authority = platform.data_dir().join("dev-ca.pem");
    let asked = ["-H", "host: hello.localhost"];
    curl_is_answered(&authority, &format!("https://localhost:{port}/"), &asked, HELLO);
    curl_is_answered(&authority, &format!("https://127.0.0.1:{port}/"), &asked, HELLO);
    let said = platform.log();
    assert!(said.contains(&format!("https://localhost:{port}")) && said.contains("--cacert"), "{said}");
    let fingerprint = |platform: &Platform| platform.json(&["cert", "show", "dev"])["fingerprint"].clone();
    let first = fingerprint(&platform);

    // It is the same at the next start, and another if nobody can know any more whom to trust.
    platform.terminate();
    platform.wait();
    let mut platform = platform.restart();
    assert_eq!(fingerprint(&platform), first);
    curl_is_answered(&authority, &format!("https://localhost:{port}/"), &asked, HELLO);
    platform.terminate();
    platform.wait();
    std::fs::remove_file(&authority).unwrap();
    let platform = platform.restart();
    assert_ne!(fingerprint(&platform), first);
    curl_is_answered(&authority, &format!("https://localhost:{port}/"), &asked, HELLO);
}

#[test]
fn what_somebody_imported_is_not_exchanged_for_development() {
    let mut platform = Platform::start(&[]);
    let authority = Authority::new(platform.dir());
    let issued = authority.issue("own", &["own.example.com"]);
    import(&platform, "dev", &issued);
    let port = listen(&platform, "https", "dev", &["--respond", "204"]);
    platform.terminate();
    platform.wait();
    let platform = platform.restart_with(&["--tls", "dev", "--tls-port", &free_port().to_string()]);
    is_shown(&authority.trusted(), port, "own.example.com", &issued.der);
    assert!(!platform.data_dir().join("dev-ca.pem").exists());
    assert_eq!(platform.json(&["listener", "show", "https"])["port"], port);
}

#[test]
fn what_is_no_sound_certificate_is_refused() {
    let platform = Platform::start(&[]);
    let authority = Authority::new(platform.dir());
    let (one, two) = (authority.issue("one", &["one.example"]), authority.issue("two", &["two.example"]));
    let mut params = CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let old = authority.issue_as("old", params);
    let missing = platform.dir().join("nothing.pem");
    for (certificate, private_key, message) in [
        (&one.certificate, &two.private_key, "is not that of the first certificate"),
        (&old.certificate, &old.private_key, "have another issued"),
        (&one.private_key, &one.private_key, "among the certificates"),
        (&one.certificate, &one.certificate, "there is no private key"),
        (&one.certificate, &missing.to_str().unwrap().to_owned(), "nothing.pem can't be read"),
    ] {
        let said = platform.fails(&import_of("bad", certificate, private_key));
        assert!(said.contains(message), "{message:?} is not in {said}");
    }
    let said = platform.fails(&["cert", "show", "bad"]);
    assert!(said.contains("there is no certificate bad; import it"), "{said}");
}

#[test]
fn certificates_are_of_listeners_of_https_and_stay_while_they_are_named() {
    let platform = Platform::start(&[]);
    let authority = Authority::new(platform.dir());
    import(&platform, "web", &authority.issue("web", &["web.example"]));
    let port = free_port().to_string();
    let create = ["listener", "create", "secure", "--port", &port];
    for (more, message) in [
        (&["--protocol", "https"][..], "shows its clients a certificate"),
        (&["--protocol", "https", "--certificate", "web,nobodys"][..], "there is no certificate nobodys"),
        (&["--protocol", "https", "--certificate", "web,web"][..], "twice"),
        (&["--certificate", "web"][..], "for listeners of https"),
    ] {
        let said = platform.fails(&[&create[..], more].concat());
        assert!(said.contains(message), "{message:?} is not in {said}");
    }
    platform.ok(&[&create[..], &["--protocol", "https", "--certificate", "web"]].concat());
    let said = platform.fails(&["cert", "rm", "web"]);
    assert!(said.contains("the listener secure names the certificate web"), "{said}");
    // In clear from now on, at the same port.
    platform.ok(&[&create[..], &["--protocol", "http", "--respond", "503"]].concat());
    platform.ok(&["cert", "rm", "web"]);
    eventually("it speaks in clear", || {
        ask(&format!("127.0.0.1:{port}"), "/", &[]).ok().filter(|answer| answer.status == 503)
    });
}
