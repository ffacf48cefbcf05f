//! The load balancers that are compared, each with the same targets, on one core: Skiff, nginx, haproxy.
//!
//! Each has one worker, as a core is all it gets, keeps connections to its targets, and writes an access log if it can
//! (haproxy's goes over a socket to a log daemon, so it has none).
//!
//! What always holds: a peer that this machine does not have is left out by name, never a number.

use crate::bench::peers::start;
use crate::bench::processes::Guard;
use crate::bench::servers::Running;
use crate::bench::setup::Bench;
use crate::platform::Platform;
use crate::shell::find;
use anyhow::{Context, bail};
use std::fmt::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Idle connections to a target that each keeps at most.
const KEPT_MAX: usize = 128;
/// How long a target may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A load balancer that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Skiff,
    Nginx,
    Haproxy,
}

impl Proxy {
    pub(super) const ALL: [Self; 3] = [Self::Skiff, Self::Nginx, Self::Haproxy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Skiff => "skiff",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// A server that answers behind a load balancer, on the driver's core.
pub(super) struct Target {
    pub(super) address: String,
    _guard: Guard,
}

impl Target {
    /// Starts one.
    pub(super) fn start(bench: &Bench) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let spawn = || {
            let mut command = Command::new(&bench.native);
            command.args(["--listen", &address]).stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().context("the target can't be started")
        };
        let guard = Guard(bench.cores.on(Some(bench.cores.driver), spawn)?);
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            if began.elapsed() > START_TIMEOUT {
                bail!("the target does not listen on {address} after {} s", START_TIMEOUT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { address, _guard: guard })
    }

    /// Tells it how to answer from now on: `well`, `slowly` or `badly`.
    pub(super) fn behave(&self, how: &str) -> anyhow::Result<()> {
        ureq::get(format!("http://{}/behave/{how}", self.address)).call()?;
        Ok(())
    }

    /// Requests that it had so far.
    pub(super) fn requests(&self) -> anyhow::Result<u64> {
        let mut answer = ureq::get(format!("http://{}/count", self.address)).call()?;
        Ok(answer.body_mut().read_to_string()?.parse()?)
    }
}

/// A load balancer that runs, with what keeps it alive.
pub(super) struct Started {
    pub(super) running: Running,
    /// Skiff's.
    pub(super) platform: Option<Platform>,
}

/// Starts one of them in front of these targets, pinned to the servers' core.
pub(super) fn begin(bench: &Bench, proxy: Proxy, targets: &[Target]) -> anyhow::Result<Started> {
    let addresses: Vec<&str> = targets.iter().map(|target| target.address.as_str()).collect();
    match proxy {
        Proxy::Skiff => skiff(bench, &addresses),
        Proxy::Nginx => nginx(bench, &addresses),
        Proxy::Haproxy => haproxy(bench, &addresses),
    }
}

fn skiff(bench: &Bench, targets: &[&str]) -> anyhow::Result<Started> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    platform.skiff_output(&["target-group", "create", "native", "--outside", &targets.join(",")])?;
    platform.skiff_output(&["listener", "create", "http", "--forward", "native"])?;
    let (address, pid) = (platform.http.clone(), platform.pid());
    let running = Running { host: address.clone(), address, pid, _guard: None };
    Ok(Started { running, platform: Some(platform) })
}

/// A program of Debian's package of its name.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let installed = || Some(PathBuf::from("/usr/sbin").join(name)).filter(|path| path.is_file());
    find(name)
        .or_else(installed)
        .with_context(|| format!("`{name}` is not on the PATH; your system has a package of it"))
}

fn nginx(bench: &Bench, targets: &[&str]) -> anyhow::Result<Started> {
    let servers: String = targets.iter().map(|address| format!("server {address};")).collect();
    start_nginx(bench, &format!("upstream native {{ {servers} keepalive {KEPT_MAX}; }}"), |address| {
        format!(
            "server {{ listen {address}; location / {{ proxy_pass http://native; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; proxy_set_header Host $host; \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
        )
    })
}

/// Starts nginx with one worker; `server` writes the server that listens at an address.
pub(super) fn start_nginx(
    bench: &Bench,
    upstream: &str,
    server: impl FnOnce(&str) -> String,
) -> anyhow::Result<Started> {
    let program = program("nginx")?;
    let folder = bench.new_data_dir();
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("nginx.conf");
    let mut written = Ok(());
    let running = start(bench, crate::bench::servers::Placement::OneCore, |address| {
        let mut text = String::from(
            "worker_processes 1; master_process off; daemon off; error_log stderr crit; pid nginx.pid;\n",
        );
        text.push_str("events { worker_connections 8192; }\nhttp {\n");
        text.push_str("access_log access.log combined buffer=64k; keepalive_requests 1000000000;\n");
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(text, "{kind}_temp_path {kind}_temp;");
        }
        let _ = writeln!(text, "{upstream}\n{}\n}}", server(address));
        written = std::fs::write(&file, text);
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]);
        command
    })?;
    written?;
    Ok(Started { running, platform: None })
}

fn haproxy(bench: &Bench, targets: &[&str]) -> anyhow::Result<Started> {
    let program = program("haproxy")?;
    let folder = bench.new_data_dir();
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("haproxy.cfg");
    let mut written = Ok(());
    let running = start(bench, crate::bench::servers::Placement::OneCore, |address| {
        let mut text = format!(
            "global\n nbthread 1\n maxconn 8192\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n \
             timeout server 60s\n option forwardfor\n option redispatch\n retries 3\n \
             retry-on all-retryable-errors\nfrontend all\n bind {address}\n default_backend native\n\
             backend native\n balance leastconn\n http-reuse always\n option httpchk GET /\n"
        );
        for (index, target) in targets.iter().enumerate() {
            // Checked every second, and watched by its answers, as close to Skiff's defaults as it goes.
            let check = if targets.len() > 1 {
                "check inter 1s fall 2 rise 2 observe layer7 error-limit 5 on-error mark-down"
            } else {
                ""
            };
            let _ = writeln!(text, " server s{index} {target} pool-max-conn {KEPT_MAX} {check}");
        }
        written = std::fs::write(&file, text);
        let mut command = Command::new(program);
        command.arg("-f").arg(&file);
        command
    })?;
    written?;
    Ok(Started { running, platform: None })
}
