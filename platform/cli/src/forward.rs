//! `skiff forward`: a port of this machine whose connections lead to a task.
//!
//! It listens on loopback alone, and passes every connection on through the platform's API. To which of a service's tasks
//! is asked for each connection anew, so that it outlives any of them.

use crate::args::ForwardArgs;
use crate::context::Context;
use crate::failure::usage;
use crate::{progress, tasks};
use anyhow::{Context as _, bail};
use serde::Serialize;
use skiff_api::{
    Client, ErrorCode, ForwardQuery, PageQuery, Task, TaskDefinitionQuery, TaskDefinitionReference,
    TaskHealth, TaskListQuery,
};
use skiff_types::{Group, Kind, Name, Namespace, TaskId, TaskStatus};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// Bytes on their way in each direction of a connection.
const BUFFER_BYTES: usize = 16 << 10;
/// The wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

pub(crate) async fn run(context: &Context, args: &ForwardArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let (to, its_port) = find(context, &client, &args.to).await?;
    let text = &args.to;
    let asked = args.ports.and_then(|ports| ports.remote).or(its_port);
    let port = asked.ok_or_else(|| {
        usage(format!("the definition of {text} names no port; say which: `skiff forward {text} 8080`"))
    })?;
    let local = args.ports.and_then(|ports| ports.local).unwrap_or(port);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local)).await.with_context(|| {
        format!(
            "can't listen at 127.0.0.1:{local}; take any port that is free: `skiff forward {text} 0:{port}`"
        )
    })?;
    let announced = Announced::new(listener.local_addr()?, &to, port);
    context.output.print(&announced, || announced.text())?;
    let forward =
        Forward { client, namespace: context.namespace.clone(), to, port, turn: AtomicUsize::new(0) };
    tokio::select! {
        () = accept(listener, Arc::new(forward)) => Ok(()),
        told = told_to_stop() => Ok(told?),
    }
}

/// Where connections lead.
enum To {
    Task(TaskId),
    Service {
        name: Name,
        /// Whether the health of its tasks is checked.
        checked: bool,
    },
}

/// What a text names, and the port that its definition names.
async fn find(context: &Context, client: &Client, text: &str) -> anyhow::Result<(To, Option<u16>)> {
    let namespace = &context.namespace;
    // The last digits of a task's id may look like a name.
    let name: Option<Name> = if text.parse::<TaskId>().is_ok() { None } else { text.parse().ok() };
    if let Some(name) = name {
        match client.get_service(namespace, &name).await {
            Ok(service) if service.status.kind == Kind::Http => {
                return Err(answers_http(text, &service.status.urls));
            }
            Ok(service) => {
                let port = service.status.port;
                return Ok((To::Service { name, checked: port.is_some() }, port));
            }
            Err(error) if error.code() == Some(ErrorCode::NotFound) && tasks::looks_like_id(text) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let id = tasks::resolve(context, client, text).await?;
    let task = client.get_task(namespace, id).await?;
    if task.kind == Kind::Http {
        let urls = match &task.group {
            Group::Service(name) => client.get_service(namespace, name).await?.status.urls,
            Group::Family(_) => Vec::new(),
        };
        return Err(answers_http(text, &urls));
    }
    let reference = TaskDefinitionReference::from(task.definition);
    let definition =
        client.get_task_definition(namespace, &reference, &TaskDefinitionQuery::default()).await?;
    Ok((To::Task(id), definition.port))
}

fn answers_http(text: &str, urls: &[String]) -> anyhow::Error {
    let at = urls.first().map(|url| format!(" at {url}"));
    usage(format!(
        "{text} answers HTTP requests and listens at no port: call it{}",
        at.as_deref().unwrap_or(" through the load balancer")
    ))
}

/// What is printed once connections are accepted.
#[derive(Serialize)]
struct Announced<'a> {
    local: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a Name>,
    port: u16,
}

impl<'a> Announced<'a> {
    fn new(local: SocketAddr, to: &'a To, port: u16) -> Self {
        let (task, service) = match to {
            To::Task(id) => (Some(*id), None),
            To::Service { name, .. } => (None, Some(name)),
        };
        Self { local, task, service, port }
    }

    fn text(&self) -> String {
        let task = self.task.map(|id| format!("task {}", id.short()));
        let service = self.service.map(|name| format!("service {name}"));
        format!("{} -> {} port {}", self.local, task.or(service).unwrap_or_default(), self.port)
    }
}

/// Ends when this process is told to.
async fn told_to_stop() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Passes on every connection. What goes wrong with one concerns no other.
async fn accept(listener: TcpListener, forward: Arc<Forward>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let forward = forward.clone();
                tokio::spawn(async move {
                    if let Err(error) = forward.pass(stream).await {
                        progress::note(format!("a connection failed: {error:#}"));
                    }
                    drop(place);
                });
            }
            Err(error) => {
                progress::note(format!("a connection could not be accepted: {error}"));
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// What every connection needs.
struct Forward {
    client: Client,
    namespace: Namespace,
    to: To,
    port: u16,
    /// How many connections a service's tasks were asked for.
    turn: AtomicUsize,
}

impl Forward {
    /// Passes on what comes from either side, until both have ended or one broke.
    async fn pass(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let task = match &self.to {
            To::Task(id) => *id,
            To::Service { name, checked } => self.task_of(name, *checked).await?,
        };
        let query = ForwardQuery { port: self.port };
        let mut connection = self.client.forward(&self.namespace, task, &query).await?;
        copy_bidirectional_with_sizes(&mut stream, &mut connection, BUFFER_BYTES, BUFFER_BYTES).await?;
        Ok(())
    }

    /// A task of a service that is ready, each in its turn.
    async fn task_of(&self, service: &Name, checked: bool) -> anyhow::Result<TaskId> {
        let query = TaskListQuery {
            service: Some(service.clone()),
            status: Some(TaskStatus::Running),
            limit: Some(PageQuery::LIMIT_MAX),
            ..TaskListQuery::default()
        };
        let tasks = self.client.list_tasks(&self.namespace, &query).await?.items;
        let ready: Vec<TaskId> =
            tasks.iter().filter(|task| is_ready(task, checked)).map(|task| task.id).collect();
        if ready.is_empty() {
            bail!("no task of {service} is ready; `skiff service show {service}` says more");
        }
        Ok(ready[self.turn.fetch_add(1, Ordering::Relaxed) % ready.len()])
    }
}

/// Whether a task that is `RUNNING` takes connections, as far as is known.
fn is_ready(task: &Task, checked: bool) -> bool {
    match task.health {
        TaskHealth::Healthy => true,
        TaskHealth::Unknown => !checked,
        TaskHealth::Unhealthy => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn what_leads_where_is_said_in_a_line() {
        let local = "127.0.0.1:6380".parse().unwrap();
        let task = To::Task("0193f0c5c0007000800000005e8f01b2".parse().unwrap());
        let text = Announced::new(local, &task, 6379).text();
        assert_eq!(text, "127.0.0.1:6380 -> task 5e8f01b2 port 6379");
        let service = To::Service { name: "cache".parse().unwrap(), checked: true };
        let text = Announced::new(local, &service, 6379).text();
        assert_eq!(text, "127.0.0.1:6380 -> service cache port 6379");
    }

    #[test]
    fn what_answers_http_is_told_with_its_url() {
        let message = answers_http("hello", &["http://hello.localhost:8080/".to_owned()]).to_string();
        assert!(message.ends_with("call it at http://hello.localhost:8080/"), "{message}");
    }

    /// An API that refuses the first connection, and sends back what it gets on each that comes later.
    async fn api() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let body = r#"{"error":{"code":"FailedPrecondition","message":"nobody listens"}}"#;
            let length = body.len();
            let refusal = format!(
                "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let upgrade =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: skiff-forward\r\n\r\n";
            for answer in std::iter::once(refusal.as_str()).chain(std::iter::repeat(upgrade)) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.contains("/forward?port=6379 HTTP/1.1\r\n"), "{head}");
                assert!(head.contains("upgrade: skiff-forward\r\n"), "{head}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answer == upgrade {
                    let (mut from, mut to) = stream.into_split();
                    tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
                }
            }
        });
        url
    }

    #[tokio::test]
    async fn a_connection_that_fails_ends_no_other() {
        let client = Client::new(&api().await, None).unwrap();
        let to = To::Task("0193f0c5c0007000800000005e8f01b2".parse().unwrap());
        let forward =
            Forward { client, namespace: Namespace::default(), to, port: 6379, turn: AtomicUsize::new(0) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let local = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, Arc::new(forward)));
        let mut refused = TcpStream::connect(local).await.unwrap();
        assert_eq!(refused.read(&mut [0]).await.unwrap(), 0, "it is closed");
        let mut connection = TcpStream::connect(local).await.unwrap();
        connection.write_all(b"ping").await.unwrap();
        connection.shutdown().await.unwrap();
        let mut echoed = String::new();
        connection.read_to_string(&mut echoed).await.unwrap();
        assert_eq!(echoed, "ping");
    }
}
