//! Calls of `http` tasks: one fresh sandbox each, bodies both ways, failures that can be read.

use crate::support::{Guest, World, request, text};
use bytes::Bytes;
use futures::StreamExt;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use skiff_ports::body::{self, Body, BodyError};
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::logs::{LogLine, LogStream};
use skiff_testbed::{on_one_thread, until};
use skiff_types::{MemorySize, Span};

const BOTH: [Guest; 2] = [Guest::Misbehave, Guest::MisbehaveP3];
const ALL: [Guest; 4] = [Guest::Misbehave, Guest::MisbehaveP3, Guest::Start, Guest::StartP3];

fn failed(result: Result<String, InvokeError>) -> String {
    match result {
        Err(InvokeError::Failed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// A body of chunks whose length nobody says beforehand.
fn chunks(count: usize, bytes: usize) -> Body {
    let chunk = move |_| Ok::<_, BodyError>(Frame::data(Bytes::from(vec![b'x'; bytes])));
    StreamBody::new(futures::stream::iter(0..count).map(chunk)).boxed_unsync()
}

#[test]
fn each_request_has_a_sandbox_of_its_own() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            for _ in 0..20 {
                assert_eq!(world.text(task, "/count").await.unwrap(), "1");
            }
            let totals = world.slot(task).totals();
            assert_eq!((totals.sandboxes_drawn, totals.cold_start_instantiate.count()), (20, 20));
            assert_eq!(totals.cold_start_first_byte.count(), 20);
            assert!(totals.cpu_ns > 0 && totals.memory_peak_bytes > 1 << 20);
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn what_a_small_answer_weighs_is_known_beforehand() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Hello, Guest::MisbehaveP3]);
        for (guest, answer) in [(Guest::Hello, "Hello from Skiff!\n"), (Guest::MisbehaveP3, "misbehave\n")] {
            let task = world.run(guest, |_| {});
            let mut weights = Vec::new();
            for _ in 0..20 {
                let response = world.get(task, "/").await.unwrap();
                weights.extend(response.body().size_hint().exact());
                world.all_is_given_back(task).await;
                assert_eq!(text(response).await.unwrap(), answer);
            }
            // Not known where the epoch clock paused the guest before its end.
            assert!(!weights.is_empty(), "{guest:?}");
            assert!(weights.iter().all(|&bytes| bytes == answer.len() as u64), "{guest:?}: {weights:?}");
        }
    });
}

#[test]
fn first_requests_share_one_fetch() {
    on_one_thread(async {
        let world = World::new(8, &[Guest::Hello]);
        let task = world.run(Guest::Hello, |_| {});
        let other = world.run(Guest::Hello, |_| {});
        let calls = [task, task, other, task].map(|task| world.text(task, "/"));
        for answer in futures::future::join_all(calls).await {
            assert!(answer.is_ok(), "{answer:?}");
        }
        assert_eq!(world.fetches(), 1);
        assert_eq!(world.slot(task).totals().cold_start_load.count(), 1);
    });
}

#[test]
fn a_task_that_is_not_here_is_gone() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Hello, Guest::Job]);
        let task = world.run(Guest::Hello, |_| {});
        let job = world.run(Guest::Job, |_| {});
        world.leave_out(task);
        assert_eq!(world.text(task, "/").await, Err(InvokeError::Gone));
        assert_eq!(world.text(job, "/").await, Err(InvokeError::Gone));
    });
}

#[test]
fn code_that_can_not_be_had_fails_the_request_and_is_asked_for_again() {
    on_one_thread(async {
        let world = World::new(4, &[]);
        let task = world.run(Guest::Hello, |_| {});
        for fetches in 1..=2 {
            let reason = failed(world.text(task, "/").await);
            assert!(reason.contains("not in the cache"), "{reason}");
            assert_eq!(world.fetches(), fetches);
        }
        world.all_is_given_back(task).await;
    });
}

#[test]
fn failures_say_why() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            for (path, part, traps) in [
                ("/trap", "unreachable", 1),
                ("/panic", "unreachable", 1),
                ("/stack", "a recursion without end", 1),
                ("/exit?code=3", "exited with code 3", 0),
                ("/twice", "", 1),
            ] {
                // On WASI 0.3 a request given back twice is the guest's own concern: it traps too.
                let before = world.slot(task).totals().traps;
                let reason = failed(world.text(task, path).await);
                assert!(reason.contains(part), "{guest:?} {path}: {reason}");
                assert!(!reason.contains('\n') && !reason.contains("0x"), "{guest:?} {path}: {reason}");
                assert_eq!(world.slot(task).totals().traps - before, traps, "{guest:?} {path}");
            }
            assert!(world.lines(task, LogStream::Stderr).iter().any(|line| line.contains("asked to panic")));
            let remarks = world.lines(task, LogStream::Skiff);
            assert!(remarks.iter().any(|line| line.contains("wasm backtrace")), "{remarks:?}");
            assert_eq!(world.text(task, "/").await.unwrap(), "misbehave\n");
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn no_answer_is_a_failure_too() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        let p2 = world.run(Guest::Misbehave, |_| {});
        let reason = failed(world.text(p2, "/never").await);
        assert!(reason.contains("without an answer") || reason.contains("error"), "{reason}");
        let p3 = world.run(Guest::MisbehaveP3, |_| {});
        let reason = failed(world.text(p3, "/error").await);
        assert!(reason.contains("asked to fail"), "{reason}");
    });
}

#[test]
fn a_trap_after_the_head_breaks_the_body_off() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            // What a guest did before it answered is not told from what it did after, if it never paused.
            match world.get(task, "/trap-after-head").await {
                Ok(response) => match text(response).await {
                    Err(BodyError::Guest(reason)) => assert!(reason.contains("unreachable"), "{reason}"),
                    other => panic!("{guest:?}: {other:?}"),
                },
                Err(InvokeError::Failed(reason)) => assert!(reason.contains("unreachable"), "{reason}"),
                Err(other) => panic!("{guest:?}: {other:?}"),
            }
            assert_eq!(world.slot(task).totals().traps, 1);
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn bodies_stream_both_ways() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, BodyError>>();
            let body = StreamBody::new(receiver).boxed_unsync();
            let response = world.sandboxes.invoke(task, request("/echo", body)).await.unwrap();
            let mut echo = response.into_body();
            for round in 0..20 {
                let sent = Bytes::from(format!("round {round}"));
                sender.unbounded_send(Ok(Frame::data(sent.clone()))).unwrap();
                let frame = echo.frame().await.expect("an echo").expect("no error");
                assert_eq!(frame.into_data().unwrap(), sent, "{guest:?}");
            }
            drop(sender);
            let rest = echo.collect().await.expect("no error").to_bytes();
            assert!(rest.is_empty(), "{guest:?}: {rest:?}");
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn a_body_that_needs_no_guest_any_more_ends_in_time_all_the_same() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::MisbehaveP3]);
        let task = world.run(Guest::MisbehaveP3, |task| task.limits.timeout = Span::from_ms(3_000));
        let chunk = Ok(Frame::data(Bytes::from_static(b"and no end")));
        let endless = StreamBody::new(futures::stream::iter([chunk]).chain(futures::stream::pending()));
        let asked = world.sandboxes.invoke(task, request("/pass", endless.boxed_unsync()));
        let error = text(asked.await.unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("within 3000 ms"), "{error}");
        assert_eq!(world.slot(task).totals().timeouts, 1);
        // And its user reads why, though no guest is polled any more.
        let is_said =
            || world.lines(task, LogStream::Skiff).iter().any(|line| line.contains("within 3000 ms"));
        until("nobody says so", is_said).await;
        world.all_is_given_back(task).await;
    });
}

#[test]
fn a_large_body_is_let_through_piece_by_piece() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            let mut body = world.get(task, "/large?mib=8").await.unwrap().into_body();
            // The guest has to wait for its reader: it can't have written all of it into our memory.
            assert_eq!(world.slot(task).in_flight(), 1, "{guest:?}");
            assert!(body.size_hint().exact().is_none());
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame.unwrap().into_data().unwrap().len();
            }
            assert_eq!(bytes, 8 << 20, "{guest:?}");
        }
    });
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            for how in ["dropped", "shorter", "longer"] {
                match world.get(task, &format!("/answer/{how}")).await.err() {
                    Some(InvokeError::Failed(reason)) => assert!(reason.contains("broke off"), "{reason}"),
                    other => panic!("{guest:?}, {how}: {other:?}"),
                }
                world.all_is_given_back(task).await;
            }
        }
    });
}

#[test]
fn whoever_took_the_whole_answer_leaves_the_guest_to_its_end() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            let mut body = world.get(task, "/answer/end-and-log").await.unwrap().into_body();
            // As hyper does, which asks for no frame behind the last one.
            while !body.is_end_stream() {
                if body.frame().await.transpose().unwrap().is_none() {
                    break;
                }
            }
            drop(body);
            world.all_is_given_back(task).await;
            assert_eq!(world.lines(task, LogStream::Stdout), ["went on"], "{guest:?}");
        }
    });
}

#[test]
fn request_bodies_are_bounded() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |task| task.limits.request_body = MemorySize::from_bytes(100_000));
            let read = |body| world.sandboxes.invoke(task, request("/read", body));
            let too_large = read(body::full(vec![0; 100_001])).await.err();
            assert_eq!(too_large, Some(InvokeError::TooLarge { limit_bytes: 100_000 }));
            assert_eq!(world.slot(task).totals().sandboxes_drawn, 0);
            let whole = read(body::full(vec![0; 100_000])).await.unwrap();
            assert_eq!(text(whole).await.unwrap(), "100000 bytes");
            let cut = text(read(chunks(50, 10_000)).await.unwrap()).await.unwrap();
            assert_eq!(cut, "100000 bytes", "{guest:?}: what is over its bound reached the guest");
        }
        let p2 = world.run(Guest::Misbehave, |task| task.limits.request_body = MemorySize::from_bytes(10));
        world.sandboxes.invoke(p2, request("/read", chunks(2, 10))).await.unwrap();
        let told = world.lines(p2, LogStream::Stderr);
        assert!(told.iter().any(|line| line.contains("broke off")), "{told:?}");
    });
}

#[test]
fn bodies_and_logs_that_pass_through_are_not_held() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let task = world.run(Guest::Misbehave, |task| {
            task.limits.memory = MemorySize::from_mib(4);
            task.limits.response_body = MemorySize::from_mib(64);
            task.limits.log_rate = MemorySize::from_mib(64);
        });
        assert_eq!(world.text(task, "/large?mib=32").await.unwrap().len(), 32 << 20);
        assert_eq!(world.text(task, "/log?lines=20000&bytes=500").await.unwrap(), "logged");
        let read = world.sandboxes.invoke(task, request("/read", chunks(200, 50_000))).await.unwrap();
        assert_eq!(text(read).await.unwrap(), "10000000 bytes");
        world.all_is_given_back(task).await;
    });
}

#[test]
fn response_bodies_are_bounded() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let limit = MemorySize::from_mib(1);
            let task = world.run(guest, |task| task.limits.response_body = limit);
            let whole = world.get(task, "/large?mib=1").await.unwrap();
            assert_eq!(text(whole).await.unwrap().len(), 1 << 20);
            let response = world.get(task, "/large?mib=4").await.unwrap();
            match text(response).await {
                Err(BodyError::TooLarge { limit_bytes }) => assert_eq!(limit_bytes, limit.bytes()),
                other => panic!("{guest:?}: {other:?}"),
            }
            world.all_is_given_back(task).await;
            let remarks = world.lines(task, LogStream::Skiff);
            assert!(remarks.iter().any(|line| line.contains("1MiB")), "{remarks:?}");
        }
    });
}

/// Guests that never end by themselves, and where they are by then: looping, waiting, or not even instantiated.
const ENDLESS: [(Guest, &str); 6] = [
    (Guest::Misbehave, "/spin"),
    (Guest::MisbehaveP3, "/spin"),
    (Guest::Misbehave, "/sleep"),
    (Guest::MisbehaveP3, "/sleep"),
    (Guest::Start, "/"),
    (Guest::StartP3, "/"),
];
/// The same while their answer streams.
const STREAMING: [&str; 2] = ["/drip?chunks=1000000&ms=1", "/answer/spinning"];

#[test]
fn whoever_drops_a_call_ends_its_guest() {
    on_one_thread(async {
        let world = World::new(4, &ALL);
        for (guest, path) in ENDLESS {
            let task = world.run(guest, |_| {});
            let mut call = Box::pin(world.get(task, path));
            while world.slot(task).in_flight() == 0 {
                assert!(futures::poll!(call.as_mut()).is_pending());
                tokio::task::yield_now().await;
            }
            assert!(futures::poll!(call.as_mut()).is_pending());
            drop(call);
            world.all_is_given_back(task).await;
        }
        for (guest, path) in BOTH.into_iter().flat_map(|guest| STREAMING.map(|path| (guest, path))) {
            let task = world.run(guest, |_| {});
            let mut body = world.get(task, path).await.unwrap().into_body();
            body.frame().await.expect("a chunk").expect("no error");
            assert_eq!(world.slot(task).in_flight(), 1);
            drop(body);
            world.all_is_given_back(task).await;
        }
        world.sandboxes.idle().await;
    });
}

#[test]
fn whoever_is_left_out_ends_at_once() {
    on_one_thread(async {
        let world = World::new(4, &ALL);
        let stopped = "the task was stopped".to_owned();
        for (guest, path) in ENDLESS {
            let task = world.run(guest, |task| task.limits.concurrency = 1);
            let slot = world.slot(task);
            let outcome = futures::future::join3(world.get(task, path), world.get(task, path), async {
                until("nothing began", || slot.in_flight() == 1 && slot.outstanding() == 2).await;
                world.leave_out(task);
            });
            let (first, second, ()) = outcome.await;
            // What has begun may have had effects: it must not be tried again elsewhere.
            assert_eq!(first.err(), Some(InvokeError::Failed(stopped.clone())));
            assert_eq!(second.err(), Some(InvokeError::Gone));
            let totals = slot.totals();
            assert_eq!((totals.in_flight, totals.queued, totals.memory_bytes), (0, 0, 0));
        }
        for (guest, path) in BOTH.into_iter().flat_map(|guest| STREAMING.map(|path| (guest, path))) {
            let task = world.run(guest, |_| {});
            let response = world.get(task, path).await.unwrap();
            world.leave_out(task);
            let broken = text(response).await.unwrap_err().to_string();
            assert!(broken.contains(&stopped), "{guest:?} {path}: {broken}");
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn the_guest_sees_what_the_client_asked() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |task| {
                task.command.environment.insert("COLOUR".to_owned(), "green".to_owned());
            });
            let mut asked = request("/headers?a=b", body::empty());
            asked.headers_mut().insert("x-test", "one".parse().unwrap());
            let seen = text(world.sandboxes.invoke(task, asked).await.unwrap()).await.unwrap();
            for part in ["Get", "/headers?a=b", "guest.localhost", "x-test: one"] {
                assert!(seen.contains(part), "{guest:?}: {part:?} is not in {seen}");
            }
            let nameless = http::Request::get("/headers").body(body::empty()).unwrap();
            assert!(world.sandboxes.invoke(task, nameless).await.is_ok(), "{guest:?}");
            assert_eq!(world.text(task, "/env?name=COLOUR").await.unwrap(), "green");
            assert!(world.text(task, "/env?name=PATH").await.unwrap().contains("unset"));
            let status = world.get(task, "/status?code=418").await.unwrap().status();
            assert_eq!(status, 418);
        }
    });
}

#[test]
fn the_network_is_denied_with_a_remark() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            for _ in 0..5 {
                let answer = world.text(task, "/outgoing").await.unwrap();
                assert!(answer.contains("HttpRequestDenied"), "{guest:?}: {answer}");
            }
            let remarks = world.lines(task, LogStream::Skiff);
            assert!(
                remarks[0].contains("virtual network") && remarks[0].contains("127.0.0.1"),
                "{remarks:?}"
            );
            assert!(remarks.len() <= 2, "{remarks:?}");
            let answer = world.text(task, "/socket").await.unwrap();
            assert!(answer.contains("refused"), "{guest:?}: {answer}");
        }
    });
}

#[test]
fn output_comes_out_line_by_line() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            world.text(task, "/log?lines=4&bytes=20").await.unwrap();
            assert_eq!(
                world.lines(task, LogStream::Stdout),
                ["line 0 xxxxxxxxxxxxx", "line 2 xxxxxxxxxxxxx"]
            );
            assert_eq!(
                world.lines(task, LogStream::Stderr),
                ["line 1 xxxxxxxxxxxxx", "line 3 xxxxxxxxxxxxx"]
            );
            world.text(task, "/log?lines=1&bytes=50000").await.unwrap();
            assert_eq!(world.lines(task, LogStream::Stdout)[2].len(), LogLine::LENGTH_MAX);
        }
    });
}

#[test]
fn output_has_a_rate() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let rate = MemorySize::from_bytes(10_000);
        let task = world.run(Guest::Misbehave, |task| {
            task.limits.log_rate = rate;
            task.limits.timeout = Span::from_ms(60_000);
        });
        let began = std::time::Instant::now();
        world.text(task, "/log?lines=2000&bytes=100").await.unwrap();
        let most = rate.bytes() as f64 * (1.0 + began.elapsed().as_secs_f64()) + 300.0;
        let streams = [LogStream::Stdout, LogStream::Stderr];
        let lines: Vec<String> = streams.iter().flat_map(|&stream| world.lines(task, stream)).collect();
        let kept: usize = lines.iter().map(|line| line.len() + 1).sum();
        // What is stored with each line counts as well, or empty lines would cost next to nothing.
        let cost = kept + lines.len() * 128;
        assert!(cost > 5_000 && (cost as f64) <= most, "{kept} bytes were kept in {} lines", lines.len());
        let dropped = world.slot(task).totals().log_bytes_dropped;
        assert_eq!(kept as u64 + dropped, 2_000 * 101);
        let remarks = world.lines(task, LogStream::Skiff);
        assert!(remarks[0].contains("dropped"), "{remarks:?}");
    });
}

#[test]
fn a_cold_start_is_measured_by_stage() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Hello, Guest::MisbehaveP3]);
        for guest in [Guest::Hello, Guest::MisbehaveP3] {
            let task = world.run(guest, |_| {});
            let fetches = world.fetches();
            let rounds = world.sandboxes.measure_cold_start(task, "/".to_owned(), 5).await.unwrap();
            assert_eq!((rounds.len(), world.fetches() - fetches), (5, 5));
            for round in rounds {
                assert!(round.load_ns > 0 && round.instantiate_ns > 0, "{round:?}");
                assert!(round.first_byte_ns > 0 && round.warm_request_ns > 0, "{round:?}");
                assert_eq!(round.cold_request_ns, round.instantiate_ns + round.first_byte_ns);
            }
            if guest != Guest::Hello {
                // Larger than any buffer: the guest ends only if its answer is read.
                world.sandboxes.measure_cold_start(task, "/large?mib=8".to_owned(), 1).await.unwrap();
            }
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn what_can_not_be_measured_says_why() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::MisbehaveP3, Guest::Job]);
        let measure = |task, path: &str| world.sandboxes.measure_cold_start(task, path.to_owned(), 3);
        let p3 = world.run(Guest::MisbehaveP3, |_| {});
        assert!(measure(p3, "/trap").await.unwrap_err().contains("unreachable"));
        assert!(measure(p3, "no path").await.unwrap_err().contains("no path"));
        let job = world.run(Guest::Job, |_| {});
        assert!(measure(job, "/").await.unwrap_err().contains("http task"));
        world.leave_out(p3);
        assert!(measure(p3, "/").await.unwrap_err().contains("not running"));
        world.all_is_given_back(p3).await;
    });
}
