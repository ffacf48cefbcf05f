//! More requests than a worker can answer: it refuses some of them, answers the rest well, and refuses nobody any more once
//! there are fewer.

use super::load::Load;
use super::{ask, has_status};
use crate::gauges::sum;
use crate::harness::{Platform, eventually, within};
use std::time::Duration;

const HOST: &str = "app.localhost";
/// What takes a guest so long by the clock, on any machine. It is less than a slice: a guest that is cut off in the middle
/// waits behind all newcomers, and keeps none of them waiting.
const BUSY: &str = "/spin-briefly?us=700";
/// Requests at once: they take some 300 ms one after the other, and a worker refuses from 200 ms on (`edge::Limits::wait_target`).
const CLIENTS: usize = 400;
/// Tasks that they are spread over: the guests of one alone would have to leave half of the time to others.
const TASKS: &str = "8";
/// How long the load lasts at most before it begins anew: after a while, guests that were cut off are what is waited for.
const LOAD_MAX: Duration = Duration::from_secs(8);
/// Refusals that are enough.
const REFUSED_ENOUGH: usize = 50;
/// Requests in a row that show that nobody is refused.
const IN_A_ROW: usize = 50;

#[test]
fn a_worker_with_too_much_to_do_refuses_some_and_answers_the_rest() {
    let platform = Platform::start(&["--workers", "1"]);
    // Far more than is used, so that no bound of the tasks is what is seen.
    let ample = ["--cpu", "4096", "--memory", "1GiB", "--concurrency", "500"];
    platform.deploy("misbehave", "app", &[&["--desired", TASKS], &ample[..]].concat());
    has_status(&platform.http, HOST, BUSY, 200);

    let mut refused = 0;
    eventually("some are refused", || {
        let load = Load::start(&platform.http, HOST, BUSY, CLIENTS);
        within(LOAD_MAX, || (load.told().refused >= REFUSED_ENOUGH).then_some(()));
        let told = load.end();
        println!("{} answered, {} refused", told.answered, told.refused);
        assert!(told.answered > 0 && told.others.is_empty(), "what is let in is answered well: {told:?}");
        refused += told.refused;
        (told.refused > 0).then_some(())
    });
    eventually("they are counted", || {
        let counted = sum(&platform.api, "skiff_listener_rejected_total{listener=\"http\"}");
        (counted as usize == refused).then_some(())
    });
    eventually("nobody is refused any more", || {
        let answers = (0..IN_A_ROW).map(|_| ask(&platform.http, BUSY, &[("host", HOST)]).unwrap());
        answers.map(|answer| answer.status).all(|status| status == 200).then_some(())
    });
}
