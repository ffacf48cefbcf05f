//! The network between tasks: what a call from one to another costs, what a stream carries for it, how many connections fit,
//! how soon a rule takes effect, and what the neighbour of who attacks it all feels.

mod attacker;
mod calls;
mod connections;
mod programs;
mod rules;
mod streams;

use super::parts::{self, Measure};
use crate::bench::report::Section;
use crate::bench::setup::Bench;

const PARTS: [(&str, Measure); 5] = [
    ("calls", calls::measure),
    ("streams", streams::measure),
    ("connections", connections::measure),
    ("rules", rules::measure),
    ("attacker", attacker::measure),
];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    parts::measure(bench, "The network between tasks", &PARTS)
}
