//! What other crates give guests: in WASI's place, made when it is asked for, and told when a task ends.

use crate::support::{Guest, World};
use skiff_sandbox::{Capability, Outgoing, SandboxState, Sending};
use skiff_testbed::on_one_thread;
use skiff_types::{TaskId, WasiGeneration};
use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

const BOTH: [Guest; 2] = [Guest::Misbehave, Guest::MisbehaveP3];

/// Gives each guest an environment of its own, and answers no outgoing request.
#[derive(Default)]
struct Owners {
    contexts_made: AtomicUsize,
    ended: Mutex<Vec<TaskId>>,
}

/// What a sandbox holds of it.
struct Owner(String);

impl Capability for Owners {
    fn link(&self, linker: &mut Linker<SandboxState>, _: WasiGeneration) -> wasmtime::Result<()> {
        let mut environment = linker.instance("wasi:cli/environment@0.2.12")?;
        environment.func_wrap("get-environment", |mut store: StoreContextMut<'_, SandboxState>, (): ()| {
            let owner = store.data_mut().capability::<Owner>().context.0.clone();
            Ok((vec![("OWNER".to_owned(), owner)],))
        })
    }

    fn context_type(&self) -> TypeId {
        TypeId::of::<Owner>()
    }

    fn context(&self, guest: skiff_sandbox::Guest) -> Box<dyn Any + Send> {
        self.contexts_made.fetch_add(1, Relaxed);
        Box::new(Owner(guest.owner().to_string()))
    }

    fn outgoing(&self) -> Option<&dyn Outgoing> {
        Some(self)
    }

    fn ended(&self, task: TaskId) {
        self.ended.lock().unwrap().push(task);
    }
}

impl Outgoing for Owners {
    fn send(
        &self,
        guest: skiff_sandbox::Guest,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
    ) -> Result<Sending, Error> {
        guest.remark(&format!("asked for {}", request.uri()));
        Err(Error::LoopDetected)
    }
}

#[test]
fn a_capability_takes_wasi_s_place_and_is_not_made_before_a_guest_asks() {
    on_one_thread(async {
        let owners = Arc::new(Owners::default());
        let world = World::with_capability(4, &[Guest::Hello, BOTH[0], BOTH[1]], owners.clone());
        let hello = world.run(Guest::Hello, |_| {});
        world.text(hello, "/").await.unwrap();
        assert_eq!(owners.contexts_made.load(Relaxed), 0, "it asks for nothing");
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            let made_before = owners.contexts_made.load(Relaxed);
            for _ in 0..2 {
                let owner = world.text(task, "/env?name=OWNER").await.unwrap();
                assert!(owner.contains("guest"), "{guest:?}: {owner}");
            }
            let made = owners.contexts_made.load(Relaxed) - made_before;
            assert_eq!(made, 2, "{guest:?}: one for each sandbox");
            let answer = world.text(task, "/outgoing").await.unwrap();
            assert!(answer.contains("LoopDetected"), "{guest:?}: {answer}");
            world.leave_out(task);
            assert_eq!(owners.ended.lock().unwrap().pop(), Some(task));
        }
    });
}
