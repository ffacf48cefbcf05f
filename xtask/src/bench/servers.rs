//! The servers that are compared: the platform, and the peers that this machine has.

use crate::bench::peers;
use crate::bench::processes::Guard;
use crate::bench::setup::{Bench, deploy_example, example};
use crate::platform::Platform;
use serde::Serialize;

/// Where servers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Placement {
    /// Each server on one core, the same for all, and the driver on another.
    OneCore,
    /// Servers and driver wherever the kernel puts them.
    AllCores,
}

impl Placement {
    /// The core of the servers, if it is one.
    pub(crate) fn server_core(self, bench: &Bench) -> Option<usize> {
        (self == Self::OneCore).then_some(bench.cores.server)
    }

    /// The core of the driver, if it is one.
    pub(crate) fn driver_core(self, bench: &Bench) -> Option<usize> {
        (self == Self::OneCore).then_some(bench.cores.driver)
    }

    /// How many threads a server that must be told is to have.
    pub(crate) fn threads(self, bench: &Bench) -> usize {
        match self {
            Self::OneCore => 1,
            Self::AllCores => bench.cores.count,
        }
    }
}

/// What a server does for a request: like is compared with like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    /// A fresh sandbox of `hello` (WASI 0.2).
    Fresh02,
    /// A fresh sandbox of `hello-p3` (WASI 0.3).
    Fresh03,
    /// `hello-p3` in sandboxes that serve 128 requests, 16 at once.
    Reuse03,
    /// Another runtime with the same answer: compared with all.
    Other,
    /// No sandbox at all: what none of them can reach, and so compared with none.
    Limit,
}

/// A server, or why it is not there.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) ours: bool,
    pub(crate) state: Result<Running, String>,
}

/// A server that runs.
pub(crate) struct Running {
    /// `host:port`.
    pub(crate) address: String,
    /// The `Host` it is asked for.
    pub(crate) host: String,
    /// The first of its processes.
    pub(crate) pid: u32,
    /// Ends a peer with it; the platform is ended by its fleet.
    pub(crate) _guard: Option<Guard>,
}

/// All servers in one placement. Those that are not asked for anything sleep.
pub(crate) struct Fleet {
    pub(crate) servers: Vec<Server>,
    pub(crate) placement: Placement,
    platform: Platform,
}

/// What `skiff` is measured with.
const OURS: [(&str, Kind, &str); 3] = [
    ("skiff, hello (WASI 0.2), fresh sandbox per request", Kind::Fresh02, "hello"),
    ("skiff, hello-p3 (WASI 0.3), fresh sandbox per request", Kind::Fresh03, "hello-p3"),
    ("skiff, hello-p3 (WASI 0.3), reuse 128 x 16", Kind::Reuse03, "hello-p3-reused"),
];

impl Fleet {
    /// Starts them.
    pub(crate) fn start(bench: &Bench, placement: Placement) -> anyhow::Result<Self> {
        let (platform, _) = bench.platform(placement.server_core(bench), &[], &[])?;
        let mut servers = Vec::new();
        for (name, kind, service) in OURS {
            if !is_wanted(bench, name) {
                continue;
            }
            let deployed = match kind {
                Kind::Reuse03 => deploy_reused(bench, &platform, service),
                _ => deploy_example(&platform, service),
            };
            let state = match deployed {
                Ok(()) => Ok(Running {
                    address: platform.http.clone(),
                    host: format!("{service}.localhost"),
                    pid: platform.pid(),
                    _guard: None,
                }),
                // Known by the manifest's complaint: a `skiff` that has no such key.
                Err(error) if kind == Kind::Reuse03 && error.to_string().contains("\"reuse\" is unknown") => {
                    Err("this `skiff` has no `reuse` in its manifest".to_owned())
                }
                Err(error) => return Err(error),
            };
            servers.push(Server { name, kind, ours: true, state });
        }
        for (name, kind, start) in peers::ALL {
            if is_wanted(bench, name) {
                let state = start(bench, placement).map_err(|error| format!("{error:#}"));
                servers.push(Server { name, kind, ours: false, state });
            }
        }
        Ok(Self { servers, placement, platform })
    }

    /// Those that run, with their places in the list.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Server, &Running)> {
        let servers = self.servers.iter().enumerate();
        servers.filter_map(|(index, server)| Some((index, server, server.state.as_ref().ok()?)))
    }

    /// What is not measured, and why.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let missing = |server: &Server| Some(format!("{}: {}", server.name, server.state.as_ref().err()?));
        self.servers.iter().filter_map(missing).collect()
    }

    /// Ends them in order.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        drop(self.servers);
        self.platform.stop()
    }
}

fn is_wanted(bench: &Bench, name: &str) -> bool {
    bench.settings.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
}

/// Deploys `hello-p3` with a manifest that asks for reuse.
fn deploy_reused(bench: &Bench, platform: &Platform, service: &str) -> anyhow::Result<()> {
    let folder = bench.folder().join(service);
    std::fs::create_dir_all(&folder)?;
    let manifest = format!(
        "name = \"{service}\"\ncomponent = \"hello_p3.wasm\"\ncpu = 4096\nmemory = \"1GiB\"\nconcurrency = 500\n\
         reuse = {{ requests = 128, concurrent = 16 }}\n"
    );
    std::fs::write(folder.join("skiff.toml"), manifest)?;
    std::fs::copy(example("hello-p3"), folder.join("hello_p3.wasm"))?;
    platform.skiff_output(&["deploy", &folder.to_string_lossy()]).map(drop)
}
