//! Native code is mapped when it is needed, and unmapped when it is not.

use crate::support::{Guest, World};
use futures::future::join;
use skiff_sandbox::CodeBounds;
use skiff_testbed::{on_one_thread, until};
use std::time::Duration;

const GUESTS: [Guest; 3] = [Guest::Hello, Guest::Misbehave, Guest::MisbehaveP3];

#[test]
fn what_was_asked_for_longest_ago_makes_room() {
    on_one_thread(async {
        let world = World::with_code(4, &GUESTS, CodeBounds { components: 2, bytes: 1 << 30 });
        let [hello, misbehave, p3] = GUESTS.map(|guest| world.run(guest, |_| {}));
        for (task, fetches) in
            [(hello, 1), (misbehave, 2), (hello, 2), (p3, 3), (hello, 3), (misbehave, 4), (hello, 4)]
        {
            world.text(task, "/").await.unwrap();
            world.all_is_given_back(task).await;
            assert_eq!(world.fetches(), fetches);
            assert!(world.mapped().0 <= 2, "{:?}", world.mapped());
        }
    });
}

#[test]
fn bytes_are_bounded_too_and_what_runs_stays() {
    on_one_thread(async {
        let world = World::with_code(4, &GUESTS, CodeBounds { components: 100, bytes: 1 });
        let [hello, misbehave, _] =
            GUESTS.map(|guest| world.run(guest, |task| task.limits.timeout = "1s".parse().unwrap()));
        let beside = async {
            until("it sleeps", || world.slot(misbehave).totals().sandboxes == 1).await;
            world.text(hello, "/").await.unwrap();
            world.all_is_given_back(hello).await;
            // Its code is mapped while it sleeps: nothing is fetched for another of its sandboxes.
            world.text(misbehave, "/").await.unwrap();
            assert_eq!(world.fetches(), 2);
        };
        let (slept, ()) = join(world.text(misbehave, "/sleep"), beside).await;
        assert!(slept.is_err());
        world.all_is_given_back(misbehave).await;
        world.text(hello, "/").await.unwrap();
        world.all_is_given_back(hello).await;
        world.text(misbehave, "/").await.unwrap();
        assert_eq!(world.fetches(), 4);
    });
}

#[test]
fn what_nobody_asks_for_is_unmapped_after_a_while() {
    on_one_thread(async {
        let world = World::new(4, &GUESTS);
        let task = world.run(Guest::Hello, |_| {});
        world.text(task, "/").await.unwrap();
        world.all_is_given_back(task).await;
        let (components, bytes) = world.mapped();
        assert!(components == 1 && bytes > 10_000, "{components} {bytes}");
        tokio::time::pause();
        for _ in 0..70 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::resume();
        assert_eq!(world.mapped(), (0, 0));
        world.text(task, "/").await.unwrap();
        assert_eq!(world.fetches(), 2);
    });
}
