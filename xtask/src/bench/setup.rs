//! What all sections share: the settings, the programs, the cores, and platforms started for a measurement.

use crate::bench::Args;
use crate::bench::cores::Cores;
use crate::platform::Platform;
use crate::shell::{build_guests, build_programs, root};
use anyhow::{Context, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;

/// How requests of an open loop arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// With equal gaps
    Constant,
    /// With exponentially distributed gaps, as independent clients make them
    Poisson,
}

impl Arrivals {
    /// As the driver is told.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// What was chosen, as the report says it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Of load in a round.
    pub(crate) seconds: f64,
    pub(crate) connections: usize,
    pub(crate) arrivals: Arrivals,
    pub(crate) rate: Option<f64>,
    pub(crate) only: Option<String>,
    /// Cold starts of each component, and deploys of it.
    pub(crate) cold_starts: usize,
    pub(crate) deploys: usize,
    pub(crate) sandboxes: usize,
    pub(crate) services: usize,
    pub(crate) components: usize,
    /// Trials of each recovery.
    pub(crate) trials: usize,
    pub(crate) without: Vec<String>,
    pub(crate) up: Vec<String>,
}

impl Settings {
    fn of(args: &Args) -> Self {
        let quick = args.quick;
        let or = |full: usize, short: usize| if quick { short } else { full };
        Self {
            quick,
            rounds: args.rounds.unwrap_or(or(5, 2)),
            seconds: args.seconds.unwrap_or(if quick { 1.0 } else { 5.0 }),
            connections: args.connections,
            arrivals: args.arrivals,
            rate: args.rate,
            only: args.only.clone(),
            cold_starts: or(500, 50),
            deploys: or(20, 3),
            sandboxes: args.sandboxes.unwrap_or(or(10_000, 200)),
            services: args.services.unwrap_or(or(20_000, 200)),
            components: args.components.unwrap_or(or(100, 5)),
            trials: or(20, 3),
            without: args.without.clone(),
            up: args.up.clone(),
        }
    }
}

/// What all sections share.
pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) cores: Cores,
    pub(crate) binary: PathBuf,
    pub(crate) driver: PathBuf,
    pub(crate) native: PathBuf,
    folder: TempDir,
    platforms: AtomicUsize,
}

impl Bench {
    /// Finds the cores and builds what is measured, and what measures it.
    pub(crate) fn prepare(args: &Args) -> anyhow::Result<Self> {
        let settings = Settings::of(args);
        if settings.rounds == 0 || settings.components == 0 || settings.services < settings.components {
            bail!("there must be a round, a component, and at least as many services as components");
        }
        build_guests()?;
        let release = build_programs("release")?;
        let binary = match &args.binary {
            Some(path) => std::path::absolute(path)?,
            None => release.join("skiff"),
        };
        if !binary.is_file() {
            bail!("{} is not there; build it, or leave out --binary", binary.display());
        }
        Ok(Self {
            settings,
            cores: Cores::find()?,
            binary,
            driver: release.join("skiff-driver"),
            native: release.join("skiff-native"),
            folder: tempfile::tempdir().context("a temporary folder can't be made")?,
            platforms: AtomicUsize::new(0),
        })
    }

    /// A folder for what sections write.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A data folder that nobody has used yet.
    pub(crate) fn new_data_dir(&self) -> PathBuf {
        let number = self.platforms.fetch_add(1, Relaxed) + 1;
        self.folder.path().join(format!("data-{number}"))
    }

    /// Starts a platform on free ports and new data, pinned to a core if one is given; says how long it took.
    pub(crate) fn platform(
        &self,
        core: Option<usize>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<(Platform, Duration)> {
        self.platform_on(&self.new_data_dir(), core, arguments, environment)
    }

    /// The same, on data that there may be already.
    pub(crate) fn platform_on(
        &self,
        data_dir: &Path,
        core: Option<usize>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<(Platform, Duration)> {
        let mut all = vec!["--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--s3", "127.0.0.1:0"];
        if core.is_some() && !arguments.contains(&"--workers") {
            all.extend(["--workers", "1"]);
        }
        all.extend(arguments);
        all.extend(self.settings.up.iter().map(String::as_str));
        self.cores.on(core, || Platform::start_under(&self.binary, data_dir, &all, environment))
    }
}

/// More CPU and memory than any measurement of the platform itself uses, so that no quota of the task is what is seen.
pub(crate) const AMPLE: [&str; 6] = ["--cpu", "4096", "--memory", "1GiB", "--concurrency", "500"];

/// Deploys an example with ample quotas.
pub(crate) fn deploy_example(platform: &Platform, example: &str) -> anyhow::Result<()> {
    platform.skiff(&[&["deploy", &format!("examples/{example}")][..], &AMPLE].concat())
}

/// The component of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    root().join(format!("examples/target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")))
}

/// The component that misbehaves as its path says.
pub(crate) fn misbehave() -> PathBuf {
    guest("misbehave")
}

/// The component of a guest of the tests.
pub(crate) fn guest(name: &str) -> PathBuf {
    let file = format!("{}.wasm", name.replace('-', "_"));
    root().join("platform/server/tests/guests/target/wasm32-wasip2/release").join(file)
}

/// The component with a custom section of its own at its end: another digest, the same program.
///
/// A custom section is id 0, its size, and a name with its size (WebAssembly 2.0, section 5.5.3).
pub(crate) fn marked(component: &[u8], mark: &str) -> Vec<u8> {
    assert!(mark.len() + 1 < 0x80, "sizes below 128 are one byte in LEB128");
    let sizes = [0, mark.len() as u8 + 1, mark.len() as u8];
    [component, &sizes, mark.as_bytes()].concat()
}
