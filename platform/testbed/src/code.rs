//! Guests as components and as native code, and where sandboxes get that from.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use sha2::{Digest as _, Sha256};
use skiff_ports::runtime::ComponentReport;
use skiff_ports::snapshot::TaskSpec;
use skiff_sandbox::cache::NativeCache;
use skiff_sandbox::{CodeSource, InitializationBounds, compile, engine};
use skiff_types::{Command, Digest, HealthCheck, Limits, Name, Program, TaskDefinitionId};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// Where the guests of tests are, seen from the repository's root.
pub const GUESTS: &str = "platform/server/tests/guests";

/// Where a guest's component lies, built if need be: the package of that name in this folder (seen from the repository's root),
/// and the file that comes out.
pub fn build(folder: &str, package: &str, file: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let _one_at_a_time = BUILDING.lock();
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "-p", package])
        .current_dir(&folder)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "the guest {package} does not build");
    folder.join("target/wasm32-wasip2/release").join(file)
}

/// A component as it was pushed, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// The component's digest, which its native code goes by.
    pub digest: Digest,
    /// What the check found.
    pub report: ComponentReport,
    /// Its native code.
    pub native: Vec<u8>,
}

impl Compiled {
    /// Compiles a component in the text format.
    pub fn from_text(text: &str) -> Self {
        Self::new(&wat::parse_str(text).unwrap_or_else(|error| panic!("sound text: {error}")))
    }

    /// Compiles a component.
    pub fn new(component: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, output) = (dir.path().join("component.wasm"), dir.path().join("native"));
        std::fs::write(&path, component).expect("written");
        let digest = Digest::from_bytes(Sha256::digest(component).into());
        let program = Program::as_pushed(digest);
        let report = compile::compile(&path, &program, &output, InitializationBounds::default());
        let report = report.expect("it compiles");
        Self { digest, report, native: std::fs::read(output).expect("written") }
    }

    /// What a task of this family runs, with nothing set that has a default.
    pub fn spec(&self, family: Name) -> TaskSpec {
        TaskSpec {
            definition: TaskDefinitionId { family, revision: 1 },
            kind: self.report.kind,
            generation: self.report.generation,
            program: self.digest,
            limits: Limits::default(),
            command: Command::default(),
            port: None,
            health_check: HealthCheck::default(),
        }
    }
}

/// A cache of native code, in a folder that goes with it.
pub struct NativeCode {
    cache: NativeCache,
    _dir: tempfile::TempDir,
}

impl NativeCode {
    /// One that holds these.
    pub fn of<'a>(compiled: impl IntoIterator<Item = &'a Compiled>) -> Self {
        static COMPATIBILITY: OnceLock<String> = OnceLock::new();
        let compatibility = COMPATIBILITY.get_or_init(|| engine::compatibility().expect("an engine"));
        let dir = tempfile::tempdir().expect("a folder");
        let cache = NativeCache::open(dir.path(), [7; 32], compatibility.clone()).expect("a cache");
        for compiled in compiled {
            cache.store(&compiled.digest, &compiled.native).expect("kept");
        }
        Self { cache, _dir: dir }
    }
}

impl CodeSource for NativeCode {
    fn fetch(&self, program: Digest) -> LocalBoxFuture<'_, Result<OwnedFd, String>> {
        async move {
            let loaded = self.cache.load(&program).map_err(|error| error.to_string())?;
            loaded.ok_or_else(|| "it is not in the cache".to_owned())
        }
        .boxed_local()
    }
}
