//! How what lives on a worker's one thread is kept in places that ask for `Send`.
//!
//! What is in there may be used on the thread that it was made on, and nowhere else; elsewhere it panics, which no guest can
//! bring about. And whatever is done with it is done apart from the guest's heap ([`skiff_sandbox::apart`]): `net` bounds and
//! charges what it holds by itself.

use send_wrapper::SendWrapper;
use skiff_sandbox::apart;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Something of the worker's thread.
pub(crate) struct Local<T>(Option<SendWrapper<T>>);

impl<T> Local<T> {
    /// For what was made [`apart`], on this thread, by whoever it comes from.
    pub(crate) fn new(value: T) -> Self {
        Self(Some(SendWrapper::new(value)))
    }

    /// For what is made only now.
    pub(crate) fn make(make: impl FnOnce() -> T) -> Self {
        Self::new(apart(make))
    }

    /// Does something with it, which may neither come back to it nor free what is the guest's.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&T) -> R) -> R {
        apart(|| step(self.get()))
    }

    /// As [`Self::with`].
    pub(crate) fn with_mut<R>(&mut self, step: impl FnOnce(&mut T) -> R) -> R {
        apart(|| step(self.get_mut()))
    }

    /// The value itself, for what allocates nothing.
    pub(crate) fn get(&self) -> &T {
        self.0.as_ref().expect("it is there until it is taken or dropped")
    }

    fn get_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is taken or dropped")
    }

    /// Takes it out. What it holds is freed [`apart`] from the guest's heap by whoever has it then.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("it is there until it is taken or dropped").take()
    }
}

impl<T: Clone> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self::new(self.with(T::clone))
    }
}

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        apart(|| self.0 = None);
    }
}

impl<F: Future + Unpin> Future for Local<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.with_mut(|future| Pin::new(future).poll(cx))
    }
}
