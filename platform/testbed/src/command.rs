//! Commands in the text format that ask the host for something and look what they are answered, and sinks that answer.

use crate::{Compiled, Lines, NativeCode, until};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use skiff_ledger::Ledger;
use skiff_ports::guest_calls::{CallSink, GuestAnswer, GuestCall, GuestCallError, TransferId};
use skiff_ports::logs::LogLine;
use skiff_ports::runtime::TaskEvent;
use skiff_ports::snapshot::Assignment;
use skiff_sandbox::{Capability, CodeBounds, Config, Deps, Sandboxes};
use skiff_types::{Namespace, QualifiedName, TaskId};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The service or family of the tasks that are run to their end.
pub const FAMILY: &str = "shop";

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// What its program returned, if it got as far.
    pub exit_code: Option<i32>,
    /// Why it ended, for people.
    pub why: String,
    /// What its logs say.
    pub lines: Vec<LogLine>,
}

/// Runs a component in the text format, a command, to its end, as a task of [`FAMILY`] with this capability. Inside
/// [`on_one_thread`](crate::on_one_thread).
pub async fn run_to_end(text: &str, in_service: bool, capability: Arc<dyn Capability>) -> Ended {
    let program = Compiled::from_text(text);
    let spec = Arc::new(program.spec(FAMILY.parse().expect("a name")));
    let (lines, events) = (Lines::default(), Rc::<RefCell<Vec<TaskEvent>>>::default());
    let told = events.clone();
    let (ledger, _) = Ledger::create(1).expect("a ledger");
    let deps = Deps {
        ledger,
        code: Rc::new(NativeCode::of([&program])),
        logs: Rc::new(lines.clone()),
        events: Rc::new(move |event| told.borrow_mut().push(event)),
        capabilities: vec![capability],
    };
    let code = CodeBounds { components: 10, bytes: 1 << 30 };
    let sandboxes = Sandboxes::new(Config { worker: 0, sandboxes_max: 4, code }, deps).expect("sandboxes");
    let owner = QualifiedName::new(Namespace::default(), FAMILY.parse().expect("a name"));
    let task = TaskId::from_parts(1, [1; 10]);
    sandboxes.run(Assignment { task, owner, in_service, spec, slot: 1, life: 0 });
    let ended = || {
        let events = events.borrow();
        events.iter().find_map(|event| match event {
            TaskEvent::Ended { exit_code, reason, .. } => Some((*exit_code, reason.message.clone())),
            TaskEvent::Started { .. } | TaskEvent::Health { .. } => None,
        })
    };
    until("the command never ended", || ended().is_some()).await;
    let (exit_code, why) = ended().expect("just seen");
    Ended { exit_code, why, lines: lines.take() }
}

/// What a call comes to.
pub type Answered = Result<GuestAnswer, GuestCallError>;

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

/// Runs a command with a capability over a sink that answers so, to its end, which must be a good one. What it asked, and what
/// its logs say.
pub async fn answer_calls<C: Capability + 'static>(
    text: &str,
    answer: impl Fn(&GuestCall) -> Answered + 'static,
    capability: impl FnOnce(Rc<dyn CallSink>) -> Arc<C>,
) -> (Vec<GuestCall>, Vec<LogLine>) {
    let sink = Rc::new(Sink { asked: RefCell::default(), answer: Box::new(answer) });
    let Ended { exit_code, why, lines } = run_to_end(text, false, capability(sink.clone())).await;
    assert_eq!(exit_code, Some(0), "it was answered otherwise: {why}");
    (sink.asked.take(), lines)
}

/// A denial with this grant.
pub fn denied(grant: &str) -> GuestCallError {
    GuestCallError::Denied { message: format!("role default/shop may not {grant}"), grant: grant.to_owned() }
}

/// A command whose `$main` gives a number, and which ends well if it is this one. `imports` are instances; `lowered` makes core
/// functions of theirs, with the memory and the allocator of `$memory`; `given` are what the module is given of them, and
/// `declared` how it imports them; `data` lies in its memory.
pub fn command(
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
