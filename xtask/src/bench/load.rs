//! The load driver, started and read.

use crate::bench::processes::Guard;
use crate::bench::setup::{Arrivals, Bench};
use crate::shell::output;
use anyhow::{Context, bail};
use skiff_driver::Outcome;
use std::process::{Command, Stdio};

/// A load on a server.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// `host:port`.
    pub(crate) address: String,
    /// The `Host` headers, in turn.
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    /// Requests due per second; as fast as the server answers where there is none.
    pub(crate) rate: Option<f64>,
    /// How they arrive where a rate is given, and what chance in it follows from.
    pub(crate) arrivals: Arrivals,
    pub(crate) seed: u64,
    /// How many requests at most.
    pub(crate) requests: Option<usize>,
    /// The core that the driver runs on; any where there is none.
    pub(crate) core: Option<usize>,
}

impl Load {
    /// On one host's root path, from as many connections and for as long as the settings say.
    pub(crate) fn new(bench: &Bench, address: &str, host: &str) -> Self {
        Self {
            address: address.to_owned(),
            hosts: vec![host.to_owned()],
            path: "/".to_owned(),
            connections: bench.settings.connections,
            seconds: bench.settings.seconds,
            rate: None,
            arrivals: bench.settings.arrivals,
            seed: 1,
            requests: None,
            core: None,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, bench: &Bench) -> anyhow::Result<Outcome> {
        let text = bench.cores.on(self.core, || output(&mut self.command(bench)))?;
        serde_json::from_str(&text).with_context(|| format!("the driver said {text:?}"))
    }

    /// Runs it to its end; an error if a request was not answered well.
    pub(crate) fn run_soundly(&self, bench: &Bench) -> anyhow::Result<Outcome> {
        let outcome = self.run(bench)?;
        if outcome.errors.total() > 0 || outcome.answered == 0 {
            bail!(
                "{} at {} gave {} answers, and these errors: {}",
                self.hosts.first().map_or("the server", String::as_str),
                self.address,
                outcome.answered,
                outcome.errors
            );
        }
        Ok(outcome)
    }

    /// Starts it; it goes on until it is dropped.
    pub(crate) fn start(&self, bench: &Bench) -> anyhow::Result<Guard> {
        let spawn = || {
            let mut command = self.command(bench);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().context("the driver can't be started")
        };
        Ok(Guard(bench.cores.on(self.core, spawn)?))
    }

    fn command(&self, bench: &Bench) -> Command {
        let mut command = Command::new(&bench.driver);
        command.arg(&self.address).args(["--output", "json", "--path", &self.path]);
        command.args([
            "--connections",
            &self.connections.to_string(),
            "--seconds",
            &self.seconds.to_string(),
        ]);
        for host in &self.hosts {
            command.args(["--host", host]);
        }
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string(), "--arrivals", self.arrivals.word()]);
            command.args(["--seed", &self.seed.to_string()]);
        }
        if let Some(requests) = self.requests {
            command.args(["--requests", &requests.to_string()]);
        }
        command
    }
}
