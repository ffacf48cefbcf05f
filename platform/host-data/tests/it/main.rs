//! Tables, as real components ask for them, over a sink that answers as each test says. Buckets, whose interface has streams, are
//! tested with guests of the SDK's (`server/tests/it/guest_calls.rs`).

use skiff_host_data::HostData;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, GuestCallError, GuestItem};
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
    skiff_testbed::answer_calls(component, answer, HostData::new).await
}

/// `wasi:keyvalue`: opens `rows` and gets `key`. It gives 1 and the error's place if it can't be opened, 10 and the error's place
/// if it can't be got, 20 for nothing, 30 and the value's first byte else.
fn get(expected: i32) -> String {
    let imports = r#"(import "wasi:keyvalue/store@0.2.0-draft2" (instance $store
            (export "bucket" (type $bucket (sub resource)))
            (type $cases (variant (case "no-such-store") (case "access-denied") (case "other" string)))
            (export "error" (type $error (eq $cases)))
            (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
            (export "[method]bucket.get" (func
              (param "self" (borrow $bucket)) (param "key" string)
              (result (result (option (list u8)) (error $error)))))))"#;
    let lowered = r#"(core func $open (canon lower (func $store "open")
            (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")) string-encoding=utf8))
          (core func $get (canon lower (func $store "[method]bucket.get")
            (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")) string-encoding=utf8))"#;
    let given = r#"(export "open" (func $open)) (export "get" (func $get))"#;
    let declared = r#"(import "host" "open" (func $open (param i32 i32 i32)))
            (import "host" "get" (func $get (param i32 i32 i32 i32)))"#;
    let data = r#"(data (i32.const 256) "rows") (data (i32.const 512) "key")"#;
    let main = r#"
              (call $open (i32.const 256) (i32.const 4) (i32.const 0))
              (if (i32.load8_u (i32.const 0))
                (then (return (i32.add (i32.const 1) (i32.load8_u (i32.const 4))))))
              (call $get (i32.load (i32.const 4)) (i32.const 512) (i32.const 3) (i32.const 32))
              (if (i32.load8_u (i32.const 32))
                (then (return (i32.add (i32.const 10) (i32.load8_u (i32.const 36))))))
              (if (i32.eqz (i32.load8_u (i32.const 36))) (then (return (i32.const 20))))
              (i32.add (i32.const 30) (i32.load8_u (i32.load (i32.const 40))))"#;
    command((imports, lowered, given), (declared, data, main), expected)
}

/// `skiff:tables`: adds 5 to `key` of `rows`, `times` times. It gives 100 and the last sum, or 1 and the place of the first error.
fn increment(times: i32, expected: i32) -> String {
    let imports = r#"(import "skiff:tables/table@0.1.0" (instance $table
            (type $conflicting-record (record (field "message" string) (field "version" (option u64))))
            (export "conflicting" (type $conflicting (eq $conflicting-record)))
            (type $cases (variant (case "denied" string) (case "no-such" string) (case "conflict" $conflicting)
              (case "busy" string) (case "invalid" string) (case "failed" string)))
            (export "error" (type $error (eq $cases)))
            (export "increment" (func
              (param "table" string) (param "key" string) (param "delta" s64) (result (result s64 (error $error)))))))"#;
    let lowered = r#"(core func $increment (canon lower (func $table "increment")
            (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")) string-encoding=utf8))"#;
    let given = r#"(export "increment" (func $increment))"#;
    let declared = r#"(import "host" "increment" (func $increment (param i32 i32 i32 i32 i64 i32)))"#;
    let data = r#"(data (i32.const 256) "rows") (data (i32.const 512) "key")"#;
    let main = format!(
        r#"
              (local $left i32) (local $first i32)
              (local.set $left (i32.const {times}))
              (loop $again
                (call $increment (i32.const 256) (i32.const 4) (i32.const 512) (i32.const 3) (i64.const 5) (i32.const 0))
                (if (i32.and (i32.load8_u (i32.const 0)) (i32.eqz (local.get $first)))
                  (then (local.set $first (i32.add (i32.const 1) (i32.load8_u (i32.const 8))))))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $again (local.get $left)))
              (if (local.get $first) (then (return (local.get $first))))
              (i32.add (i32.const 100) (i32.wrap_i64 (i64.load (i32.const 8))))"#
    );
    command((imports, lowered, given), (declared, data, &main), expected)
}

fn remarks(lines: &[LogLine]) -> Vec<&str> {
    let skiff = lines.iter().filter(|line| line.stream == LogStream::Skiff);
    skiff.map(|line| line.text.as_str()).filter(|text| text.starts_with("denied: ")).collect()
}

fn found(value: Option<&'static str>) -> Answered {
    let item = value.map(|value| GuestItem { value: value.into(), version: 7 });
    Ok(GuestAnswer::Items(vec![item]))
}

#[test]
fn a_store_is_a_table_and_says_what_is_in_it() {
    on_one_thread(async {
        let answer = |value: Option<&'static str>| {
            move |call: &GuestCall| match call {
                GuestCall::OpenTable(_) => Ok(GuestAnswer::Done),
                _ => found(value),
            }
        };
        let (asked, lines) = run(&get(30 + i32::from(b'o')), answer(Some("one"))).await;
        let name = "rows".parse().expect("a name");
        let expected = [
            GuestCall::OpenTable(name),
            GuestCall::Get { table: "rows".parse().expect("a name"), keys: vec!["key".to_owned()] },
        ];
        assert_eq!(asked, expected);
        assert!(remarks(&lines).is_empty());
        run(&get(20), answer(None)).await;
    });
}

#[test]
fn what_is_wrong_is_told_in_the_interface_s_words() {
    on_one_thread(async {
        let open = |error: GuestCallError| move |_: &GuestCall| Err(error.clone());
        run(&get(1), open(GuestCallError::NotFound("there is no table rows".to_owned()))).await;
        run(&get(3), open(GuestCallError::Busy("later".to_owned()))).await;
        let (_, lines) = run(&get(2), open(denied("table:read rows"))).await;
        assert_eq!(remarks(&lines), ["denied: role default/shop may not table:read rows"]);
        let later = |call: &GuestCall| match call {
            GuestCall::OpenTable(_) => Ok(GuestAnswer::Done),
            _ => Err(denied("table:read rows/key")),
        };
        let (_, lines) = run(&get(11), later).await;
        assert_eq!(remarks(&lines), ["denied: role default/shop may not table:read rows/key"]);
        // An answer to another question is none.
        run(&get(12), |_| Ok(GuestAnswer::Done)).await;
    });
}

#[test]
fn each_error_of_tables_has_its_place_and_a_denial_is_said_once() {
    on_one_thread(async {
        let (asked, _) = run(&increment(1, 142), |_| Ok(GuestAnswer::Sum(42))).await;
        let table = "rows".parse().expect("a name");
        assert_eq!(asked, [GuestCall::Increment { table, key: "key".to_owned(), delta: 5 }]);
        let text = || "why".to_owned();
        for (error, place) in [
            (GuestCallError::NotFound(text()), 2),
            (GuestCallError::Conflict { message: text(), version: Some(3) }, 3),
            (GuestCallError::Busy(text()), 4),
            (GuestCallError::Invalid(text()), 5),
            (GuestCallError::Failed(text()), 6),
        ] {
            run(&increment(1, place), move |_| Err(error.clone())).await;
        }
        let (asked, lines) = run(&increment(3, 1), |_| Err(denied("table:write rows/key"))).await;
        assert_eq!((asked.len(), remarks(&lines).len()), (3, 1));
    });
}
