//! Handles of each WASI 0.2 resource type, one more and one more until somebody stops it.

use crate::outgoing_request;
use wasip2::cli::{stdin, stdout};
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, OutgoingResponse, RequestOptions};

/// Takes handles of one type and never gives one back.
pub(crate) fn without_end(what: &str) -> ! {
    match what {
        "fields" => keep_all(Fields::new),
        "requests" => keep_all(|| OutgoingRequest::new(Fields::new())),
        "responses" => keep_all(|| OutgoingResponse::new(Fields::new())),
        "bodies" => keep_all(|| {
            let response = OutgoingResponse::new(Fields::new());
            (response.body().expect("its first body"), response)
        }),
        "options" => keep_all(RequestOptions::new),
        "input-streams" => keep_all(stdin::get_stdin),
        "output-streams" => keep_all(stdout::get_stdout),
        "timers" => keep_all(|| monotonic_clock::subscribe_duration(u64::MAX)),
        "pollables" => {
            let input = stdin::get_stdin();
            keep_all(|| input.subscribe())
        }
        "futures" => keep_all(|| outgoing_handler::handle(outgoing_request(9), None)),
        "own" => keep_all(guest_destructor::make),
        other => panic!("nothing of that name to hoard: {other}"),
    }
}

fn keep_all<T>(mut take: impl FnMut() -> T) -> ! {
    loop {
        std::mem::forget(take());
    }
}
