//! Services that somebody within the control plane waits for, since they have no task that runs: what wakes those that sleep.
//!
//! It deliberately wakes nothing itself, and keeps no more than a name: who goes on waiting says it again.

use skiff_types::QualifiedName;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Names that wait to be taken; one that is there already is not there twice, so there are no more than services.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    names: Mutex<BTreeSet<QualifiedName>>,
    news: Notify,
}

impl Wanted {
    /// Says that a service is waited for.
    pub(crate) fn say(&self, service: &QualifiedName) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(service.clone());
        self.news.notify_one();
    }

    /// The next one; waits for one. One caller only.
    pub(crate) async fn next(&self) -> QualifiedName {
        loop {
            if let Some(name) = self.names.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return name;
            }
            self.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_is_wanted_once_however_often_it_is_said() {
        let (wanted, name) = (Wanted::default(), |text: &str| text.parse::<QualifiedName>().unwrap());
        for text in ["default/b", "default/a", "default/b"] {
            wanted.say(&name(text));
        }
        assert_eq!(wanted.next().await, name("default/a"));
        assert_eq!(wanted.next().await, name("default/b"));
        let (next, ()) = tokio::join!(wanted.next(), async { wanted.say(&name("default/c")) });
        assert_eq!(next, name("default/c"));
    }
}
