//! Events and messages, as real components send them, over a sink that answers as each test says.

use skiff_host_events::HostEvents;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError};
use skiff_ports::logs::{LogLine, LogStream};
use skiff_testbed::{Answered, command, denied, on_one_thread};

/// As in a worker: a guest pays for what the host holds for it.
#[global_allocator]
static ALLOCATOR: skiff_sandbox::CountingAllocator<std::alloc::System> =
    skiff_sandbox::CountingAllocator(std::alloc::System);

/// Runs a command whose calls are answered so to its end, which must be a good one. What it asked, and what its logs say.
async fn run(
    component: &str,
    answer: impl Fn(&GuestCall) -> Answered + 'static,
) -> (Vec<GuestCall>, Vec<LogLine>) {
    skiff_testbed::answer_calls(component, answer, HostEvents::new).await
}

/// Puts no events on the bus of this name. It gives 0 where they are taken, else 1 and the error's place.
fn put(bus: &str, expected: i32) -> String {
    let imports = r#"(import "skiff:events/bus@0.1.0" (instance $bus
            (type $cases (variant (case "denied" string) (case "no-such" string) (case "busy" string)
              (case "invalid" string) (case "failed" string)))
            (export "error" (type $error (eq $cases)))
            (type $fields (record (field "id" (option string)) (field "source" string) (field "detail-type" string)
              (field "subject" (option string)) (field "time-ms" (option u64)) (field "detail" string)))
            (export "event" (type $event (eq $fields)))
            (export "put" (func (param "bus" string) (param "events" (list $event)) (result (result (error $error)))))))"#;
    let lowered = r#"(core func $put (canon lower (func $bus "put")
            (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")) string-encoding=utf8))"#;
    let given = r#"(export "put" (func $put))"#;
    let declared = r#"(import "host" "put" (func $put (param i32 i32 i32 i32 i32)))"#;
    let data = format!(r#"(data (i32.const 256) "{bus}")"#);
    let main = format!(
        r#"
              (call $put (i32.const 256) (i32.const {}) (i32.const 0) (i32.const 0) (i32.const 32))
              (if (i32.eqz (i32.load8_u (i32.const 32))) (then (return (i32.const 0))))
              (i32.add (i32.const 1) (i32.load8_u (i32.const 36)))"#,
        bus.len()
    );
    command((imports, lowered, given), (declared, &data, &main), expected)
}

/// Sends `hello` to a queue. It gives 100 and whether the message failed where the call did not, else 1 and the error's place.
fn send(expected: i32) -> String {
    let imports = r#"(import "skiff:queues/producer@0.1.0" (instance $producer
            (type $cases (variant (case "denied" string) (case "no-such" string) (case "busy" string)
              (case "invalid" string) (case "failed" string)))
            (export "error" (type $error (eq $cases)))
            (type $fields (record (field "body" (list u8)) (field "attributes" (list (tuple string string)))
              (field "delay-ms" (option u64)) (field "group" (option string)) (field "deduplication-id" (option string))))
            (export "message" (type $message (eq $fields)))
            (export "send" (func (param "queue" string) (param "messages" (list $message))
              (result (result (list (result string (error string))) (error $error)))))))"#;
    let lowered = r#"(core func $send (canon lower (func $producer "send")
            (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")) string-encoding=utf8))"#;
    let given = r#"(export "send" (func $send))"#;
    let declared = r#"(import "host" "send" (func $send (param i32 i32 i32 i32 i32)))"#;
    let data = r#"(data (i32.const 256) "orders") (data (i32.const 512) "hello")"#;
    // The message lies at 1024: its body first; nothing else is said.
    let main = r#"
              (i32.store (i32.const 1024) (i32.const 512))
              (i32.store (i32.const 1028) (i32.const 5))
              (call $send (i32.const 256) (i32.const 6) (i32.const 1024) (i32.const 1) (i32.const 32))
              (if (i32.load8_u (i32.const 32))
                (then (return (i32.add (i32.const 1) (i32.load8_u (i32.const 36))))))
              (i32.add (i32.const 100) (i32.load8_u (i32.load (i32.const 36))))"#;
    command((imports, lowered, given), (declared, data, main), expected)
}

#[test]
fn events_go_to_the_bus_that_is_named() {
    on_one_thread(async {
        let (asked, _) = run(&put("default", 0), |_| Ok(GuestAnswer::Done)).await;
        assert_eq!(asked, [GuestCall::PutEvents { bus: "default".parse().expect("a name"), events: vec![] }]);
        for bus in ["", "shop/default", "../default", "Default", "default "] {
            let (asked, _) = run(&put(bus, 2), |_| Ok(GuestAnswer::Done)).await;
            assert!(asked.is_empty(), "there can be no {bus:?}");
        }
        // An answer to another question is none.
        run(&put("default", 5), |_| Ok(GuestAnswer::Sum(1))).await;
    });
}

#[test]
fn a_message_is_sent_and_its_own_outcome_told() {
    on_one_thread(async {
        let sent = |outcome: Result<String, String>| {
            move |_: &GuestCall| Ok(GuestAnswer::Sent(vec![outcome.clone()]))
        };
        let (asked, _) = run(&send(100), sent(Ok("id".to_owned()))).await;
        let [GuestCall::Send { queue, messages }] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((queue.as_str(), &messages[0].body[..]), ("orders", &b"hello"[..]));
        assert!(messages[0].attributes.is_empty() && messages[0].group.is_none());
        run(&send(101), sent(Err("it is too long".to_owned()))).await;
        run(&send(5), |_| Ok(GuestAnswer::Sent(vec![]))).await;
    });
}

#[test]
fn each_error_has_its_place_and_a_denial_is_said() {
    on_one_thread(async {
        let text = || "why".to_owned();
        for (error, place) in [
            (GuestCallError::NotFound(text()), 2),
            (GuestCallError::Busy(text()), 3),
            (GuestCallError::Invalid(text()), 4),
            (GuestCallError::Failed(text()), 5),
        ] {
            let (told, again) = (error.clone(), error);
            run(&put("default", place), move |_| Err(told.clone())).await;
            run(&send(place), move |_| Err(again.clone())).await;
        }
        let (_, lines) = run(&send(1), |_| Err(denied("queue:send orders"))).await;
        let remarks: Vec<_> =
            lines.iter().filter(|line| line.stream == LogStream::Skiff).map(|line| &*line.text).collect();
        assert!(remarks.contains(&"denied: role default/shop may not queue:send orders"), "{remarks:?}");
    });
}
