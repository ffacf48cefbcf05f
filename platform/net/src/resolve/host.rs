//! The host's own way to resolve names: the name servers of `/etc/resolv.conf`, and what `/etc/hosts` says before them.
//!
//! The two files are read again when they change. Answers are kept for as long as they say, by `hickory`. Names are asked
//! for as they are: the host's search domains are for its own programs.
//!
//! What always holds: nothing here blocks for longer than it takes to look at two small files; without a name server that
//! can be asked, what is not in `/etc/hosts` is not known at present.

use super::{Resolve, Resolved};
use crate::error::NetError;
use futures::future::{FutureExt, LocalBoxFuture};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError as Failure};
use hickory_resolver::system_conf::read_system_conf;
use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What says how names are resolved.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How long the files are taken to be as they were.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Answers that are kept.
const ANSWERS_KEPT_MAX: u64 = 4_096;
/// Questions that may be on their way to one name server.
const QUESTIONS_MAX: usize = 256;

/// Asks as the host's own programs would.
pub struct HostResolver {
    resolver: RefCell<TokioResolver>,
    written_at: Cell<[Option<SystemTime>; 2]>,
    looked_at: Cell<Instant>,
}

impl HostResolver {
    /// As the host's files say now. A file that is not there, or makes no sense, says nothing.
    ///
    /// # Errors
    /// If none can be made of them all the same.
    pub fn new() -> io::Result<Self> {
        let written_at = FILES.map(written_at);
        Ok(Self {
            resolver: RefCell::new(of_files()?),
            written_at: Cell::new(written_at),
            looked_at: Cell::new(Instant::now()),
        })
    }

    fn current(&self) -> TokioResolver {
        if self.looked_at.get().elapsed() >= LOOK_INTERVAL {
            self.looked_at.set(Instant::now());
            let written_at = FILES.map(written_at);
            if self.written_at.replace(written_at) != written_at {
                match of_files() {
                    Ok(resolver) => drop(self.resolver.replace(resolver)),
                    Err(error) => tracing::warn!(%error, "names are resolved as the files said before"),
                }
            }
        }
        self.resolver.borrow().clone()
    }
}

impl Resolve for HostResolver {
    fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Resolved, NetError>> {
        let (resolver, name) = (self.current(), name.to_owned());
        async move { ask(&resolver, &name).await }.boxed_local()
    }
}

impl std::fmt::Debug for HostResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostResolver")
    }
}

fn written_at(file: &str) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn of_files() -> io::Result<TokioResolver> {
    let (config, options) = read_system_conf().unwrap_or_else(|error| {
        tracing::warn!(%error, "no name server is known: only names in /etc/hosts can be resolved");
        (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
    });
    of(config, options)
}

fn of(config: ResolverConfig, mut options: ResolverOpts) -> io::Result<TokioResolver> {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = ANSWERS_KEPT_MAX;
    options.max_active_requests = QUESTIONS_MAX;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.with_options(options).build().map_err(io::Error::other)
}

async fn ask(resolver: &TokioResolver, name: &str) -> Result<Resolved, NetError> {
    // With a dot at its end, so that no search domain is tried.
    let whole = format!("{name}.");
    let found = resolver.lookup_ip(whole.as_str()).await.map_err(|error| match error {
        Failure::Dns(DnsError::NoRecordsFound(_)) => NetError::NameUnresolvable,
        error => {
            tracing::debug!(%error, name, "a name can't be resolved at present");
            NetError::TemporaryResolverFailure
        }
    })?;
    let valid_for = found.valid_until().saturating_duration_since(std::time::Instant::now());
    let addresses: Vec<_> = found.iter().collect();
    match addresses.is_empty() {
        true => Err(NetError::NameUnresolvable),
        false => Ok(Resolved { addresses, valid_for }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::NameServerConfig;
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    const NAME_ERROR: u8 = 3;
    const SERVER_FAILURE: u8 = 2;

    /// Answers every question of kind A by `answer`: a code, and addresses that are valid for two minutes.
    async fn serve(server: UdpSocket, answer: impl Fn(&[u8]) -> (u8, Vec<[u8; 4]>)) {
        let mut question = [0; 1_500];
        loop {
            let (length, from) = server.recv_from(&mut question).await.unwrap();
            let question = &question[..length];
            // The head is 12 bytes long; the name ends with an empty label, and is followed by type and class.
            let name_bytes = 1 + question[12..].iter().position(|byte| *byte == 0).unwrap();
            let asked = &question[12..12 + name_bytes + 4];
            let is_for_v4 = asked[name_bytes..name_bytes + 2] == [0, 1];
            let (code, addresses) = answer(&asked[..name_bytes]);
            let addresses = if is_for_v4 { addresses } else { Vec::new() };
            let mut message = question[..2].to_vec();
            message.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
            message.extend(asked);
            for address in addresses {
                // The name as a pointer to the question's, type A, class IN, its time, its length.
                message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 120, 0, 4]);
                message.extend(address);
            }
            server.send_to(&message, from).await.unwrap();
        }
    }

    fn resolver_for(server: SocketAddr) -> TokioResolver {
        let mut config = NameServerConfig::udp(server.ip());
        config.connections.iter_mut().for_each(|connection| connection.port = server.port());
        let mut options = ResolverOpts::default();
        options.attempts = 1;
        of(ResolverConfig::from_parts(None, Vec::new(), vec![config]), options).unwrap()
    }

    #[tokio::test]
    async fn a_name_servers_answer_is_what_it_says_and_for_how_long() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = resolver_for(server.local_addr().unwrap());
        let answers = serve(server, |name| match name {
            b"\x04good\x07example\0" => (0, vec![[192, 0, 2, 1], [192, 0, 2, 2]]),
            b"\x05empty\x07example\0" => (0, vec![]),
            b"\x06broken\x07example\0" => (SERVER_FAILURE, vec![]),
            _ => (NAME_ERROR, vec![]),
        });
        let asked = async {
            let good = ask(&resolver, "good.example").await.unwrap();
            assert_eq!(good.addresses.len(), 2);
            assert!(good.addresses.contains(&"192.0.2.2".parse().unwrap()));
            let seconds = good.valid_for.as_secs();
            assert!((100..=120).contains(&seconds), "{seconds} s");
            for (name, error) in [
                ("none.example", NetError::NameUnresolvable),
                ("empty.example", NetError::NameUnresolvable),
                ("broken.example", NetError::TemporaryResolverFailure),
            ] {
                assert_eq!(ask(&resolver, name).await.unwrap_err(), error, "{name}");
            }
        };
        tokio::select! {
            () = answers => {}
            () = asked => {}
        }
    }

    #[tokio::test]
    async fn without_a_name_server_nothing_is_known_at_present() {
        let config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        let resolver = of(config, ResolverOpts::default()).unwrap();
        let answer = ask(&resolver, "example.com").await;
        assert_eq!(answer, Err(NetError::TemporaryResolverFailure));
    }
}
