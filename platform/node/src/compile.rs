//! Makes components ready to run: checks and compiles each in a `skiff compile` child, and keeps what it made.
//!
//! Compiling can't be cancelled from inside a process, and takes what memory it likes; so a child does it, which bounds
//! itself and is killed past its time. Nothing here parses what a user pushed.

use crate::spawner::Spawner;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use skiff_ports::images::Images;
use skiff_ports::runtime::{ComponentReport, PrepareError};
use skiff_sandbox::cache::NativeCache;
use skiff_types::Digest;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long one component may take to compile.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// The most a child may say, in bytes.
const REPORT_BYTES_MAX: u64 = 1 << 20;

type Preparing = Shared<BoxFuture<'static, Result<ComponentReport, PrepareError>>>;

/// Prepares components; as many at once as there are cores, each one only once at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Compiler(Arc<Inner>);

struct Inner {
    images: Arc<dyn Images>,
    cache: NativeCache,
    reports: PathBuf,
    scratch: PathBuf,
    spawner: Spawner,
    permits: Semaphore,
    running: Mutex<HashMap<Digest, Preparing>>,
}

impl Compiler {
    /// Works in two folders below `dir`, which it makes: one for what is kept, one for what is in the making.
    pub(crate) fn new(
        dir: &Path,
        cache: NativeCache,
        images: Arc<dyn Images>,
        spawner: Spawner,
        at_once: usize,
    ) -> io::Result<Self> {
        let (reports, scratch) = (dir.join("reports"), dir.join("compiling"));
        std::fs::create_dir_all(&reports)?;
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&scratch)?,
        }
        let permits = Semaphore::new(at_once);
        let running = Mutex::default();
        Ok(Self(Arc::new(Inner { images, cache, reports, scratch, spawner, permits, running })))
    }

    /// The component's report, and its native code in the cache.
    pub(crate) async fn prepare(&self, component: &Digest) -> Result<ComponentReport, PrepareError> {
        let preparing = {
            let mut running = self.0.running.lock().expect("no holder panics");
            running.entry(*component).or_insert_with(|| self.start(*component)).clone()
        };
        preparing.await
    }

    /// Prepares in a task of its own: it ends, and gives back its place, even if nobody waits for it any more.
    fn start(&self, component: Digest) -> Preparing {
        let compiler = self.clone();
        let task = tokio::spawn(async move {
            let result = compiler.prepare_once(component).await;
            compiler.0.running.lock().expect("no holder panics").remove(&component);
            result
        });
        task.map(|joined| joined.unwrap_or_else(|error| Err(PrepareError::Internal(error.to_string()))))
            .boxed()
            .shared()
    }

    /// The component's native code, checked, in memory that nobody can change; compiled again if what is kept is
    /// missing or damaged.
    pub(crate) async fn native_code(&self, component: Digest) -> Result<OwnedFd, String> {
        for _ in 0..2 {
            let inner = self.0.clone();
            let loaded = tokio::task::spawn_blocking(move || inner.cache.load(&component)).await;
            match loaded.map_err(|error| error.to_string())? {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => drop(self.prepare(&component).await.map_err(|error| error.to_string())?),
                Err(error) => return Err(format!("its native code can't be read: {error}")),
            }
        }
        Err("its native code was damaged as soon as it was written; check the disk".to_owned())
    }

    /// Removes the native code and reports of all components but these.
    pub(crate) async fn keep(&self, components: BTreeSet<Digest>) -> usize {
        let inner = self.0.clone();
        let collected = tokio::task::spawn_blocking(move || {
            let stays: BTreeSet<String> =
                components.iter().map(|component| inner.report_name(component)).collect();
            for entry in std::fs::read_dir(&inner.reports).into_iter().flatten().flatten() {
                if !stays.contains(entry.file_name().to_string_lossy().as_ref()) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
            inner.cache.keep(&components)
        });
        collected.await.unwrap_or(0)
    }

    async fn prepare_once(&self, component: Digest) -> Result<ComponentReport, PrepareError> {
        let internal = |error: io::Error| PrepareError::Internal(error.to_string());
        if self.0.cache.contains(&component)
            && let Some(report) = self.0.kept_report(&component)
        {
            return Ok(ComponentReport { compile_ms: 0, ..report });
        }
        let path = self.0.images.component_path(&component);
        if !path.exists() {
            return Err(PrepareError::Missing(component));
        }
        let _permit = self.0.permits.acquire().await.map_err(|error| internal(io::Error::other(error)))?;
        let output = self.0.scratch.join(component.hex());
        let report = self.run_child(&path, &component, &output).await?;
        let inner = self.0.clone();
        let kept = report.clone();
        let keeping = tokio::task::spawn_blocking(move || {
            inner.cache.store(&component, &std::fs::read(&output)?)?;
            std::fs::remove_file(&output)?;
            let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
            std::fs::write(inner.reports.join(inner.report_name(&component)), text)
        });
        keeping.await.map_err(|error| internal(error.into()))?.map_err(internal)?;
        Ok(report)
    }

    async fn run_child(
        &self,
        path: &Path,
        component: &Digest,
        output: &Path,
    ) -> Result<ComponentReport, PrepareError> {
        let internal = |error: io::Error| PrepareError::Internal(error.to_string());
        let mut command = Spawner::skiff("compile");
        command.arg("--component").arg(path).arg("--digest").arg(component.to_string());
        command.arg("--native").arg(output).stdout(Stdio::piped());
        let mut child = self.0.spawner.spawn(command).await.map_err(internal)?;
        let stdout = child.stdout.take().expect("piped above");
        let ended = KillOnDrop(child);
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(stdout, REPORT_BYTES_MAX), &mut text).map(|_| text)
        });
        let Ok(text) = tokio::time::timeout(COMPILE_TIMEOUT, reading).await else {
            let seconds = COMPILE_TIMEOUT.as_secs();
            return Err(PrepareError::TooCostly(format!(
                "compiling it took more than {seconds} s, the most there is; make the component smaller"
            )));
        };
        let text = text.map_err(|error| internal(error.into()))?.map_err(internal)?;
        let status = ended.wait().await.map_err(internal)?;
        match serde_json::from_slice(&text) {
            Ok(result) => result,
            Err(_) => Err(PrepareError::TooCostly(format!(
                "the compiler ended without a word ({status}), most likely at its bound of memory or CPU time; make \
                 the component smaller"
            ))),
        }
    }
}

impl Inner {
    fn report_name(&self, component: &Digest) -> String {
        format!("{}.json", component.hex())
    }

    fn kept_report(&self, component: &Digest) -> Option<ComponentReport> {
        let text = std::fs::read(self.reports.join(self.report_name(component))).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// A child that does not outlive whoever waits for it.
struct KillOnDrop(Child);

impl KillOnDrop {
    async fn wait(mut self) -> io::Result<std::process::ExitStatus> {
        tokio::task::spawn_blocking(move || self.0.wait()).await?
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
