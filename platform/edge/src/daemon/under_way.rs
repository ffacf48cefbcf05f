//! What is under way to one target, so that it can be cut: the connections on which HTTP is spoken, and whoever carries other
//! bytes and waits to be told.
//!
//! It deliberately does not know when that is; it is when a target has left its group and had its time for what it has
//! ([`super::Pool::deregister`]). What always holds: what begins after the cut ends at once; connections that have ended
//! take no more room than those that have not.

use super::shared::Shared;
use std::cell::{Cell, RefCell};
use std::rc::Weak;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Connections that are kept before it is looked which of them have ended.
const LOOK_AT_MIN: usize = 16;

/// A connection on which HTTP is spoken.
pub(super) enum Driven {
    /// One request after the other; this moves its bytes.
    Alone(AbortHandle),
    /// Several at once.
    Shared(Weak<Shared>),
}

impl Driven {
    fn is_over(&self) -> bool {
        match self {
            Self::Alone(driver) => driver.is_finished(),
            Self::Shared(shared) => shared.strong_count() == 0,
        }
    }

    fn end(&self) {
        match self {
            Self::Alone(driver) => driver.abort(),
            Self::Shared(shared) => shared.upgrade().iter().for_each(|shared| shared.end()),
        }
    }
}

/// What is under way to one target. Lives on one thread.
#[derive(Default)]
pub(super) struct UnderWay {
    driven: RefCell<Vec<Driven>>,
    /// So many connections are kept before it is looked again which of them have ended.
    look_at: Cell<usize>,
    is_cut: Cell<bool>,
    cut: Notify,
}

impl UnderWay {
    /// There is one more.
    pub(super) fn add(&self, driven: Driven) {
        if self.is_cut.get() {
            return driven.end();
        }
        let mut all = self.driven.borrow_mut();
        if all.len() >= self.look_at.get().max(LOOK_AT_MIN) {
            all.retain(|driven| !driven.is_over());
            self.look_at.set(2 * all.len());
        }
        all.push(driven);
    }

    /// Ends all that there is.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        let driven = self.driven.take();
        driven.iter().for_each(Driven::end);
        self.cut.notify_waiters();
    }

    /// Whether all that there was had to end.
    pub(super) fn was_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Ends when all that there is has to end.
    pub(super) async fn is_cut(&self) {
        loop {
            let cut = self.cut.notified();
            if self.is_cut.get() {
                return;
            }
            cut.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::run;
    use futures::FutureExt;

    #[test]
    fn all_that_is_under_way_ends_and_what_begins_later_too() {
        run(async || {
            let under_way = UnderWay::default();
            let endless = || tokio::task::spawn_local(std::future::pending::<()>());
            let (first, late) = (endless(), endless());
            under_way.add(Driven::Alone(first.abort_handle()));
            assert!(under_way.is_cut().now_or_never().is_none() && !under_way.was_cut());
            let told = under_way.is_cut();
            let cut = async { under_way.cut() };
            tokio::join!(told, cut);
            assert!(first.await.unwrap_err().is_cancelled());
            under_way.add(Driven::Alone(late.abort_handle()));
            assert!(late.await.unwrap_err().is_cancelled());
            under_way.is_cut().await;
            assert!(under_way.was_cut());
        });
    }

    #[test]
    fn what_has_ended_takes_no_room() {
        run(async || {
            let under_way = UnderWay::default();
            let endless = tokio::task::spawn_local(std::future::pending::<()>());
            under_way.add(Driven::Alone(endless.abort_handle()));
            for _ in 0..1_000 {
                let short = tokio::task::spawn_local(async {});
                under_way.add(Driven::Alone(short.abort_handle()));
                short.await.unwrap();
            }
            assert!(under_way.driven.borrow().len() <= LOOK_AT_MIN);
            under_way.cut();
            assert!(endless.await.unwrap_err().is_cancelled());
        });
    }
}
