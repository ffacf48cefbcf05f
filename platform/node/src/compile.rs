//! Makes programs ready to run: checks, initialises (if it is a snapshot) and compiles each in a `skiff compile` child,
//! and keeps what it made.
//!
//! Compiling can't be cancelled from inside a process, and takes what memory it likes; so a child does it, which bounds
//! itself and is killed past its time. Nothing here parses what a user pushed, nor runs it. What is kept goes by the
//! program's key; a snapshot is made again only when its native code is lost, or the engine is another.

use crate::spawner::Spawner;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use skiff_ports::images::Images;
use skiff_ports::native::NativeCode;
use skiff_ports::runtime::{ComponentReport, PrepareError};
use skiff_types::{Digest, Program};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Semaphore;

/// How long one program may take to be made ready.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// The most a child may say, in bytes.
const REPORT_BYTES_MAX: u64 = 1 << 20;

type Preparing = Shared<BoxFuture<'static, Result<ComponentReport, PrepareError>>>;

/// Prepares programs; as many at once as there are cores, each one only once at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Compiler(Arc<Inner>);

struct Inner {
    images: Arc<dyn Images>,
    cache: Arc<dyn NativeCode>,
    reports: PathBuf,
    scratch: PathBuf,
    spawner: Spawner,
    permits: Semaphore,
    /// By key.
    running: Mutex<HashMap<Digest, Preparing>>,
    /// What was asked for in this process's life, by key: so that code which is lost can be made again.
    known: Mutex<HashMap<Digest, Program>>,
}

impl Compiler {
    /// Works in two folders below `dir`, which it makes: one for what is kept, one for what is in the making.
    pub(crate) fn new(
        dir: &Path,
        cache: Arc<dyn NativeCode>,
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
        let (running, known) = (Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { images, cache, reports, scratch, spawner, permits, running, known })))
    }

    /// The program's report, and its native code in the cache.
    pub(crate) async fn prepare(&self, program: &Program) -> Result<ComponentReport, PrepareError> {
        let key = program.key();
        self.0.known.lock().expect("no holder panics").insert(key, program.clone());
        let preparing = {
            let mut running = self.0.running.lock().expect("no holder panics");
            running.entry(key).or_insert_with(|| self.start(key, program.clone())).clone()
        };
        preparing.await
    }

    /// Prepares in a task of its own: it ends, and gives back its place, even if nobody waits for it any more.
    fn start(&self, key: Digest, program: Program) -> Preparing {
        let compiler = self.clone();
        let task = tokio::spawn(async move {
            let result = compiler.prepare_once(key, program).await;
            compiler.0.running.lock().expect("no holder panics").remove(&key);
            result
        });
        task.map(|joined| joined.unwrap_or_else(|error| Err(PrepareError::Internal(error.to_string()))))
            .boxed()
            .shared()
    }

    /// The native code of the program with this key, checked, in memory that nobody can change; made again if what is
    /// kept is missing or damaged.
    pub(crate) async fn native_code(&self, key: Digest) -> Result<OwnedFd, String> {
        for _ in 0..2 {
            let inner = self.0.clone();
            let loaded = tokio::task::spawn_blocking(move || inner.cache.load(&key)).await;
            match loaded.map_err(|error| error.to_string())? {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => {
                    let program = self.0.known.lock().expect("no holder panics").get(&key).cloned();
                    let program = program.ok_or("its native code is gone, and no task runs it any more")?;
                    drop(self.prepare(&program).await.map_err(|error| error.to_string())?);
                }
                Err(error) => return Err(format!("its native code can't be read: {error}")),
            }
        }
        Err("its native code was damaged as soon as it was written; check the disk".to_owned())
    }

    /// Removes the native code and reports of all programs but those with these keys.
    pub(crate) async fn keep(&self, keys: BTreeSet<Digest>) -> usize {
        self.0.known.lock().expect("no holder panics").retain(|key, _| keys.contains(key));
        let inner = self.0.clone();
        let collected = tokio::task::spawn_blocking(move || {
            let stays: BTreeSet<String> = keys.iter().map(|key| inner.report_name(key)).collect();
            for entry in std::fs::read_dir(&inner.reports).into_iter().flatten().flatten() {
                if !stays.contains(entry.file_name().to_string_lossy().as_ref()) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
            inner.cache.keep(&keys)
        });
        collected.await.unwrap_or(0)
    }

    async fn prepare_once(&self, key: Digest, program: Program) -> Result<ComponentReport, PrepareError> {
        let internal = |error: io::Error| PrepareError::Internal(error.to_string());
        if self.0.cache.contains(&key)
            && let Some(report) = self.0.kept_report(&key)
        {
            return Ok(ComponentReport { compile_ms: 0, ..report });
        }
        let path = self.0.images.component_path(&program.component);
        if !path.exists() {
            return Err(PrepareError::Missing(program.component));
        }
        let _permit = self.0.permits.acquire().await.map_err(|error| internal(io::Error::other(error)))?;
        let output = self.0.scratch.join(key.hex());
        let report = self.run_child(&path, &program, &output).await?;
        let inner = self.0.clone();
        let kept = report.clone();
        let keeping = tokio::task::spawn_blocking(move || {
            inner.cache.store(&key, &std::fs::read(&output)?)?;
            std::fs::remove_file(&output)?;
            let text = serde_json::to_vec(&kept).map_err(io::Error::other)?;
            std::fs::write(inner.reports.join(inner.report_name(&key)), text)
        });
        keeping.await.map_err(|error| internal(error.into()))?.map_err(internal)?;
        Ok(report)
    }

    async fn run_child(
        &self,
        path: &Path,
        program: &Program,
        output: &Path,
    ) -> Result<ComponentReport, PrepareError> {
        let internal = |error: io::Error| PrepareError::Internal(error.to_string());
        let mut command = Spawner::skiff("compile");
        command.arg("--component").arg(path).arg("--digest").arg(program.component.to_string());
        command.arg("--native").arg(output).stdin(Stdio::piped()).stdout(Stdio::piped());
        if program.snapshot.is_some() {
            command.arg("--snapshot");
        }
        // Not by the command line or the environment, which any process of this user can read.
        let environment = program.snapshot.as_ref().map(serde_json::to_vec).transpose();
        let environment = environment.map_err(|error| internal(error.into()))?;
        let mut child = self.0.spawner.spawn(command).await.map_err(internal)?;
        let stdin = ChildStdin::from_std(child.stdin.take().expect("piped above"));
        let stdout = ChildStdout::from_std(child.stdout.take().expect("piped above"));
        let ended = KillOnDrop(child);
        let talking =
            talk(stdin.map_err(internal)?, environment.unwrap_or_default(), stdout.map_err(internal)?);
        let Ok(text) = tokio::time::timeout(COMPILE_TIMEOUT, talking).await else {
            let seconds = COMPILE_TIMEOUT.as_secs();
            return Err(PrepareError::TooCostly(format!(
                "making it ready took more than {seconds} s, the most there is; make the component smaller"
            )));
        };
        let text = text.map_err(internal)?;
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
    fn report_name(&self, key: &Digest) -> String {
        format!("{}.json", key.hex())
    }

    fn kept_report(&self, key: &Digest) -> Option<ComponentReport> {
        let text = std::fs::read(self.reports.join(self.report_name(key))).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Tells a child what it is to know, and reads all that it says. On no thread of its own: there are as many children as
/// cores, and fewer threads for what blocks.
async fn talk(mut stdin: ChildStdin, environment: Vec<u8>, stdout: ChildStdout) -> io::Result<Vec<u8>> {
    let tell = async move {
        // A child that does not read to the end says why on its standard output.
        let _ = stdin.write_all(&environment).await;
    };
    let (mut text, mut stdout) = (Vec::new(), stdout.take(REPORT_BYTES_MAX));
    let ((), read) = tokio::join!(tell, stdout.read_to_end(&mut text));
    read.map(|_| text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::process::Command;

    async fn echoed(text: &[u8]) -> Vec<u8> {
        let mut child = Command::new("cat");
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut child = KillOnDrop(child);
        let stdin = ChildStdin::from_std(child.0.stdin.take().unwrap()).unwrap();
        let stdout = ChildStdout::from_std(child.0.stdout.take().unwrap()).unwrap();
        talk(stdin, text.to_vec(), stdout).await.unwrap()
    }

    #[test]
    fn children_are_talked_with_while_no_thread_is_left_that_may_block() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            // More than a pipe holds: both ends must go on at once.
            let text = vec![7; 256 << 10];
            let texts = join_all((0..3).map(|_| echoed(&text))).await;
            assert!(texts.iter().all(|echoed| *echoed == text));
            drop(done);
            assert!(busy.await.unwrap().is_err());
        });
    }
}
