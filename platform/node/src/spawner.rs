//! Starts child processes from one thread that lives as long as the supervisor.
//!
//! A child asks the kernel to be killed when its parent dies, and to the kernel the parent is the *thread* that
//! started it (prctl(2), `PR_SET_PDEATHSIG`): were that a thread of a pool, the pool could kill workers by resting.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::oneshot;

/// What of the environment children get, besides what begins as [`PASSED_ON_PREFIXES`] say: the rest may be keys of the supervisor's,
/// such as those of an object store, and guests run in its children.
const PASSED_ON: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "RES_OPTIONS", "LOCALDOMAIN"];
const PASSED_ON_PREFIXES: [&str; 3] = ["RUST_", "MIMALLOC_", "SKIFF_LOG"];

type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts child processes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
    started: Arc<Mutex<Vec<u32>>>,
}

impl Spawner {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let started = Arc::<Mutex<Vec<u32>>>::default();
        let noted = started.clone();
        std::thread::Builder::new().name("spawner".into()).spawn(move || {
            while let Ok((mut command, reply)) = inbox.recv() {
                let spawned = command.spawn();
                if let Ok(child) = &spawned {
                    noted.lock().expect("no holder panics").push(child.id());
                }
                if let Err(Ok(mut child)) = reply.send(spawned) {
                    // Whoever asked is gone: nobody would ever end or reap it.
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
        Ok(Self { orders, started })
    }

    /// Starts `skiff` itself, the very file that runs now, with a subcommand.
    pub(crate) fn skiff(subcommand: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg(subcommand).arg("--supervisor").arg(std::process::id().to_string());
        let is_passed_on = |name: &str| {
            PASSED_ON.contains(&name) || PASSED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        command.env_clear().envs(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, _)| is_passed_on(name)),
        );
        // A backtrace in an error costs a guest's every failure, and would tell guests of the host's inside.
        command.env("RUST_LIB_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::null());
        // Ctrl-C in a terminal is for the supervisor alone, which lets its children finish what is in flight.
        command.process_group(0);
        command
    }

    /// The children that were started and, as `is_there` says, are not yet gone; those that are, are forgotten.
    pub(crate) fn children(&self, is_there: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut started = self.started.lock().expect("no holder panics");
        started.retain(|pid| is_there(*pid));
        started.clone()
    }

    /// Starts a command.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.orders.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
