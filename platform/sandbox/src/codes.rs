//! Which native code a worker has mapped: what was called lately, up to a bound.
//!
//! Code is mapped when it is first needed, shared by all tasks that run it, and unmapped when nobody has asked for it for a
//! while, or when there is more of it than the bound; then what was asked for longest ago goes first. What a sandbox runs
//! or waits in stays, whatever the bound says. Code of a program that no task runs any more stays as long: the next event may
//! run it again.

use crate::account::Account;
use crate::code::{Code, timed_fetch};
use crate::host::Host;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use skiff_ledger::WorkerRow;
use skiff_types::Digest;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Passes for which code stays that nobody asks for.
const IDLE_PASSES: usize = 60;
/// Components that are unmapped in one step.
const STEP_COMPONENTS: usize = 16;

/// How much native code a worker has mapped at most. What sandboxes run or wait in stays beyond it.
#[derive(Debug, Clone, Copy)]
pub struct CodeBounds {
    /// Components.
    pub components: usize,
    /// Bytes of their native code.
    pub bytes: u64,
}

/// The code of all programs that a worker's tasks run.
pub(crate) struct Codes {
    cells: RefCell<HashMap<Digest, Rc<CodeCell>>>,
    bounds: CodeBounds,
    /// Counts how often code was asked for.
    clock: Rc<Cell<u64>>,
    /// What the clock said at the last passes, the oldest first.
    passes: RefCell<VecDeque<u64>>,
    /// What it said when code began to be idle for too long.
    idle_since: Cell<u64>,
}

impl Codes {
    pub(crate) fn new(bounds: CodeBounds) -> Self {
        Self {
            cells: RefCell::default(),
            bounds,
            clock: Rc::default(),
            passes: RefCell::default(),
            idle_since: Cell::new(0),
        }
    }

    /// The cell of a program's code, shared by all tasks that run it.
    pub(crate) fn cell(&self, program: Digest) -> Rc<CodeCell> {
        let mut cells = self.cells.borrow_mut();
        let new = || {
            Rc::new(CodeCell {
                program,
                state: RefCell::new(State::Unloaded),
                clock: self.clock.clone(),
                asked_at: Cell::new(0),
            })
        };
        cells.entry(program).or_insert_with(new).clone()
    }

    /// Says that time has passed. To be called every second.
    pub(crate) fn begin_pass(&self) {
        let mut passes = self.passes.borrow_mut();
        passes.push_back(self.clock.get());
        if passes.len() > IDLE_PASSES {
            self.idle_since.set(passes.pop_front().unwrap_or(0));
        }
        self.cells.borrow_mut().retain(|_, cell| Rc::strong_count(cell) > 1 || cell.peek().is_some());
    }

    /// Unmaps some of what nobody asked for in a while; says whether there may be more.
    pub(crate) fn tend_some(&self, row: &WorkerRow) -> bool {
        self.unmap(row, self.idle_since.get()) == STEP_COMPONENTS
    }

    /// Unmaps some of what was not asked for since the clock said so, and of what is more than the bound; says how many.
    fn unmap(&self, row: &WorkerRow, idle_since: u64) -> usize {
        let cells = self.cells.borrow();
        let mapped = cells.values().filter_map(|cell| Some((cell.native_bytes()?, cell)));
        let mut mapped: Vec<(u64, &Rc<CodeCell>)> = mapped.collect();
        mapped.sort_unstable_by_key(|(_, cell)| cell.asked_at.get());
        let (mut components, mut bytes) = (mapped.len(), mapped.iter().map(|(bytes, _)| bytes).sum::<u64>());
        let mut unmapped = 0;
        for (native_bytes, cell) in mapped {
            let is_too_much = components > self.bounds.components || bytes > self.bounds.bytes;
            if unmapped == STEP_COMPONENTS || !is_too_much && cell.asked_at.get() > idle_since {
                break;
            }
            if cell.unload_if_unused() {
                unmapped += 1;
                components -= 1;
                bytes -= native_bytes;
            }
        }
        row.mapped_components.set(components as u64);
        row.mapped_code_bytes.set(bytes);
        unmapped
    }
}

/// The code of one program, or the way to it.
pub(crate) struct CodeCell {
    program: Digest,
    state: RefCell<State>,
    clock: Rc<Cell<u64>>,
    asked_at: Cell<u64>,
}

type Loading = Shared<LocalBoxFuture<'static, Result<Rc<Code>, String>>>;

enum State {
    Unloaded,
    Loading(Loading),
    Loaded(Rc<Code>),
}

impl CodeCell {
    /// The code, if it is mapped, for somebody who will run it.
    pub(crate) fn loaded(&self) -> Option<Rc<Code>> {
        let code = self.peek();
        if code.is_some() {
            self.note_use();
        }
        code
    }

    /// The code, if it is mapped.
    pub(crate) fn peek(&self) -> Option<Rc<Code>> {
        match &*self.state.borrow() {
            State::Loaded(code) => Some(code.clone()),
            State::Unloaded | State::Loading(_) => None,
        }
    }

    /// The code, fetched if need be; all who ask meanwhile wait for one fetch. A failure is not kept: who asks after it
    /// starts another fetch.
    pub(crate) async fn load(
        self: &Rc<Self>,
        host: &Rc<Host>,
        account: &Arc<Account>,
    ) -> Result<Rc<Code>, String> {
        let loading = match &mut *self.state.borrow_mut() {
            State::Loaded(code) => {
                self.note_use();
                return Ok(code.clone());
            }
            State::Loading(loading) => loading.clone(),
            state @ State::Unloaded => {
                let loading = timed_fetch(host.clone(), self.program, account.clone()).boxed_local().shared();
                *state = State::Loading(loading.clone());
                loading
            }
        };
        let loaded = loading.await;
        *self.state.borrow_mut() = match &loaded {
            Ok(code) => State::Loaded(code.clone()),
            Err(_) => State::Unloaded,
        };
        self.note_use();
        host.codes.unmap(host.row(), 0);
        loaded
    }

    fn note_use(&self) {
        self.clock.set(self.clock.get() + 1);
        self.asked_at.set(self.clock.get());
    }

    fn native_bytes(&self) -> Option<u64> {
        self.peek().map(|code| code.native_bytes)
    }

    /// Unmaps the code unless somebody has it; says whether it did.
    fn unload_if_unused(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let is_unused = matches!(&*state, State::Loaded(code) if Rc::strong_count(code) == 1);
        if is_unused {
            *state = State::Unloaded;
        }
        is_unused
    }
}
