//! The load balancer itself, beside nginx and haproxy where they do the same: proxying to a host outside, handshakes of TLS,
//! rules, connections that are idle, changes under load, a target that fails, and more requests than can be answered.

mod changes;
mod ejection;
mod handshakes;
mod idle;
mod overload;
mod proxies;
mod proxying;
mod rules;

pub(crate) use idle::hold;

use super::parts::{self, Measure};
use crate::bench::report::Section;
use crate::bench::setup::Bench;

const PARTS: [(&str, Measure); 7] = [
    ("proxying", proxying::measure),
    ("handshakes", handshakes::measure),
    ("many-rules", rules::measure),
    ("idle", idle::measure),
    ("changes", changes::measure),
    ("ejection", ejection::measure),
    ("overload", overload::measure),
];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    parts::measure(bench, "The load balancer", &PARTS)
}
