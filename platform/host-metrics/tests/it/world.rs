//! A worker's sandboxes without a worker, and a component that puts one value and looks what it is answered.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use sha2::{Digest as _, Sha256};
use skiff_host_metrics::HostMetrics;
use skiff_ledger::Ledger;
use skiff_ports::logs::LogLine;
use skiff_ports::metrics::{GuestValue, MetricSink, TooManyPoints};
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

/// The service or family of all tasks here.
pub(crate) const FAMILY: &str = "shop";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What guests put, and whether there is room for it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) sink: Rc<Sink>,
    pub(crate) is_full: bool,
}

/// Takes what comes.
#[derive(Default)]
pub(crate) struct Sink(pub(crate) RefCell<Vec<GuestValue>>);

impl MetricSink for Sink {
    fn put(&self, _: TaskId, put: GuestValue) -> Result<(), TooManyPoints> {
        self.0.borrow_mut().push(put);
        Ok(())
    }
}

/// Has room for nothing.
struct Full;

impl MetricSink for Full {
    fn put(&self, _: TaskId, _: GuestValue) -> Result<(), TooManyPoints> {
        Err(TooManyPoints)
    }
}

impl World {
    /// Runs a task that puts one value, and ends well only if it is answered so; what its logs say then.
    pub(crate) async fn put(
        &self,
        in_service: bool,
        metric: &str,
        dimension: (&str, &str),
        value: &str,
        answer: u32,
    ) -> Vec<LogLine> {
        let program = Compiled::new(&component(metric, dimension, value, answer));
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
        let told = events.clone();
        let sink: Rc<dyn MetricSink> = if self.is_full { Rc::new(Full) } else { self.sink.clone() };
        let (ledger, _) = Ledger::create(1).expect("a ledger");
        let deps = Deps {
            ledger,
            code: Rc::new(program),
            logs: lines.clone(),
            events: Rc::new(move |event| told.borrow_mut().push(event)),
            capabilities: vec![HostMetrics::new(sink)],
        };
        let code = CodeBounds { components: 10, bytes: 1 << 30 };
        let sandboxes =
            Sandboxes::new(Config { worker: 0, sandboxes_max: 4, code }, deps).expect("sandboxes");
        let owner = QualifiedName::new(Namespace::default(), FAMILY.parse().expect("a name"));
        let task = TaskId::from_parts(1, [1; 10]);
        sandboxes.run(Assignment { task, owner, in_service, spec: Arc::new(spec), slot: 1, life: 0 });
        let exit_code = || {
            let events = events.borrow();
            events.iter().find_map(|event| match event {
                TaskEvent::Ended { exit_code, reason, .. } => Some((*exit_code, reason.message.clone())),
                TaskEvent::Started { .. } | TaskEvent::Health { .. } => None,
            })
        };
        let deadline = Instant::now() + PATIENCE;
        while exit_code().is_none() {
            assert!(Instant::now() < deadline, "the command never ended");
            tokio::task::yield_now().await;
        }
        let (exit_code, why) = exit_code().expect("just seen");
        assert_eq!(
            exit_code,
            Some(0),
            "{metric:?}, {dimension:?}, {value}: it was answered otherwise: {why}"
        );
        lines.0.take()
    }
}

/// A command on WASI 0.2 that puts a value with one dimension, and returns an error unless it is answered so.
fn component(metric: &str, (name, dimension): (&str, &str), value: &str, answer: u32) -> String {
    let (metric_bytes, name_bytes, dimension_bytes) = (metric.len(), name.len(), dimension.len());
    format!(
        r#"(component
          (import "skiff:metrics/custom@0.1.0" (instance $custom
            (type $cases (enum "invalid-metric" "invalid-dimensions" "invalid-value" "too-many"))
            (export "error" (type $error (eq $cases)))
            (export "put" (func
              (param "metric" string) (param "dimensions" (list (tuple string string))) (param "value" f64)
              (result (result (error $error)))))))
          (core module $memory
            (memory (export "memory") 1)
            (data (i32.const 256) "{metric}")
            (data (i32.const 512) "{name}")
            (data (i32.const 768) "{dimension}"))
          (core instance $memory (instantiate $memory))
          (core func $put
            (canon lower (func $custom "put") (memory (core memory $memory "memory")) string-encoding=utf8))
          (core module $module
            (import "host" "put" (func $put (param i32 i32 i32 i32 f64 i32)))
            (import "host" "memory" (memory 1))
            (func (export "run") (result i32)
              (i32.store (i32.const 0) (i32.const 512))
              (i32.store (i32.const 4) (i32.const {name_bytes}))
              (i32.store (i32.const 8) (i32.const 768))
              (i32.store (i32.const 12) (i32.const {dimension_bytes}))
              (call $put (i32.const 256) (i32.const {metric_bytes}) (i32.const 0) (i32.const 1)
                (f64.const {value}) (i32.const 32))
              (i32.ne (i32.load16_u (i32.const 32)) (i32.const {answer}))))
          (core instance $instance (instantiate $module (with "host" (instance
            (export "put" (func $put)) (export "memory" (memory $memory "memory"))))))
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
