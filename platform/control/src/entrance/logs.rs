//! Logs: whose lines, and until when.
//!
//! The lines of one task that are followed end once the task is `STOPPED` and its last line was sent. The node hands
//! over a program's lines before it says that the program ended, so at `STOPPED` all lines are there to be read.

use super::Entrance;
use super::tasks::no_task;
use crate::context::Context;
use crate::error::ApiError;
use futures::stream::{BoxStream, StreamExt};
use skiff_api::{LogLine, LogQuery, LogStream};
use skiff_ports::logs;
use skiff_types::{Group, Name, Namespace, QualifiedName, TaskId, TaskStatus};
use std::sync::Arc;
use std::time::Duration;

/// How long the last line of a task that has ended is waited for, if it does not come.
const LAST_LINE_WAIT: Duration = Duration::from_millis(250);

/// Lines as they come.
pub(crate) type Lines = BoxStream<'static, std::io::Result<LogLine>>;

impl Entrance {
    /// The lines asked for, oldest first.
    pub(crate) fn read_logs(&self, namespace: &Namespace, query: &LogQuery) -> Result<Lines, ApiError> {
        if query.tail.is_some_and(|tail| tail > LogQuery::TAIL_MAX) {
            return Err(ApiError::invalid(format!("tail must be 0 to {}", LogQuery::TAIL_MAX)));
        }
        let owner = match (&query.owner, query.task) {
            (Some(owner), None) => self.known_owner(namespace, owner)?,
            (None, Some(task)) => self.log_owner_of(namespace, task)?,
            _ => return Err(ApiError::invalid("give either owner or task")),
        };
        let query = logs::LogQuery {
            owner,
            task: query.task,
            since_ms: query.since_ms,
            tail: query.tail.map(|tail| tail as usize),
            follow: query.follow.unwrap_or(false),
        };
        let lines = match query.task {
            Some(task) if query.follow => follow_task(self.context.clone(), namespace.clone(), task, query),
            _ => self.context.logs.read(query),
        };
        Ok(lines.map(|line| line.map(wire)).boxed())
    }

    /// The service or family of this name, if there is one.
    pub(super) fn known_owner(&self, namespace: &Namespace, owner: &Name) -> Result<QualifiedName, ApiError> {
        let name = QualifiedName::new(namespace.clone(), owner.clone());
        let known = self.context.objects.read(|view| {
            view.service(&name).is_some()
                || view.newest(namespace, owner).is_some()
                || view.tasks_of(namespace, &Group::Family(owner.clone())).next().is_some()
        });
        match known {
            true => Ok(name),
            false => Err(ApiError::not_found(format!(
                "there is no service or family {owner} in the namespace {namespace}"
            ))),
        }
    }

    fn log_owner_of(&self, namespace: &Namespace, task: TaskId) -> Result<QualifiedName, ApiError> {
        let owner =
            self.context.objects.read(|view| view.task(namespace, task).map(|held| held.value.owner()));
        owner.ok_or_else(|| no_task(namespace, task))
    }
}

/// The lines of a task until it has ended.
fn follow_task(
    context: Arc<Context>,
    namespace: Namespace,
    task: TaskId,
    query: logs::LogQuery,
) -> BoxStream<'static, std::io::Result<logs::LogLine>> {
    let lines = context.logs.read(query.clone());
    let end = Box::pin(last_line(context, namespace, task, query));
    let following = Following { lines, end: Some(end), last: None, sent: None };
    futures::stream::unfold(following, |mut following| async move {
        let line = following.next().await?;
        Some((line, following))
    })
    .boxed()
}

/// When a line was written, and which of those written in the same millisecond it is, counted from 1.
type Place = (u64, usize);

/// A task's lines while it lives, and the place of the last one as soon as it has ended.
struct Following<F> {
    lines: BoxStream<'static, std::io::Result<logs::LogLine>>,
    end: Option<F>,
    last: Option<Option<Place>>,
    sent: Option<Place>,
}

impl<F: Future<Output = Option<Place>> + Unpin> Following<F> {
    async fn next(&mut self) -> Option<std::io::Result<logs::LogLine>> {
        loop {
            match self.last {
                Some(last) if self.sent == last => return None,
                Some(_) => {
                    let line = tokio::time::timeout(LAST_LINE_WAIT, self.lines.next()).await.ok()??;
                    return Some(self.count(line));
                }
                None => {}
            }
            tokio::select! {
                biased;
                line = self.lines.next() => {
                    let line = line?;
                    return Some(self.count(line));
                }
                last = async { self.end.as_mut().expect("taken with `last` alone").await } => {
                    self.end = None;
                    self.last = Some(last);
                }
            }
        }
    }

    fn count(&mut self, line: std::io::Result<logs::LogLine>) -> std::io::Result<logs::LogLine> {
        if let Ok(line) = &line {
            self.sent = Some(place_after(self.sent, line.at_ms));
        }
        line
    }
}

fn place_after(before: Option<Place>, at_ms: u64) -> Place {
    match before {
        Some((same, count)) if same == at_ms => (at_ms, count + 1),
        _ => (at_ms, 1),
    }
}

/// Waits for a task's end, then finds the place of its last line; `None` if it wrote none.
async fn last_line(
    context: Arc<Context>,
    namespace: Namespace,
    task: TaskId,
    query: logs::LogQuery,
) -> Option<Place> {
    let generation = context.objects.generation();
    let has_ended = || {
        let held = context.objects.read(|view| view.task(&namespace, task).cloned());
        held.is_none_or(|held| held.value.task.status == TaskStatus::Stopped)
    };
    loop {
        let seen = generation.get();
        if has_ended() {
            break;
        }
        generation.reached(seen + 1).await;
    }
    let all = logs::LogQuery { tail: None, follow: false, ..query };
    let lines = context.logs.read(all);
    let place = |before, line: std::io::Result<logs::LogLine>| async move {
        line.map_or(before, |line| Some(place_after(before, line.at_ms)))
    };
    lines.fold(None, place).await
}

fn wire(line: logs::LogLine) -> LogLine {
    LogLine {
        at_ms: line.at_ms,
        task: line.task,
        stream: match line.stream {
            logs::LogStream::Stdout => LogStream::Stdout,
            logs::LogStream::Stderr => LogStream::Stderr,
            logs::LogStream::Skiff => LogStream::Skiff,
        },
        text: line.text,
    }
}
