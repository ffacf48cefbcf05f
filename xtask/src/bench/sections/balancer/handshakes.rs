//! How many full handshakes of TLS 1.3 a second of CPU is enough for.

use super::proxies::{Started, program, start_nginx};
use crate::bench::compare::ratio;
use crate::bench::processes;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::servers::Running;
use crate::bench::setup::Bench;
use crate::bench::stats::Spread;
use crate::shell::output;
use anyhow::{Context, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;

/// Connections at once, each of which makes a handshake, asks once, and ends.
const CONNECTIONS: usize = 16;

/// A certificate of its own name, and its key.
pub(super) struct Certificate {
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
}

impl Certificate {
    /// Makes one with a key on the curve P-256, by `openssl`.
    pub(super) fn make(bench: &Bench, name: &str) -> anyhow::Result<Self> {
        let folder = bench.new_data_dir();
        std::fs::create_dir_all(&folder)?;
        let made = Self { certificate: folder.join("cert.pem"), private_key: folder.join("key.pem") };
        let mut command = Command::new(program("openssl")?);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "30", "-subj", &format!("/CN={name}")]);
        command.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
        command.arg("-out").arg(&made.certificate).arg("-keyout").arg(&made.private_key);
        output(&mut command)?;
        Ok(made)
    }
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let certificate = Certificate::make(bench, "bench.localhost")?;
    let servers = [("skiff", skiff(bench, &certificate)?), ("nginx", nginx(bench, &certificate)?)];
    let mut rounds: [Vec<f64>; 2] = Default::default();
    for _ in 0..=bench.settings.rounds {
        for (rounds, (name, server)) in rounds.iter_mut().zip(&servers) {
            let per_cpu_second = round(bench, &server.running)?;
            println!("{name}: {per_cpu_second:.0} handshakes per CPU second");
            rounds.push(per_cpu_second);
        }
    }
    // The first of each warmed it up.
    let rounds = rounds.map(|rounds| rounds[1..].to_vec());
    let rows = servers
        .iter()
        .zip(&rounds)
        .map(|((name, _), rounds)| vec![(*name).to_owned(), Spread::of(rounds.iter().copied()).to_string()]);
    let share = ratio((&rounds[0], &rounds[1]), |per_cpu_second: &f64| *per_cpu_second);
    let section = Section {
        method: vec![format!(
            "handshakes: `wrk` with {CONNECTIONS} connections at once, each of which ends with its first answer; TLS 1.3, \
             ECDSA on P-256, no session is taken up again; the answer is a fixed one"
        )],
        tables: vec![Table {
            title: "Handshakes of TLS".to_owned(),
            header: vec!["load balancer", "handshakes per CPU second"],
            rows: rows.collect(),
        }],
        goals: vec![Goal::at_least("handshakes per CPU second, of nginx's", share, 0.9, "")],
        data: json!({ "skiff": rounds[0], "nginx": rounds[1] }),
        ..Section::default()
    };
    for (_, Started { platform, .. }) in servers {
        platform.map_or(Ok(()), |platform| platform.stop())?;
    }
    Ok(section)
}

fn skiff(bench: &Bench, certificate: &Certificate) -> anyhow::Result<Started> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    import(&platform, "bench", certificate)?;
    let port = port.to_string();
    let listener = ["listener", "create", "secure", "--port", &port, "--protocol", "https"];
    platform.skiff_output(&[&listener[..], &["--certificate", "bench", "--respond", "200"]].concat())?;
    let (address, pid) = (format!("127.0.0.1:{port}"), platform.pid());
    let running = Running { host: "bench.localhost".to_owned(), address, pid, _guard: None };
    Ok(Started { running, platform: Some(platform) })
}

/// Imports a certificate, or exchanges it.
pub(super) fn import(
    platform: &crate::platform::Platform,
    name: &str,
    certificate: &Certificate,
) -> anyhow::Result<()> {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let (chain, key) = (path(&certificate.certificate), path(&certificate.private_key));
    platform.skiff_output(&["cert", "import", name, "--certificate", &chain, "--private-key", &key]).map(drop)
}

fn nginx(bench: &Bench, certificate: &Certificate) -> anyhow::Result<Started> {
    start_nginx(bench, "", |address| {
        format!(
            "server {{ listen {address} ssl; ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3; \
             location / {{ return 200; }} }}",
            certificate.certificate.display(),
            certificate.private_key.display()
        )
    })
}

fn round(bench: &Bench, server: &Running) -> anyhow::Result<f64> {
    let before = processes::cpu(server.pid)?;
    let handshakes = wrk(bench, &server.address, CONNECTIONS, bench.settings.seconds)?;
    let cpu = processes::cpu(server.pid)? - before;
    Ok(handshakes as f64 / cpu.as_secs_f64())
}

/// Has `wrk` make a connection for each request; says how many were answered. An error if one was not answered well.
pub(super) fn wrk(bench: &Bench, address: &str, connections: usize, seconds: f64) -> anyhow::Result<u64> {
    let mut command = Command::new(program("wrk")?);
    let seconds = (seconds.ceil() as u64).max(1);
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "-H", "Connection: close"]);
    command.arg(format!("https://{address}/"));
    let said = bench.cores.on(Some(bench.cores.driver), || output(&mut command))?;
    // wrk counts an end that it was told of as no error.
    if let Some(error) = said.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"))
    {
        bail!("not all connections to {address} were answered: {}", error.trim());
    }
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in ")).map(|(count, _)| count);
    count.and_then(|count| count.parse().ok()).with_context(|| format!("wrk said {said:?}"))
}
