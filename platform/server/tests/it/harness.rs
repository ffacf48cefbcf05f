//! A platform of its own for each test: a temporary data folder, free ports, ended with the test. What it logs is shown
//! if the test fails.

use serde_json::Value;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that a test waits for: far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a platform's log is, in the folder around its data.
const LOG: &str = "skiff.log";

/// A running `skiff up`.
pub(crate) struct Platform {
    dir: TempDir,
    child: Child,
    /// `host:port` of the load balancer.
    pub(crate) http: String,
    /// `host:port` of the API.
    pub(crate) api: String,
    /// `host:port` of the S3 endpoint.
    pub(crate) s3: String,
    /// What API calls carry.
    pub(crate) token: String,
    arguments: Vec<String>,
}

/// An answer that came through the load balancer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Platform {
    /// Starts one with these further arguments; it has two workers, unless they say otherwise.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(dir, arguments.iter().map(|argument| argument.to_string()).collect())
    }

    /// Starts one whose processes resolve names as this `resolv.conf` says, where [`may_mount`].
    pub(crate) fn start_resolving(resolv_conf: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, resolv_conf).expect("a writable folder");
        let command = with_mount(&up(dir.path()), &file, "/etc/resolv.conf");
        Self::start_by(command, dir, arguments.iter().map(|argument| argument.to_string()).collect())
    }

    /// Starts one in a process group of its own, as a shell starts a program in a terminal.
    pub(crate) fn start_in_group() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = up(dir.path());
        command.process_group(0);
        Self::start_by(command, dir, Vec::new())
    }

    fn start_in(dir: TempDir, arguments: Vec<String>) -> Self {
        Self::start_by(up(dir.path()), dir, arguments)
    }

    fn start_by(mut command: Command, dir: TempDir, arguments: Vec<String>) -> Self {
        let ready_file = dir.path().join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let log = File::options().create(true).append(true).open(dir.path().join(LOG)).expect("a log");
        let workers: &[&str] =
            if arguments.iter().any(|argument| argument == "--workers") { &[] } else { &["--workers", "2"] };
        let child = command
            .args(workers)
            .args(&arguments)
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .arg("--ready-file")
            .arg(&ready_file)
            .spawn()
            .expect("skiff starts");
        let mut platform = Self {
            dir,
            child,
            http: String::new(),
            api: String::new(),
            s3: String::new(),
            token: String::new(),
            arguments,
        };
        let ready: Value = eventually("the platform is ready", || {
            assert!(platform.child.try_wait().unwrap().is_none(), "`skiff up` ended");
            serde_json::from_slice(&std::fs::read(&ready_file).ok()?).ok()
        });
        let text = |key: &str| ready[key].as_str().unwrap_or_else(|| panic!("{key} in {ready}")).to_owned();
        (platform.http, platform.api, platform.s3) = (text("http"), text("api"), text("s3"));
        platform.token = std::fs::read_to_string(text("token_file")).unwrap().trim().to_owned();
        assert_eq!(ready["pid"], platform.pid());
        platform
    }

    /// The same data folder under a new process; the old one must have ended.
    pub(crate) fn restart(self) -> Self {
        let (dir, arguments) = self.into_parts();
        Self::start_in(dir, arguments)
    }

    /// The same data folder under a new process with other arguments; the old one must have ended.
    pub(crate) fn restart_with(self, arguments: &[&str]) -> Self {
        let (dir, _) = self.into_parts();
        Self::start_in(dir, arguments.iter().map(|argument| argument.to_string()).collect())
    }

    fn into_parts(mut self) -> (TempDir, Vec<String>) {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (dir, std::mem::take(&mut self.arguments))
    }

    /// The supervisor's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The temporary folder around it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// SIGKILL, and waits for the end of the supervisor.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        signal(self.pid(), "TERM");
    }

    /// SIGINT to its whole process group, as a terminal sends it at Ctrl-C; for one of [`Self::start_in_group`].
    pub(crate) fn interrupt_group(&self) {
        kill("INT", &format!("-{}", self.pid()));
    }

    /// What it and its workers have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the platform ends", || child.try_wait().unwrap())
    }

    /// A CLI command against this platform.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = skiff();
        command
            .args(arguments)
            .env("SKIFF_API", format!("http://{}", self.api))
            .env("SKIFF_TOKEN", &self.token);
        command.env("HOME", self.dir.path()).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }

    /// Runs a CLI command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("skiff runs")
    }

    /// Runs a CLI command that must succeed; what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skiff {arguments:?} failed: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a CLI command that must succeed; its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} printed {text:?}: {error}"))
    }

    /// Runs a CLI command that must fail with status 1; what it said.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "skiff {arguments:?}: {stderr}");
        stderr
    }

    /// Where a guest's component lies; one that is written by hand (`NAME.wat`) is put beside the platform's data.
    pub(crate) fn component(&self, guest: &str) -> PathBuf {
        if !guest.ends_with(".wat") {
            return guest_path(guest);
        }
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/wat").join(guest);
        let path = self.dir.path().join(guest).with_extension("wasm");
        std::fs::write(&path, wat::parse_file(text).expect("sound text")).expect("a writable folder");
        path
    }

    /// Deploys a guest as a service of this name.
    pub(crate) fn deploy(&self, guest: &str, name: &str, arguments: &[&str]) {
        let path = self.component(guest);
        self.ok(&[&["deploy", path.to_str().unwrap(), "--name", name], arguments].concat());
    }

    /// The workers' process ids, by seat.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let status = self.json(&["status"]);
        let workers = status["workers"].as_array().unwrap();
        workers.iter().map(|worker| worker["pid"].as_u64().unwrap_or(0) as u32).collect()
    }

    /// A GET through the load balancer, on a connection of its own.
    pub(crate) async fn get(&self, service: &str, path: &str) -> Answer {
        self.try_get(service, path).await.unwrap_or_else(|error| panic!("GET {service} {path}: {error:?}"))
    }

    /// A GET that may fail.
    pub(crate) async fn try_get(&self, service: &str, path: &str) -> reqwest::Result<Answer> {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build()?;
        self.get_with(&client, service, path).await
    }

    /// A GET by a client that keeps its connections.
    pub(crate) async fn get_with(
        &self,
        client: &reqwest::Client,
        service: &str,
        path: &str,
    ) -> reqwest::Result<Answer> {
        let request =
            client.get(format!("http://{}{path}", self.http)).header("host", format!("{service}.localhost"));
        answer(request.send().await?).await
    }

    /// A POST through the load balancer.
    pub(crate) async fn post(&self, service: &str, path: &str, body: Vec<u8>) -> Answer {
        let client = reqwest::Client::new();
        let request =
            client.post(format!("http://{}{path}", self.http)).header("host", format!("{service}.localhost"));
        answer(request.body(body).send().await.unwrap()).await.unwrap()
    }

    /// The value of a metric's series, or 0 where there is none yet.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = reqwest::get(format!("http://{}/metrics", self.api)).await.unwrap().text().await.unwrap();
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the platform of the test that failed logged:\n{}", self.log());
        }
    }
}

async fn answer(response: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

/// The binary under test: the one that was built with the tests, unless `SKIFF_BINARY` names another.
pub(crate) fn skiff() -> Command {
    let named = std::env::var_os("SKIFF_BINARY");
    Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_skiff").into()))
}

/// `skiff up` on the data folder in `dir`, on free ports, with a HOME of its own.
pub(crate) fn up(dir: &Path) -> Command {
    let mut command = skiff();
    command.args([
        "up",
        "--http",
        "127.0.0.1:0",
        "--api",
        "127.0.0.1:0",
        "--s3",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(dir.join("data")).env("HOME", dir).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
    command
}

/// The same command where `file` is in the place of another, for it and its children alone.
fn with_mount(command: &Command, file: &Path, place: &str) -> Command {
    let mut mounted = Command::new("unshare");
    mounted.args(["--mount", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""]);
    mounted.arg(file).arg(place).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => mounted.env(name, value),
            None => mounted.env_remove(name),
        };
    }
    mounted.stdin(Stdio::null());
    mounted
}

/// Whether a test may let its processes see other files than there are, which takes the rights of root.
pub(crate) fn may_mount() -> bool {
    let mut tried = with_mount(&Command::new("true"), Path::new("/dev/null"), "/etc/resolv.conf");
    tried.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    kill(name, &pid.to_string());
}

/// Sends a signal to a process, or to a process group, whose number has a minus sign before it (kill(1)).
fn kill(name: &str, target: &str) {
    let status = Command::new("kill").args(["-s", name, "--", target]).status().unwrap();
    assert!(status.success(), "kill -s {name} -- {target}");
}

/// Whether a process is there and not a zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Where a guest was built: one of the tests' own, or an example.
pub(crate) fn guest_path(guest: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let release = "target/wasm32-wasip2/release";
    let file = format!("{}.wasm", guest.replace('-', "_"));
    let places = [root.join("tests/guests").join(release), root.join("../../examples").join(release)];
    let candidates = places.iter().flat_map(|place| [place.join(&file), place.join(format!("{guest}.wasm"))]);
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{file} is not built; run the tests with `cargo xtask test`"))
}

/// Waits until `look` finds something.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain until {what}"))
}

/// Waits until `look` finds something, but no longer than so long.
pub(crate) fn within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = look();
        if found.is_some() || started.elapsed() >= patience {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of the host's that nobody has at present, for what can't be told to take any.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
