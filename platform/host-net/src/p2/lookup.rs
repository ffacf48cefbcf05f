//! `wasi:sockets/ip-name-lookup` 0.2.
//!
//! What a name means is asked of `net` at once, and told when it is there. An address needs nobody to be asked.

use super::bindings::ip_name_lookup::{Host, HostResolveAddressStream, IpAddress, Network};
use super::bindings::network::ErrorCode;
use super::{SocketResult, View};
use crate::local::Local;
use crate::name::{Asked, asked};
use futures::future::LocalBoxFuture;
use skiff_net::NetError;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker, ready};
use wasmtime::component::Resource;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

/// The addresses of a name, as far as the guest has not taken them yet.
#[allow(unreachable_pub, reason = "the generated bindings name it as `pub`")]
pub struct ResolveAddressStream(Answer);

enum Answer {
    Pending(Local<LocalBoxFuture<'static, Result<Vec<IpAddr>, NetError>>>),
    Ready(Addresses),
}

/// Those that the guest has not taken, or why there are none.
type Addresses = Result<Local<std::vec::IntoIter<IpAddr>>, Local<NetError>>;

impl ResolveAddressStream {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<&mut Addresses> {
        if let Answer::Pending(pending) = &mut self.0 {
            let answer = ready!(pending.with_mut(|pending| pending.as_mut().poll(cx)));
            let addresses = answer.map(|addresses| Local::new(addresses.into_iter()));
            self.0 = Answer::Ready(addresses.map_err(Local::new));
        }
        match &mut self.0 {
            Answer::Ready(answer) => Poll::Ready(answer),
            Answer::Pending(_) => Poll::Pending,
        }
    }
}

impl Host for View<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddressStream>> {
        self.check(&network)?;
        let answer = match asked(&name).map_err(|error| self.told(error))? {
            Asked::Address(address) => Answer::Ready(Ok(Local::make(|| vec![address].into_iter()))),
            Asked::Name(name) => {
                let pending = self
                    .context
                    .interface()
                    .map(|interface| Local::new(interface.with(|interface| interface.resolve(&name))));
                Answer::Pending(pending.map_err(|error| self.told(error))?)
            }
        };
        let mut stream = ResolveAddressStream(answer);
        // The question goes out now, and what fails at once is said at once.
        if let Poll::Ready(Err(error)) = stream.poll_answer(&mut Context::from_waker(Waker::noop())) {
            return Err(self.told(error.with(NetError::clone)));
        }
        Ok(self.table.push(stream)?)
    }
}

impl HostResolveAddressStream for View<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        let stream = self.table.get_mut(&stream)?;
        let next = match stream.poll_answer(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return Err(ErrorCode::WouldBlock.into()),
            Poll::Ready(Ok(addresses)) => Ok(addresses.with_mut(Iterator::next)),
            Poll::Ready(Err(error)) => Err(error.with(NetError::clone)),
        };
        match next {
            Ok(address) => Ok(address.map(|address| address.to_canonical().into())),
            Err(error) => Err(self.told(error)),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

#[async_trait]
impl Pollable for ResolveAddressStream {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_answer(cx).map(|_| ())).await;
    }
}
