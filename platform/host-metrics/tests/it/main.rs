//! Metrics of guests' own, put by real components in one worker.

mod world;

use skiff_ports::logs::LogStream;
use skiff_testbed::{FAMILY, on_one_thread};
use world::World;

/// As in a worker: a guest pays for what the host holds for it.
#[global_allocator]
static ALLOCATOR: skiff_sandbox::CountingAllocator<std::alloc::System> =
    skiff_sandbox::CountingAllocator(std::alloc::System);

/// What a guest is answered: 0 for taken, else one more than 256 times the error's place.
const TAKEN: i32 = 0;
const INVALID_METRIC: i32 = 1;
const INVALID_DIMENSIONS: i32 = 1 + (1 << 8);
const INVALID_VALUE: i32 = 1 + (2 << 8);
const TOO_MANY: i32 = 1 + (3 << 8);

#[test]
fn a_value_comes_with_whose_it_is() {
    on_one_thread(async {
        let world = World::default();
        for (in_service, source) in [(true, "service"), (false, "family")] {
            world.put(in_service, "orders", ("zone", "a"), "2.5", TAKEN).await;
            let put = world.sink.0.borrow_mut().pop().expect("it was taken");
            assert_eq!((put.namespace.to_string(), put.metric.as_str()), ("default".to_owned(), "orders"));
            assert_eq!(put.dimensions.to_string(), format!("{source}={FAMILY},zone=a"));
            assert_eq!(put.value, 2.5);
        }
    });
}

#[test]
fn a_guest_is_told_what_can_not_be_kept() {
    on_one_thread(async {
        let world = World::default();
        for (metric, dimension, value, answer) in [
            ("no metric", ("zone", "a"), "1", INVALID_METRIC),
            ("orders", ("service", "bank"), "1", INVALID_DIMENSIONS),
            ("orders", ("family", "bank"), "1", INVALID_DIMENSIONS),
            ("orders", ("zone", "a,service=bank"), "1", INVALID_DIMENSIONS),
            ("Backlog", ("queue", "orders"), "1", INVALID_METRIC),
            ("orders", ("zone", "a"), "inf", INVALID_VALUE),
            ("orders", ("zone", "a"), "nan", INVALID_VALUE),
        ] {
            world.put(true, metric, dimension, value, answer).await;
        }
        assert!(world.sink.0.borrow().is_empty(), "nothing of it went on");
    });
}

#[test]
fn what_skiff_measures_of_a_queue_is_no_guest_s_to_say() {
    on_one_thread(async {
        let world = World::default();
        let lines = world.put(true, "backlog", ("queue", "orders"), "1000000", INVALID_METRIC).await;
        let said = lines.iter().find(|line| line.stream == LogStream::Skiff).expect("a remark");
        assert!(said.text.contains("with the dimension queue it is"), "{}", said.text);
        assert!(world.sink.0.borrow().is_empty(), "nothing of it went on");
        world.put(true, "depth", ("queue", "orders"), "1", TAKEN).await;
    });
}

#[test]
fn what_there_is_no_room_for_is_said_to_the_guest_and_in_its_logs() {
    on_one_thread(async {
        let world = World { is_full: true, ..World::default() };
        let lines = world.put(true, "orders", ("zone", "a"), "1", TOO_MANY).await;
        let said = lines.iter().find(|line| line.stream == LogStream::Skiff).expect("a remark");
        assert!(said.text.contains("the metric orders was dropped"), "{}", said.text);
    });
}
