//! Requests to targets that speak HTTP/2: on a connection that others use too, or on the next one.
//!
//! Requests that find no room wait for one connection together, and do not open one each. What always holds: a request is
//! sent again only where its target certainly did not begin with it (RFC 9113, section 8.7: it refused the stream, its GOAWAY
//! leaves the stream out, or nothing of it had left), or where it was lost on a connection that others had used before and
//! it may be repeated; and only if nobody has begun to read its body.

use super::failure::answer;
use super::shared::{Shared, Stream};
use super::under_way::Driven;
use super::{Miss, Pool, connect, request};
use crate::body::Upload;
use crate::edge::Edge;
use crate::exchange::Exchange;
use http::Response;
use http::request::Parts;
use hyper::body::Incoming;
use skiff_ports::connect::ConnectError;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Times that a request is sent to one target at most, where that did not begin with it before.
const SENDS_MAX: usize = 3;

/// A connection that is being opened.
#[derive(Default)]
pub(super) struct Coming {
    opened: OnceCell<Result<Rc<Shared>, ConnectError>>,
    told: Notify,
}

impl Coming {
    /// Ends when it is open, or can't be opened.
    async fn opened(&self) -> Result<Rc<Shared>, ConnectError> {
        loop {
            let told = self.told.notified();
            if let Some(opened) = self.opened.get() {
                return opened.clone();
            }
            told.await;
        }
    }
}

/// Sends a request; gives the head of the answer, and the stream on which the rest comes.
pub(super) async fn ask(
    exchange: &mut Exchange,
    pool: &Rc<Pool>,
    head: &Parts,
    upload: Option<&Arc<Upload>>,
) -> Result<(Stream, Response<Incoming>), Miss> {
    let edge = exchange.edge().clone();
    let mut sends_left = SENDS_MAX;
    loop {
        sends_left -= 1;
        let (mut stream, is_new) = stream(&edge, pool).await?;
        exchange.is_sent();
        let asked = stream.ask(request(head.clone(), upload));
        let failure = match answer(asked, upload, edge.limits()).await {
            Ok(response) => return Ok((stream, response)),
            Err(failure) => failure,
        };
        if failure.was_closed() {
            stream.retire_connection();
        }
        let is_unread = upload.is_none_or(|upload| upload.is_untouched());
        let was_left_out = failure.was_left_out() && is_unread;
        let may_repeat = !is_new && head.method.is_idempotent() && failure.was_closed() && is_unread;
        match was_left_out || may_repeat {
            true if sends_left > 0 => {}
            // Another target may have it.
            true if was_left_out => return Err(Miss::Next(Some(failure.refusal()))),
            _ => return Err(failure.refusal().into()),
        }
    }
}

/// A place for a request, and whether nobody had one on that connection before it was opened for this.
async fn stream(edge: &Rc<Edge>, pool: &Rc<Pool>) -> Result<(Stream, bool), ConnectError> {
    loop {
        if let Some(stream) = pool.stream(edge.limits()) {
            return Ok((stream, false));
        }
        let opened = coming(edge, pool).opened().await?;
        if let Some(stream) = opened.stream(edge.limits()) {
            return Ok((stream, true));
        }
        // Else others have all of its places, and there is to be one more connection. Who closes each at once would be
        // opened another for ever.
        if opened.is_closed() {
            return Err(ConnectError::Failed("it closed the connection at once".to_owned()));
        }
    }
}

/// The connection that is being opened: the one that others wait for, or else another. It is opened whoever leaves.
fn coming(edge: &Rc<Edge>, pool: &Rc<Pool>) -> Rc<Coming> {
    if let Some(coming) = pool.coming() {
        return coming;
    }
    let coming = Rc::new(Coming::default());
    pool.expects(Some(coming.clone()));
    let (edge, pool, told) = (edge.clone(), pool.clone(), coming.clone());
    tokio::task::spawn_local(async move {
        let opened = open(&edge, &pool).await;
        pool.expects(None);
        if let Ok(shared) = &opened {
            pool.share(shared.clone(), edge.limits());
        }
        let _ = told.opened.set(opened);
        told.told.notify_waiters();
    });
    coming
}

async fn open(edge: &Edge, pool: &Pool) -> Result<Rc<Shared>, ConnectError> {
    let socket = connect(edge, pool).await?;
    let begun = Shared::begin(&edge.daemons().http2, socket).await;
    let shared =
        begun.map_err(|_| ConnectError::Failed("the connection broke at its beginning".to_owned()))?;
    pool.has_under_way(Driven::Shared(Rc::downgrade(&shared)));
    Ok(shared)
}
