//! A worker's sandboxes without a worker: guests built on first use, compiled once, and run on the test's own thread.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};
use skiff_ledger::{Ledger, TaskSlot};
use skiff_ports::body::{self, Body};
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::logs::LogStream;
use skiff_ports::runtime::{ComponentReport, PrepareError, TaskEvent};
use skiff_ports::snapshot::{Assignment, TaskSpec};
use skiff_sandbox::cache::NativeCache;
use skiff_sandbox::{
    Capability, CodeBounds, CodeSource, Config, Deps, InitializationBounds, Sandboxes, compile, engine,
};
use skiff_testbed::{GUESTS, Lines, build, until};
use skiff_types::{
    Command, Digest, HealthCheck, Kind, Limits, Name, Namespace, Program, QualifiedName, TaskDefinitionId,
    TaskId,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// More code stays mapped than any test has that says nothing else.
const CODE_BOUNDS: CodeBounds = CodeBounds { components: 100, bytes: 1 << 30 };

/// A component to test with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Guest {
    /// The example of that name.
    Hello,
    /// Does what a path asks for, on WASI 0.2.
    Misbehave,
    /// The same on 0.3.
    MisbehaveP3,
    /// Loops without end while it is instantiated, on WASI 0.2.
    Start,
    /// The same on 0.3.
    StartP3,
    /// A command that does what its arguments ask for, on WASI 0.2.
    Job,
    /// The same on 0.3.
    JobP3,
    /// Is initialised as its environment says, on WASI 0.2.
    Snapshot,
    /// The example that reads a large table first, on WASI 0.3.
    Table,
    /// Takes events and messages, on WASI 0.2.
    Events,
    /// Takes them beside requests, on WASI 0.3.
    EventsHttp,
    /// Says of as many messages what becomes of them as it is told, on WASI 0.2.
    QueueRaw,
}

impl Guest {
    /// The folder it is built in, the package, and the file that comes out.
    fn source(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Hello => ("examples", "hello", "hello.wasm"),
            Self::Misbehave => (GUESTS, "misbehave", "misbehave.wasm"),
            Self::MisbehaveP3 => (GUESTS, "misbehave-p3", "misbehave_p3.wasm"),
            Self::Start => (GUESTS, "misbehave-start", "misbehave_start.wasm"),
            Self::StartP3 => (GUESTS, "misbehave-start-p3", "misbehave_start_p3.wasm"),
            Self::Job => (GUESTS, "misbehave-job", "misbehave-job.wasm"),
            Self::JobP3 => (GUESTS, "job-p3", "job_p3.wasm"),
            Self::Snapshot => (GUESTS, "snapshot", "snapshot.wasm"),
            Self::Table => ("examples", "table", "table.wasm"),
            Self::Events => (GUESTS, "events", "events.wasm"),
            Self::EventsHttp => (GUESTS, "events-http", "events_http.wasm"),
            Self::QueueRaw => (GUESTS, "queue-raw", "queue_raw.wasm"),
        }
    }

    /// Where its component lies, built if need be.
    pub(crate) fn path(self) -> PathBuf {
        let (folder, package, file) = self.source();
        build(folder, package, file)
    }

    /// Its component.
    pub(crate) fn component(self) -> Vec<u8> {
        std::fs::read(self.path()).expect("just built")
    }

    /// Its native code after an initialisation in this environment, the report on it, and the key that it goes by.
    pub(crate) fn initialized(
        self,
        environment: &[(&str, &str)],
        bounds: InitializationBounds,
    ) -> Result<Compiled, PrepareError> {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        compiled(&self.path(), Program::snapshot(self.digest(), environment.collect()), bounds)
    }

    fn digest(self) -> Digest {
        sha256(&self.path())
    }

    /// Its native code, compiled once in this process.
    fn native(self) -> Arc<Vec<u8>> {
        static COMPILED: LazyLock<Mutex<HashMap<Guest, Arc<Vec<u8>>>>> = LazyLock::new(Mutex::default);
        let mut compiled = COMPILED.lock().expect("no test panics while it compiles");
        compiled
            .entry(self)
            .or_insert_with(|| {
                let output = tempfile::NamedTempFile::new().expect("a file");
                compile_as_pushed(&self.path(), &self.digest(), output.path()).expect("it compiles");
                Arc::new(std::fs::read(output.path()).expect("written"))
            })
            .clone()
    }
}

/// A program's native code.
pub(crate) struct Compiled {
    pub(crate) key: Digest,
    pub(crate) native: Arc<Vec<u8>>,
    pub(crate) report: ComponentReport,
}

/// Compiles a component as it was pushed.
pub(crate) fn compile_as_pushed(
    component: &Path,
    digest: &Digest,
    output: &Path,
) -> Result<ComponentReport, PrepareError> {
    compile::compile(component, &Program::as_pushed(*digest), output, InitializationBounds::default())
}

/// Initialises and compiles a component in the text format.
pub(crate) fn compile_text(text: &str) -> Result<Compiled, PrepareError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), wat::parse_str(text).expect("sound text")).expect("written");
    let program = Program::snapshot(sha256(file.path()), Default::default());
    compiled(file.path(), program, InitializationBounds::default())
}

/// Compiles a component in the text format as it is.
pub(crate) fn compile_text_as_it_is(text: &str) -> Result<Compiled, PrepareError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), wat::parse_str(text).expect("sound text")).expect("written");
    compiled(file.path(), Program::as_pushed(sha256(file.path())), InitializationBounds::default())
}

/// An HTTP task on WASI 0.2, in the text format, that does this in a function of two parameters and ends without an answer.
pub(crate) fn http_task(fields: &str, instructions: &str) -> String {
    format!(
        r#"(component
          (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type (sub resource)))
            (export "response-outparam" (type (sub resource)))))
          (alias export $types "incoming-request" (type $request))
          (alias export $types "response-outparam" (type $answer))
          (core module $module {fields} (func $handle (export "handle") (param i32 i32) {instructions}))
          (core instance $instance (instantiate $module))
          (func $handle (param "request" (own $request)) (param "response-out" (own $answer))
            (canon lift (core func $instance "handle")))
          (instance (export "wasi:http/incoming-handler@0.2.0") (export "handle" (func $handle))))"#
    )
}

fn compiled(
    component: &Path,
    program: Program,
    bounds: InitializationBounds,
) -> Result<Compiled, PrepareError> {
    let output = tempfile::NamedTempFile::new().expect("a file");
    let report = compile::compile(component, &program, output.path(), bounds)?;
    let native = std::fs::read(output.path()).expect("written").into();
    Ok(Compiled { key: program.key(), native, report })
}

/// The digest of a component's file.
pub(crate) fn sha256(component: &Path) -> Digest {
    let bytes = std::fs::read(component).expect("it is there");
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// What a test can see of a worker.
pub(crate) struct World {
    /// Under test.
    pub(crate) sandboxes: Rc<Sandboxes>,
    /// Its accounts, for one worker.
    pub(crate) ledger: Ledger,
    lines: Lines,
    events: Rc<RefCell<Vec<TaskEvent>>>,
    fetched: Rc<RefCell<Vec<Digest>>>,
    /// Of every task there ever was.
    assignments: RefCell<HashMap<TaskId, Assignment>>,
}

struct Source {
    cache: NativeCache,
    fetched: Rc<RefCell<Vec<Digest>>>,
    _dir: tempfile::TempDir,
}

impl CodeSource for Source {
    fn fetch(&self, program: Digest) -> LocalBoxFuture<'_, Result<OwnedFd, String>> {
        self.fetched.borrow_mut().push(program);
        async move {
            // As over a socket, the answer does not come at once.
            tokio::task::yield_now().await;
            let loaded = self.cache.load(&program).map_err(|error| error.to_string())?;
            loaded.ok_or_else(|| "it is not in the cache".to_owned())
        }
        .boxed_local()
    }
}

impl World {
    /// A world with room for `sandboxes_max` sandboxes, in which these guests can be run.
    pub(crate) fn new(sandboxes_max: usize, guests: &[Guest]) -> Self {
        Self::with_code(sandboxes_max, guests, CODE_BOUNDS)
    }

    /// The same, with these bounds on what code stays mapped.
    pub(crate) fn with_code(sandboxes_max: usize, guests: &[Guest], code: CodeBounds) -> Self {
        Self::build(sandboxes_max, programs(guests), code, Vec::new())
    }

    /// The same, with something for guests beside WASI's own.
    pub(crate) fn with_capability(
        sandboxes_max: usize,
        guests: &[Guest],
        capability: Arc<dyn Capability>,
    ) -> Self {
        Self::build(sandboxes_max, programs(guests), CODE_BOUNDS, vec![capability])
    }

    /// A world in which these programs can be run: the key of each, and its native code.
    pub(crate) fn of(
        sandboxes_max: usize,
        programs: impl IntoIterator<Item = (Digest, Arc<Vec<u8>>)>,
    ) -> Self {
        Self::build(sandboxes_max, programs, CODE_BOUNDS, Vec::new())
    }

    fn build(
        sandboxes_max: usize,
        programs: impl IntoIterator<Item = (Digest, Arc<Vec<u8>>)>,
        code: CodeBounds,
        capabilities: Vec<Arc<dyn Capability>>,
    ) -> Self {
        static COMPATIBILITY: OnceLock<String> = OnceLock::new();
        let compatibility = COMPATIBILITY.get_or_init(|| engine::compatibility().expect("an engine"));
        let dir = tempfile::tempdir().expect("a folder");
        let cache = NativeCache::open(dir.path(), [7; 32], compatibility.clone()).expect("a cache");
        for (key, native) in programs {
            cache.store(&key, &native).expect("kept");
        }
        let (ledger, _) = Ledger::create(1).expect("a ledger");
        let lines = Lines::default();
        let events: Rc<RefCell<Vec<TaskEvent>>> = Rc::default();
        let fetched: Rc<RefCell<Vec<Digest>>> = Rc::default();
        let told = Rc::clone(&events);
        let deps = Deps {
            ledger: ledger.clone(),
            code: Rc::new(Source { cache, fetched: fetched.clone(), _dir: dir }),
            logs: Rc::new(lines.clone()),
            events: Rc::new(move |event| told.borrow_mut().push(event)),
            capabilities,
        };
        let sandboxes = Sandboxes::new(Config { worker: 0, sandboxes_max, code }, deps).expect("sandboxes");
        Self { sandboxes, ledger, lines, events, fetched, assignments: RefCell::default() }
    }

    /// Runs one more task; `set` changes its specification.
    pub(crate) fn run(&self, guest: Guest, set: impl FnOnce(&mut TaskSpec)) -> TaskId {
        let number = self.assignments.borrow().len() as u8;
        let name: Name = "guest".parse().expect("a name");
        let report = skiff_sandbox::inspect(&guest.component()).expect("a sound component");
        let owner = QualifiedName::new(Namespace::default(), name.clone());
        let mut spec = TaskSpec {
            definition: TaskDefinitionId { family: name, revision: 1 },
            kind: report.kind,
            generation: report.generation,
            program: guest.digest(),
            limits: Limits { cpu: "4096".parse().expect("units"), ..Limits::default() },
            command: Command::default(),
            port: None,
            health_check: HealthCheck::default(),
        };
        if matches!(guest, Guest::Start | Guest::StartP3) {
            spec.command.environment.insert("AT_START".to_owned(), "spin".to_owned());
        }
        set(&mut spec);
        let task = TaskId::from_parts(1, [number; 10]);
        let (in_service, spec, slot) = (report.kind == Kind::Http, Arc::new(spec), u32::from(number));
        let assignment = Assignment { task, owner, in_service, spec, slot, life: 0 };
        self.assignments.borrow_mut().insert(task, assignment);
        self.run_again(task);
        task
    }

    /// Says once more that a task is to run.
    pub(crate) fn run_again(&self, task: TaskId) {
        self.sandboxes.run(self.assignments.borrow()[&task].clone());
    }

    /// Leaves a task out from now on.
    pub(crate) fn leave_out(&self, task: TaskId) {
        self.sandboxes.end(task);
    }

    /// Its accounts.
    pub(crate) fn slot(&self, task: TaskId) -> TaskSlot {
        self.ledger.task(self.assignments.borrow()[&task].slot)
    }

    /// A GET.
    pub(crate) async fn get(&self, task: TaskId, path: &str) -> Result<Response<Body>, InvokeError> {
        self.sandboxes.invoke(task, request(path, body::empty())).await
    }

    /// A GET, with its answer's body as text.
    pub(crate) async fn text(&self, task: TaskId, path: &str) -> Result<String, InvokeError> {
        Ok(text(self.get(task, path).await?).await.expect("a whole body"))
    }

    /// What a task has written, or Skiff about it, so far.
    pub(crate) fn lines(&self, task: TaskId, stream: LogStream) -> Vec<String> {
        self.lines.of(task, stream)
    }

    /// Components whose code is mapped, and how many bytes that is.
    pub(crate) fn mapped(&self) -> (u64, u64) {
        let row = self.ledger.worker(0);
        (row.mapped_components.get(), row.mapped_code_bytes.get())
    }

    /// How often code was fetched.
    pub(crate) fn fetches(&self) -> usize {
        self.fetched.borrow().len()
    }

    /// What was said to have happened to a task.
    pub(crate) fn events(&self, task: TaskId) -> Vec<TaskEvent> {
        let of = |event: &&TaskEvent| match event {
            TaskEvent::Started { task: other, .. }
            | TaskEvent::Ended { task: other, .. }
            | TaskEvent::Health { task: other, .. } => *other == task,
        };
        self.events.borrow().iter().filter(of).cloned().collect()
    }

    /// Waits until a command has ended.
    pub(crate) async fn end_of(&self, task: TaskId) -> TaskEvent {
        let ended = || self.events(task).into_iter().find(|event| matches!(event, TaskEvent::Ended { .. }));
        until("the command never ended", || ended().is_some()).await;
        ended().expect("just seen")
    }

    /// Waits until a task holds nothing any more. Its answer may be read before that: a guest that the epoch clock
    /// paused has yet to end.
    pub(crate) async fn all_is_given_back(&self, task: TaskId) {
        let held = || {
            let totals = self.slot(task).totals();
            [totals.memory_bytes, totals.in_flight, totals.queued, totals.sandboxes]
        };
        until("memory, in flight, queued or sandboxes are held for ever", || held() == [0; 4]).await;
    }
}

/// What these guests run: the key of each, and its native code.
fn programs(guests: &[Guest]) -> impl Iterator<Item = (Digest, Arc<Vec<u8>>)> {
    guests.iter().map(|guest| (guest.digest(), guest.native()))
}

/// A request to a guest.
pub(crate) fn request(path: &str, body: Body) -> Request<Body> {
    Request::get(path).header("host", "guest.localhost").body(body).expect("a request")
}

/// A body's text, or the error it ended with.
pub(crate) async fn text(response: Response<Body>) -> Result<String, skiff_ports::body::BodyError> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
