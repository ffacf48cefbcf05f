//! A connection that speaks another protocol from here on, a WebSocket's for one: bytes both ways, whatever they mean.
//!
//! It belongs to the request that asked for it: that one's exchange lasts as long, and accounts for the bytes.

use crate::daemon::Pool;
use crate::exchange::Exchange;
use crate::relay::{Carried, Relay};
use crate::share::Place;
use bytes::Bytes;
use skiff_ports::connect::Connection;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection is to carry once HTTP has ended on it.
pub(crate) struct Tunnel {
    pub(crate) exchange: Exchange,
    pub(crate) task: Box<dyn Connection>,
    /// What was read of the task already.
    pub(crate) ahead: Bytes,
    /// Among the connections without HTTP.
    pub(crate) place: Place,
}

impl Tunnel {
    /// Carries bytes until both sides have ended, or the connection is cut off. `ahead` was read of the client already.
    pub(crate) async fn carry<C>(self: Box<Self>, mut client: C, ahead: Bytes)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { mut exchange, task, ahead: from_task, place: _place } = *self;
        let (edge, connection) = (exchange.edge().clone(), exchange.connection().clone());
        let carried = Carried::default();
        let relay = Relay::new(edge.space(), &carried, edge.limits().tunnel_idle_timeout);
        let relay = relay.after(&ahead, &from_task).run(&mut client, task);
        let pool = exchange.pool();
        let ended = connection.unless_cut(Pool::unless_left(pool.as_deref(), relay)).await;
        exchange.was_carried(&carried);
        match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(broken))) => exchange.broke_off(broken.to_string()),
            Ok(Err(left)) => exchange.broke_off(left.to_string()),
            Err(cut) => exchange.broke_off(cut.to_string()),
        }
    }
}
