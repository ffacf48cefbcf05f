//! What one sandbox holds of the network, and what all sandboxes of a worker share.

use crate::denials::Denials;
use crate::local::Local;
use skiff_net::{Interface, NetError, Network};
use skiff_ports::invoke::Invoke;
use skiff_ports::wake::Wake;
use skiff_sandbox::{Guest, apart};
use skiff_types::{QualifiedName, TaskId};
use std::cell::OnceCell;
use std::rc::{Rc, Weak};

/// What all sandboxes of a worker share.
pub(crate) struct Shared {
    pub(crate) network: Network,
    denials: Denials,
    invoke: OnceCell<Weak<dyn Invoke>>,
    wake: OnceCell<Rc<dyn Wake>>,
}

impl Shared {
    pub(crate) fn new(network: Network) -> Self {
        Self { network, denials: Denials::default(), invoke: OnceCell::new(), wake: OnceCell::new() }
    }

    /// See [`crate::HostNet::answer_with`]. Not held on to, since who answers holds on to this.
    pub(crate) fn answer_with(&self, invoke: &Rc<dyn Invoke>) {
        let first = self.invoke.set(Rc::downgrade(invoke));
        assert!(first.is_ok(), "who answers is said once");
    }

    /// Who lets tasks of this worker answer; `None` before that was said, and when the worker ends.
    pub(crate) fn invoke(&self) -> Option<Rc<dyn Invoke>> {
        self.invoke.get()?.upgrade()
    }

    /// See [`crate::HostNet::wake_with`].
    pub(crate) fn wake_with(&self, wake: Rc<dyn Wake>) {
        let first = self.wake.set(wake);
        assert!(first.is_ok(), "who wakes services is said once");
    }

    /// Waits until a service has a task in this worker, having it woken if it sleeps; says whether it has one.
    pub(crate) async fn wake(&self, service: &QualifiedName) -> bool {
        match self.wake.get() {
            Some(wake) => wake.wake(service).await,
            None => false,
        }
    }

    /// Says in the task's logs what was denied it, where `error` is that: once for each target and minute, since the guest
    /// itself is told no more than a code.
    pub(crate) fn note_denied(&self, guest: &Guest, error: &NetError) {
        if let NetError::Denied(reason) = error
            && apart(|| self.denials.is_new(guest.task(), reason))
        {
            guest.remark(reason);
        }
    }

    /// A task has ended: all that it has open ends, and what was remembered of it goes.
    pub(crate) fn ended(&self, task: TaskId) {
        self.denials.forget(task);
        if let Some(interface) = self.network.interface(task) {
            interface.close_all();
        }
    }
}

/// What one sandbox holds. Made when its guest first asks for anything of the network.
pub(crate) struct Context {
    guest: Guest,
    shared: Local<Rc<Shared>>,
    /// Looked up when it is first needed.
    interface: Option<Local<Interface>>,
}

impl Context {
    pub(crate) fn new(guest: Guest, shared: Local<Rc<Shared>>) -> Self {
        Self { guest, shared, interface: None }
    }

    /// Its task's interface.
    ///
    /// # Errors
    /// [`NetError::Closed`] if the task has none any more.
    pub(crate) fn interface(&mut self) -> Result<&Local<Interface>, NetError> {
        let Self { guest, shared, interface } = self;
        if interface.is_none() {
            *interface = shared.with(|shared| shared.network.interface(guest.task())).map(Local::new);
        }
        interface.as_ref().ok_or(NetError::Closed)
    }

    /// What is to be told to the guest of an error, by `code`. What else there is to say of it is said in the task's logs.
    pub(crate) fn told<C>(&self, error: NetError, code: impl FnOnce(&NetError) -> C) -> C {
        self.shared.get().note_denied(&self.guest, &error);
        let code = code(&error);
        apart(|| drop(error));
        code
    }
}
