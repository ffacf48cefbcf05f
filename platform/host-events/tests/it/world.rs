//! A worker's sandboxes without a worker, and a sink that answers as a test says.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use sha2::{Digest as _, Sha256};
use skiff_host_events::HostEvents;
use skiff_ledger::Ledger;
use skiff_ports::guest_calls::{CallSink, GuestAnswer, GuestCall, GuestCallError, TransferId};
use skiff_ports::logs::LogLine;
use skiff_ports::runtime::{ComponentReport, TaskEvent};
use skiff_ports::snapshot::{Assignment, TaskSpec};
use skiff_sandbox::cache::NativeCache;
use skiff_sandbox::{
    CodeBounds, CodeSource, Config, Deps, InitializationBounds, LogSink, Sandboxes, compile, engine,
};
use skiff_types::{
    Command, Digest, HealthCheck, Limits, Namespace, Program, QualifiedName, TaskDefinitionId, TaskId,
};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The family of all tasks here.
const FAMILY: &str = "shop";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a call comes to.
pub(crate) type Answered = Result<GuestAnswer, GuestCallError>;

/// Answers as the test says, a moment later, and remembers what was asked.
struct Sink {
    asked: RefCell<Vec<GuestCall>>,
    answer: Box<dyn Fn(&GuestCall) -> Answered>,
}

impl CallSink for Sink {
    fn call(&self, _: TaskId, call: GuestCall) -> LocalBoxFuture<'static, Answered> {
        let answered = (self.answer)(&call);
        self.asked.borrow_mut().push(call);
        async move {
            tokio::task::yield_now().await;
            answered
        }
        .boxed_local()
    }

    fn stop(&self, _: TaskId, transfer: TransferId) {
        self.asked.borrow_mut().push(GuestCall::Stop(transfer));
    }
}

/// A denial with this grant.
pub(crate) fn denied(grant: &str) -> GuestCallError {
    GuestCallError::Denied { message: format!("role default/shop may not {grant}"), grant: grant.to_owned() }
}

/// Runs a component, a command of WASI 0.2, to its end, which must be a good one. What it asked, and what its logs say.
pub(crate) async fn run(
    component: &str,
    answer: impl Fn(&GuestCall) -> Answered + 'static,
) -> (Vec<GuestCall>, Vec<LogLine>) {
    let program = Compiled::new(component);
    let spec = TaskSpec {
        definition: TaskDefinitionId { family: FAMILY.parse().expect("a name"), revision: 1 },
        kind: program.report.kind,
        generation: program.report.generation,
        program: program.digest,
        limits: Limits::default(),
        command: Command::default(),
        port: None,
        health_check: HealthCheck::default(),
    };
    let (lines, events) = (Rc::<Lines>::default(), Rc::<RefCell<Vec<TaskEvent>>>::default());
    let (told, sink) =
        (events.clone(), Rc::new(Sink { asked: RefCell::default(), answer: Box::new(answer) }));
    let (ledger, _) = Ledger::create(1).expect("a ledger");
    let deps = Deps {
        ledger,
        code: Rc::new(program),
        logs: lines.clone(),
        events: Rc::new(move |event| told.borrow_mut().push(event)),
        capabilities: vec![HostEvents::new(sink.clone())],
    };
    let code = CodeBounds { components: 10, bytes: 1 << 30 };
    let sandboxes = Sandboxes::new(Config { worker: 0, sandboxes_max: 4, code }, deps).expect("sandboxes");
    let owner = QualifiedName::new(Namespace::default(), FAMILY.parse().expect("a name"));
    let task = TaskId::from_parts(1, [1; 10]);
    sandboxes.run(Assignment { task, owner, in_service: false, spec: Arc::new(spec), slot: 1, life: 0 });
    let ended = || {
        let events = events.borrow();
        events.iter().find_map(|event| match event {
            TaskEvent::Ended { exit_code, reason, .. } => Some((*exit_code, reason.message.clone())),
            TaskEvent::Started { .. } | TaskEvent::Health { .. } => None,
        })
    };
    let deadline = Instant::now() + PATIENCE;
    while ended().is_none() {
        assert!(Instant::now() < deadline, "the command never ended");
        tokio::task::yield_now().await;
    }
    let (exit_code, why) = ended().expect("just seen");
    assert_eq!(exit_code, Some(0), "it was answered otherwise: {why}");
    (sink.asked.take(), lines.0.take())
}

/// A command whose `$main` gives a number, and which ends well if it is this one. `imports` are instances; `lowered` makes core
/// functions of theirs, with the memory and the allocator of `$memory`; `given` are what the module is given of them, and
/// `declared` how it imports them; `data` lies in its memory.
pub(crate) fn command(
    (imports, lowered, given): (&str, &str, &str),
    (declared, data, main): (&str, &str, &str),
    expected: i32,
) -> String {
    format!(
        r#"(component
          {imports}
          (core module $memory
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 8192))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
              (global.get $next)
              (global.set $next (i32.add (global.get $next) (i32.const 4096))))
            {data})
          (core instance $memory (instantiate $memory))
          {lowered}
          (core module $module
            {declared}
            (import "host" "memory" (memory 1))
            (func $main (result i32) {main})
            (func (export "run") (result i32) (i32.ne (call $main) (i32.const {expected}))))
          (core instance $instance (instantiate $module (with "host" (instance
            {given}
            (export "memory" (memory $memory "memory"))))))
          (func $run (result (result)) (canon lift (core func $instance "run")))
          (instance $command (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $command)))"#
    )
}

/// A component's native code, and where it comes from.
struct Compiled {
    digest: Digest,
    report: ComponentReport,
    cache: NativeCache,
    _dir: tempfile::TempDir,
}

impl Compiled {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let component = wat::parse_str(text).unwrap_or_else(|error| panic!("sound text: {error}"));
        let digest = Digest::from_bytes(Sha256::digest(&component).into());
        let (path, output) = (dir.path().join("component.wasm"), dir.path().join("native"));
        std::fs::write(&path, &component).expect("written");
        let program = Program::as_pushed(digest);
        let report = compile::compile(&path, &program, &output, InitializationBounds::default());
        let report = report.expect("it compiles");
        let compatibility = engine::compatibility().expect("an engine");
        let cache = NativeCache::open(dir.path().join("cache"), [7; 32], compatibility).expect("a cache");
        cache.store(&digest, &std::fs::read(output).expect("written")).expect("kept");
        Self { digest, report, cache, _dir: dir }
    }
}

impl CodeSource for Compiled {
    fn fetch(&self, program: Digest) -> LocalBoxFuture<'_, Result<OwnedFd, String>> {
        async move {
            let loaded = self.cache.load(&program).map_err(|error| error.to_string())?;
            loaded.ok_or_else(|| "it is not in the cache".to_owned())
        }
        .boxed_local()
    }
}

/// Lines of guests.
#[derive(Default)]
struct Lines(RefCell<Vec<LogLine>>);

impl LogSink for Lines {
    fn write(&self, _: &QualifiedName, line: LogLine) -> bool {
        self.0.borrow_mut().push(line);
        true
    }
}

/// Runs a test on one thread, as a worker runs.
pub(crate) fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(4 * PATIENCE, test).await.expect("the test takes too long");
    });
}
