//! Outgoing requests of `wasi:http`, of both generations: to tasks in process, to all others over streams of `net`.
//!
//! | file | what it has |
//! | --- | --- |
//! | `target` | whom a request is for |
//! | `headers` | what the platform says in a request's head, and what a guest may not |
//! | `call` | a call of a task of this worker, in process |
//! | `upload`, `answer` | the bodies of requests and answers on their way |
//! | `length` | whether such a body is as long as its head has promised |
//! | `tally` | what is counted of a call |
//! | `outside` | a task's HTTP client, with its connections |
//! | `wire` | a stream of `net`, with TLS or not, as that client wants it |
//! | `tls` | whom TLS trusts |
//! | `timeouts` | how long things may take |
//! | `errors` | what goes wrong, as error codes |
//!
//! `http://NAME.NAMESPACE.internal/` is a service, `http://ID.task.internal/` one task, `http://NAME.listener.internal/` an
//! internal listener. Where that is an `http` task, and the port is that of `http`, it is called in process, and told who
//! calls: no guest can claim that. Everything else goes over a connection, at whose other end anybody's claims may come in;
//! so nothing of the kind is said there. A service that sleeps is woken by being called at the port of `http`, and the call
//! waits for its first task, unless none of the caller's own rules leads into that namespace; a socket that is opened to it
//! does neither.
//!
//! It deliberately keeps no answers and follows no redirections: guests may.
//!
//! What always holds: the sandbox has a request carried out in a task of the runtime of its own, beside its guest, which holds
//! its handle: `call` says why. Whoever drops that, or ends, ends it.

mod answer;
mod call;
mod errors;
mod headers;
mod length;
mod outside;
mod tally;
mod target;
mod timeouts;
mod tls;
mod upload;
mod wire;

pub(crate) use tls::roots;

use crate::context::Shared;
use crate::local::Local;
use crate::{Config, ConfigError};
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderValue, Method, Request, Response, Uri};
use outside::Outside;
use rustls::ClientConfig;
use skiff_net::{InternalName, NetError, ServiceTask};
use skiff_ports::invoke::HTTP_PORT;
use skiff_sandbox::{Guest, Outgoing, Sending, apart};
use skiff_types::{Kind, QualifiedName, TaskId};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use target::{Place, Target, no_such_name};
use timeouts::Timeouts;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// Tasks of a service that one call is tried on, where one after the other says that it is gone; as the load balancer does.
const ATTEMPTS_MAX: usize = 3;

/// Carries out the outgoing requests of a worker's guests.
pub(crate) struct Client(Local<Rc<Callers>>);

/// Who has sent a request.
struct Callers {
    shared: Rc<Shared>,
    tls: Arc<ClientConfig>,
    known: RefCell<HashMap<TaskId, Rc<Caller>>>,
}

/// A task that sends requests.
struct Caller {
    guest: Guest,
    shared: Rc<Shared>,
    tls: Arc<ClientConfig>,
    /// Who it is, for the tasks that it calls.
    label: HeaderValue,
    /// Made when it first needs a connection.
    outside: OnceCell<Outside>,
}

/// How a request is to be delivered.
enum Way {
    /// In process, to the first of these `http` tasks that is here.
    Call(Vec<ServiceTask>),
    /// Over a connection to what its target names.
    Connect,
    /// Over a connection to a task of that name, which is chosen for each request.
    ConnectTo(SocketAddr),
}

impl Client {
    /// # Errors
    /// If the configuration names certificates that can't be used.
    pub(crate) fn new(config: &Config, shared: Rc<Shared>) -> Result<Self, ConfigError> {
        let tls = tls::config(config.extra_roots.as_deref())?;
        Ok(Self(Local::new(Rc::new(Callers { shared, tls, known: RefCell::default() }))))
    }

    /// A task has ended: what is kept for its requests to come goes.
    pub(crate) fn ended(&self, task: TaskId) {
        let known = self.0.with(|callers| callers.known.borrow_mut().remove(&task));
        drop(known);
    }
}

impl Outgoing for Client {
    fn send(
        &self,
        guest: Guest,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Sending, Error> {
        apart(|| self.begin(&guest, request, options))
    }
}

impl Client {
    /// Begins to carry out a request.
    ///
    /// # Errors
    /// What is wrong with it already.
    fn begin(
        &self,
        guest: &Guest,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Sending, Error> {
        let target = Target::of(request.uri())?;
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let caller = self.0.get().get(guest).ok_or_else(|| errors::of_net(&NetError::Closed))?;
        Ok(Box::pin(caller.send(target, request, Timeouts::new(options))))
    }
}

impl Callers {
    /// What is kept for the requests of a guest's task; `None` if that has ended.
    fn get(&self, guest: &Guest) -> Option<Rc<Caller>> {
        let task = guest.task();
        if let Some(known) = self.known.borrow().get(&task) {
            return Some(known.clone());
        }
        self.shared.network.interface(task)?;
        let label = format!("{}; task={task}", guest.owner());
        let caller = Rc::new(Caller {
            guest: guest.clone(),
            shared: self.shared.clone(),
            tls: self.tls.clone(),
            label: HeaderValue::try_from(label).expect("names and ids make a header"),
            outside: OnceCell::new(),
        });
        self.known.borrow_mut().insert(task, caller.clone());
        Some(caller)
    }
}

impl Caller {
    async fn send(
        self: Rc<Self>,
        target: Target,
        mut request: Request<WasiBody>,
        timeouts: Timeouts,
    ) -> Result<Response<WasiBody>, Error> {
        let way = match self.way(&target) {
            Ok(way) => way,
            Err(error) => {
                let Some(service) = self.may_wake(&target) else { return Err(error) };
                let waking = tokio::time::timeout(timeouts.connect(), self.shared.wake(service));
                // In a box: few requests come to this.
                if !matches!(Box::pin(waking).await, Ok(true)) {
                    return Err(error);
                }
                self.way(&target)?
            }
        };
        match way {
            Way::Call(tasks) => return call::call(&self, &tasks, request, timeouts).await,
            Way::Connect => {}
            Way::ConnectTo(address) => readdress(request.uri_mut(), address)?,
        }
        headers::for_a_stranger(request.headers_mut());
        let outside = self.outside.get_or_init(|| Outside::new(&self.guest, &self.shared, &self.tls));
        charged(self.guest.clone(), outside.send(request, &timeouts)).await
    }

    /// The service that is to be woken, if it sleeps: not where the guest's own rules lead to nobody in its namespace.
    fn may_wake<'a>(&self, target: &'a Target) -> Option<&'a QualifiedName> {
        let (network, task) = (&self.shared.network, self.guest.task());
        target.sleeper().filter(|service| network.may_lead_into(task, &service.namespace, HTTP_PORT))
    }

    /// How to get to a target.
    ///
    /// # Errors
    /// `DnsError` for a name that nobody has, `DestinationUnavailable` for a service none of whose tasks is ready.
    fn way(&self, target: &Target) -> Result<Way, Error> {
        let network = &self.shared.network;
        let mut tasks = match &target.place {
            Place::Elsewhere | Place::Internal(InternalName::Listener(_)) => return Ok(Way::Connect),
            Place::Internal(InternalName::Task(task)) => {
                vec![network.task(*task).ok_or_else(no_such_name)?]
            }
            Place::Internal(InternalName::Service(service)) => {
                choose(&network.service(service).ok_or_else(no_such_name)?)
            }
        };
        let first = tasks.first().ok_or(Error::DestinationUnavailable)?;
        if first.kind == Kind::Http && target.port == HTTP_PORT {
            tasks.retain(|task| task.kind == Kind::Http);
            return Ok(Way::Call(tasks));
        }
        Ok(Way::ConnectTo(SocketAddr::new(first.address.v4.into(), target.port)))
    }

    /// What its guest is told of an error; what there is to say of a denial beyond that is said in the task's logs.
    fn told(&self, error: &NetError) -> Error {
        self.shared.note_denied(&self.guest, error);
        errors::of_net(error)
    }
}

/// The tasks to try, in this order. The first is, of two of chance, the one with fewer requests outstanding, over all
/// workers: of many that choose at the same time, not all choose the same.
fn choose(tasks: &[ServiceTask]) -> Vec<ServiceTask> {
    let count = tasks.len();
    let first = match count {
        0 | 1 => 0,
        _ => {
            let one = fastrand::usize(..count);
            let other = (one + fastrand::usize(1..count)) % count;
            if tasks[other].slot.outstanding() < tasks[one].slot.outstanding() { other } else { one }
        }
    };
    (0..count.min(ATTEMPTS_MAX)).map(|attempt| tasks[(first + attempt) % count].clone()).collect()
}

/// Has a request go to an address. Its `Host` stays.
fn readdress(uri: &mut Uri, address: SocketAddr) -> Result<(), Error> {
    let authority: Authority = address.to_string().parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let readdressed = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build();
    *uri = readdressed.map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(())
}

/// Work for a task that is done beside its guests, never in their polls: its CPU time is the task's.
fn charged<F: Future>(guest: Guest, work: F) -> impl Future<Output = F::Output> {
    let mut work = Box::pin(work);
    std::future::poll_fn(move |cx| guest.charged(|| work.as_mut().poll(cx)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ledger::Ledger;
    use skiff_types::TaskAddress;
    use std::collections::HashSet;

    fn task(number: u8, slot: skiff_ledger::TaskSlot) -> ServiceTask {
        ServiceTask {
            task: TaskId::from_parts(1, [number; 10]),
            kind: Kind::Http,
            address: TaskAddress { v4: [10, 64, 0, number].into(), v6: [0; 16].into() },
            slot,
        }
    }

    #[test]
    fn the_task_with_fewer_requests_of_two_is_picked() {
        let ledger = Ledger::create(1).unwrap().0;
        let tasks: Vec<ServiceTask> =
            (0..3).map(|number| task(number, ledger.task(u32::from(number)))).collect();
        assert!(choose(&[]).is_empty());
        assert_eq!(choose(&tasks[..1]).len(), 1);
        // The busiest of three is never picked: whichever it is compared with has fewer.
        tasks[1].slot.row(0).in_flight.add(5);
        tasks[2].slot.row(0).queued.add(1);
        let mut counts = [0; 3];
        for _ in 0..1_000 {
            let picked = choose(&tasks)[0].task;
            counts[tasks.iter().position(|task| task.task == picked).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0, "{counts:?}");
        assert!(counts[0] > 500 && counts[2] > 200, "{counts:?}");
    }

    #[test]
    fn others_are_tried_after_it_each_once() {
        let ledger = Ledger::create(1).unwrap().0;
        for count in [2, 3, 7] {
            let tasks: Vec<ServiceTask> =
                (0..count).map(|number| task(number, ledger.task(u32::from(number)))).collect();
            let chosen: HashSet<TaskId> = choose(&tasks).iter().map(|task| task.task).collect();
            assert_eq!(chosen.len(), tasks.len().min(ATTEMPTS_MAX));
        }
    }

    #[test]
    fn a_request_is_readdressed_with_its_path() {
        for (uri, path) in [("http://a.b.internal", "/"), ("http://a.b.internal:8080/x?y=z", "/x?y=z")] {
            let mut uri: Uri = uri.parse().unwrap();
            readdress(&mut uri, "10.64.0.5:8080".parse().unwrap()).unwrap();
            assert_eq!(uri.to_string(), format!("http://10.64.0.5:8080{path}"));
        }
    }
}
