//! `command` tasks: one sandbox that runs `wasi:cli/run` once, to its end or the task's.

use crate::admission::{Blank, Turn, never_fits};
use crate::code::{Code, Entry};
use crate::failure::{Failure, FailureKind};
use crate::heap::HeapMeter;
use crate::host::Host;
use crate::live::made;
use crate::run::{GuestRun, NEVER_NS};
use crate::state::{SandboxState, new_store};
use crate::task::Task;
use skiff_kit::clock;
use skiff_ports::runtime::TaskEvent;
use skiff_types::{StopCode, StoppedReason};
use std::rc::Rc;
use wasmtime::Store;

/// Runs the task's program and says how it ended; says nothing if the task was taken away meanwhile.
pub(crate) async fn run(host: Rc<Host>, task: Rc<Task>) {
    // A drain waits for what was asked for once; what a service keeps running, and a daemon, have no end to wait for.
    let has_end = !task.account.in_service && task.account.spec.port.is_none();
    let _in_flight = has_end.then(|| host.call_begins());
    let result = start_and_wait(&host, &task).await;
    if task.has_ended() {
        return;
    }
    if let Err(failure) = &result
        && !matches!(failure.kind, FailureKind::Exited(_))
    {
        host.report(&task.account, failure);
    }
    let (exit_code, code, message) = ending(result);
    let reason = StoppedReason { code, message };
    let (task, life) = (task.account.task, task.account.life);
    (host.events)(TaskEvent::Ended { task, life, exit_code, reason });
}

fn ending(result: Result<i32, Failure>) -> (Option<i32>, StopCode, String) {
    let exited = |code: i32| (Some(code), StopCode::Exited, format!("the program exited with code {code}"));
    match result {
        Ok(code) => exited(code),
        Err(failure) => match failure.kind {
            FailureKind::Exited(code) => exited(code),
            FailureKind::OutOfMemory => (None, StopCode::OutOfMemory, failure.message),
            FailureKind::NoAnswer | FailureKind::NoRoom => {
                (None, StopCode::TaskFailedToStart, failure.message)
            }
            FailureKind::Trapped | FailureKind::TimedOut { .. } | FailureKind::Stopped => {
                (None, StopCode::Trapped, failure.message)
            }
        },
    }
}

async fn start_and_wait(host: &Rc<Host>, task: &Rc<Task>) -> Result<i32, Failure> {
    let loaded = task.code.load(host, &task.account).await;
    let code = loaded.map_err(|reason| crate::code::unavailable(&reason))?;
    let blank = admit(task, &code).await?;
    let heap = HeapMeter::new(&task.account);
    let program = program(host.clone(), task.clone(), code, blank, heap.clone());
    GuestRun::new(host, task, NEVER_NS, None, heap, Box::pin(program)).await
}

async fn admit(task: &Rc<Task>, code: &Code) -> Result<Blank, Failure> {
    let turn = Turn::take(task);
    loop {
        if task.has_ended() {
            return Err(Failure::stopped());
        }
        if let Some(reason) = never_fits(task, code) {
            task.account.row().out_of_memory.add(1);
            return Err(Failure::new(FailureKind::OutOfMemory, reason));
        }
        match Blank::claim(task, code) {
            Ok(blank) => return Ok(blank),
            Err(shortage) => turn.wait(&code.room, shortage, clock::until(NEVER_NS)).await,
        }
    }
}

async fn program(
    host: Rc<Host>,
    task: Rc<Task>,
    code: Rc<Code>,
    blank: Blank,
    heap: Rc<HeapMeter>,
) -> Result<i32, Failure> {
    let began_ns = clock::monotonic_ns();
    // Given back after the store is gone.
    let Blank { permit: _permit, claim, prepaid_bytes } = blank;
    let mut store = new_store(&host, &task, &code, claim, prepaid_bytes, heap.crossed());
    let started = |store: &Store<SandboxState>| {
        made(&task, store, began_ns);
        (host.events)(TaskEvent::Started { task: task.account.task, life: task.account.life });
    };
    let result = async {
        match &code.entry {
            Entry::CommandP2(pre) => {
                let command = pre.instantiate_async(&mut store).await?;
                started(&store);
                command.wasi_cli_run().call_run(&mut store).await
            }
            Entry::CommandP3(pre) => {
                let command = pre.instantiate_async(&mut store).await?;
                started(&store);
                store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await?
            }
            Entry::HttpP2(_) | Entry::HttpP3(_) | Entry::Event => {
                wasmtime::bail!("the component exports no wasi:cli/run")
            }
        }
    };
    match result.await {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => Err(Failure::from_error(&error, &task.account, store.data().out_of_memory())),
    }
}
