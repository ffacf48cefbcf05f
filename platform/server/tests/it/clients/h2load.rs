//! h2load: ten thousand requests over ten connections, ten at once on each, in every version of HTTP.
//!
//! A machine that is busy with other tests may be too slow for so many at once, and then the platform sheds load, as it is to.
//! So a run counts once none of it was refused; and in every run all that is not answered well was shed, and is counted.

use super::program::run;
use super::{AMPLE, Listeners, tools};
use crate::gauges::sum;
use crate::harness::{Platform, eventually};
use std::process::Command;

const REQUESTS: u64 = 10_000;
/// Connections.
const CLIENTS: u64 = 10;
/// How the line of what came of the requests begins.
const STATUS_CODES: &str = "status codes: ";
/// How h2load speaks beside its default, what it then says that it speaks, and whether by TLS.
const WAYS: [(&[&str], &str, bool); 4] =
    [(&["--h1"], "http/1.1", false), (&[], "h2c", false), (&["--h1"], "http/1.1", true), (&[], "h2", true)];

/// The number before a word, in the line that begins so.
fn number(said: &str, line: &str, word: &str) -> u64 {
    let line =
        said.lines().find_map(|other| other.strip_prefix(line)).unwrap_or_else(|| panic!("{line}: {said}"));
    let part = line.split(',').find_map(|part| part.trim().strip_suffix(word));
    part.and_then(|part| part.trim().parse().ok()).unwrap_or_else(|| panic!("{word} in {line}: {said}"))
}

/// Lets h2load ask `hello` so often; what it prints.
fn load(origin: &str, speaks: &[&str], requests: u64) -> String {
    let mut command = Command::new("h2load");
    command.args(["--requests", &requests.to_string(), "--clients", &requests.min(CLIENTS).to_string()]);
    command.args(["--max-concurrent-streams", "10", "--header", ":authority: hello.localhost"]);
    command.args(speaks).arg(origin);
    run(command)
}

#[test]
fn ten_thousand_requests_of_h2load_are_answered_in_each_version_of_http() {
    if !tools::has_h2load() {
        return;
    }
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &AMPLE);
    let listeners = Listeners::leading_to(&platform, "hello");
    for (speaks, name, is_secure) in WAYS {
        let (listener, origin) = match is_secure {
            false => ("clear", format!("http://127.0.0.1:{}/", listeners.clear)),
            true => ("secure", format!("https://127.0.0.1:{}/", listeners.secure)),
        };
        eventually(&format!("{origin} answers"), || {
            let said = load(&origin, speaks, CLIENTS);
            (number(&said, STATUS_CODES, "2xx") == CLIENTS).then_some(())
        });
        let shed =
            || sum(&platform.api, &format!("skiff_listener_rejected_total{{listener=\"{listener}\"}}"));
        eventually(&format!("{origin} answers {REQUESTS} requests by {name}"), || {
            let before = shed();
            let said = load(&origin, speaks, REQUESTS);
            assert!(said.contains(&format!("Application protocol: {name}\n")), "{said}");
            let requests = ["done", "errored", "timeout"].map(|word| number(&said, "requests: ", word));
            assert_eq!(requests, [REQUESTS, 0, 0], "{said}");
            let [answered, refused] = ["2xx", "5xx"].map(|word| number(&said, STATUS_CODES, word));
            assert_eq!(answered + refused, REQUESTS, "{said}");
            println!("{origin} by {name}: {answered} answered, {refused} shed");
            eventually("what was shed is counted", || ((shed() - before) as u64 == refused).then_some(()));
            (answered == REQUESTS).then_some(())
        });
    }
}
