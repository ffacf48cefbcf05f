//! One client's connection: reads requests, carries them out in order, and sends the answers together where several
//! requests came together.
//!
//! What always holds: a client that does not read its answers is not read from either; what a connection waits for holds
//! little memory, and together they hold no more than their bound.

use crate::commands::{self, Then};
use crate::reply::Replies;
use crate::request::Requests;
use crate::{BUFFERED_BYTES_MAX, CLIENTS_MAX, Server};
use std::rc::Rc;
use wasip3::sockets::types::TcpSocket;
use wasip3::wit_bindgen::{StreamResult, StreamWriter};
use wasip3::wit_stream;

/// Room to read into, in bytes: little while nothing comes, more for who sends much.
const READ_BYTES_MIN: usize = 512;
const READ_BYTES_MAX: usize = 16 << 10;
/// Answers of so many bytes are sent before the next request is carried out.
const SEND_BYTES: usize = 64 << 10;
/// What a client may have buffered however much all the others have.
const BUFFERED_BYTES_MIN: usize = 16 << 10;

/// A client.
struct Client {
    server: Rc<Server>,
    id: u64,
    requests: Requests,
    replies: Replies,
    /// Bytes of both that are counted with those of all clients.
    counted_bytes: usize,
}

/// What a connection does next.
enum Next {
    Read,
    /// Send the answers, and go on.
    Send,
    /// Send the answers, and end.
    End,
}

/// Serves a client until it leaves, or has to.
pub(crate) async fn serve(server: Rc<Server>, socket: TcpSocket, id: u64) {
    let (mut output, data) = wit_stream::new();
    let sent = socket.send(data);
    let (mut input, received) = socket.receive();
    let mut client = Client::new(server, id);
    let mut room_bytes = READ_BYTES_MIN;
    let mut next = client.first();
    loop {
        match next {
            Next::Read => {
                let (result, bytes) = input.read(Vec::with_capacity(room_bytes)).await;
                if !matches!(result, StreamResult::Complete(_)) {
                    break;
                }
                room_bytes = match bytes.len() == room_bytes {
                    true => (2 * room_bytes).min(READ_BYTES_MAX),
                    false => READ_BYTES_MIN.max(bytes.len()),
                };
                client.requests.push(&bytes);
            }
            Next::Send => {
                if !send(&mut output, &mut client).await {
                    break;
                }
            }
            Next::End => {
                send(&mut output, &mut client).await;
                break;
            }
        }
        next = client.go_on();
    }
    drop(output);
    // Why it ended is nothing that anybody waits for; the socket is kept until all is sent.
    let _ = sent.await;
    drop((input, received, socket));
}

/// False if the client takes no more.
async fn send(output: &mut StreamWriter<u8>, client: &mut Client) -> bool {
    let replies = client.replies.take();
    let is_sent = replies.is_empty() || output.write_all(replies).await.is_empty();
    client.count();
    is_sent
}

impl Client {
    fn new(server: Rc<Server>, id: u64) -> Self {
        server.clients.set(server.clients.get() + 1);
        let (requests, replies) = (Requests::default(), Replies::default());
        Self { server, id, requests, replies, counted_bytes: 0 }
    }

    fn first(&mut self) -> Next {
        if self.server.clients.get() <= CLIENTS_MAX {
            return Next::Read;
        }
        self.replies.error("ERR max number of clients reached");
        Next::End
    }

    /// Carries out what came, as far as there is room for the answers.
    fn go_on(&mut self) -> Next {
        while self.replies.bytes() < SEND_BYTES {
            match self.requests.next() {
                Ok(Some(arguments)) => {
                    if let Then::End = commands::run(&self.server, self.id, &arguments, &mut self.replies) {
                        return Next::End;
                    }
                }
                Ok(None) => return self.all_carried_out(),
                Err(malformed) => {
                    self.replies.error(&format!("ERR {}", malformed.0));
                    return Next::End;
                }
            }
        }
        self.count();
        Next::Send
    }

    fn all_carried_out(&mut self) -> Next {
        if !self.count() {
            self.replies.error("ERR clients have too much buffered together");
            return Next::End;
        }
        if self.replies.bytes() > 0 { Next::Send } else { Next::Read }
    }

    /// Counts what is buffered; false if that is too much.
    fn count(&mut self) -> bool {
        let now = self.requests.bytes() + self.replies.bytes();
        let buffered = &self.server.buffered_bytes;
        buffered.set(buffered.get() - self.counted_bytes + now);
        self.counted_bytes = now;
        now <= BUFFERED_BYTES_MIN || buffered.get() <= BUFFERED_BYTES_MAX
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Server { clients, buffered_bytes, .. } = &*self.server;
        clients.set(clients.get() - 1);
        buffered_bytes.set(buffered_bytes.get() - self.counted_bytes);
    }
}
