//! An operator's connection to a task of this worker: what comes through the supervisor's socket goes to the task, and
//! the other way round.
//!
//! Whether the operator may was asked where the API was called. Who else may reach the task is nothing to it.

use crate::link::Link;
use skiff_edge::relay::{Carried, Relay, Space};
use skiff_node::wire::{FromWorker, RequestId};
use skiff_ports::connect::{Connect, ConnectError, Destination, Origin};
use skiff_types::TaskId;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;

/// How long a connection may be silent both ways.
const SILENCE_MAX: Duration = Duration::from_secs(3_600);

/// Connects the socket to the task's port, says what became of it, and passes on bytes until both sides have ended, one
/// broke, or both were silent for too long.
pub(crate) fn start(
    connect: Rc<dyn Connect>,
    link: Rc<Link>,
    request: RequestId,
    (task, port): (TaskId, u16),
    descriptors: Vec<OwnedFd>,
) {
    spawn_local(async move {
        let answer = |result| link.send(FromWorker::Forwarded { request, result });
        let mut operator = match operators_end(descriptors) {
            Ok(operator) => operator,
            Err(error) => return answer(Err(format!("the operator's socket can't be used: {error}"))),
        };
        let to = Destination::Task { task, port };
        let connection = match connect.connect(&to, Origin::Forward).await {
            Ok(connection) => connection,
            Err(error) => return answer(Err(sentence(&error, port))),
        };
        answer(Ok(()));
        let (space, carried) = (Space::default(), Carried::default());
        // How a connection ends is between its two sides; both see that it has.
        let _ = Relay::new(&space, &carried, SILENCE_MAX).run(&mut operator, connection).await;
    });
}

fn operators_end(descriptors: Vec<OwnedFd>) -> io::Result<tokio::net::UnixStream> {
    let descriptor = descriptors.into_iter().next().ok_or(io::ErrorKind::NotConnected)?;
    tokio::net::UnixStream::from_std(UnixStream::from(descriptor))
}

/// What the operator is told of why there is no connection.
fn sentence(error: &ConnectError, port: u16) -> String {
    match error {
        ConnectError::Refused => format!(
            "the task takes no connections at port {port} at present: its program does not listen there, or has no \
             room; `skiff task show` lists the ports that it listens at"
        ),
        ConnectError::Gone
        | ConnectError::Denied(_)
        | ConnectError::TimedOut
        | ConnectError::Untrusted(_)
        | ConnectError::Unresolved(_)
        | ConnectError::Failed(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::LocalBoxFuture;
    use skiff_node::wire::{FrameReader, frames};
    use skiff_ports::connect::Connection;
    use std::cell::RefCell;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    /// Gives these connections, the last first, of which the test has the other ends; then nobody listens any more.
    struct Prepared(RefCell<Vec<TcpStream>>);

    impl Connect for Prepared {
        fn connect(
            &self,
            to: &Destination,
            origin: Origin,
        ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>> {
            assert!(matches!(to, Destination::Task { port: 6379, .. }), "{to:?}");
            assert_eq!(origin, Origin::Forward);
            let end = self.0.borrow_mut().pop();
            Box::pin(async move {
                end.map(|end| Box::new(end) as Box<dyn Connection>).ok_or(ConnectError::Refused)
            })
        }
    }

    /// The two ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    async fn answer(reader: &mut FrameReader) -> (RequestId, Result<(), String>) {
        match reader.next().await.unwrap() {
            Some((FromWorker::Forwarded { request, result }, _)) => (request, result),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_pass_both_ways_until_both_sides_have_ended_or_one_breaks_off() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let ((_ours, writer), (mut reader, _theirs)) = (frames(ours), frames(theirs));
            let link = Link::start(writer);
            let ((mut task, end), (mut left, left_end)) = (pair().await, pair().await);
            let connect: Rc<dyn Connect> = Rc::new(Prepared(RefCell::new(vec![left_end, end])));
            let target = (TaskId::from_parts(1, [1; 10]), 6379);
            let forward = |request| {
                let (operator, end) = UnixStream::pair().unwrap();
                operator.set_nonblocking(true).unwrap();
                end.set_nonblocking(true).unwrap();
                start(connect.clone(), link.clone(), request, target, vec![end.into()]);
                tokio::net::UnixStream::from_std(operator).unwrap()
            };
            let mut operator = forward(7);
            assert_eq!(answer(&mut reader).await, (7, Ok(())));
            operator.write_all(b"ping").await.unwrap();
            operator.shutdown().await.unwrap();
            let mut asked = String::new();
            task.read_to_string(&mut asked).await.unwrap();
            task.write_all(b"pong").await.unwrap();
            drop(task);
            let mut answered = String::new();
            operator.read_to_string(&mut answered).await.unwrap();
            assert_eq!((asked.as_str(), answered.as_str()), ("ping", "pong"));

            let operator = forward(8);
            assert_eq!(answer(&mut reader).await, (8, Ok(())));
            left.write_all(b"never read").await.unwrap();
            operator.readable().await.unwrap();
            drop(operator);
            let error = left.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the task must not take it for an end");

            let mut refused = forward(9);
            assert_eq!(answer(&mut reader).await, (9, Err(sentence(&ConnectError::Refused, 6379))));
            assert_eq!(refused.read_to_string(&mut answered).await.unwrap(), 0, "its socket is closed");
        });
    }
}
