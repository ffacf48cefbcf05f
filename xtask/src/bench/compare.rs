//! Ours beside the peers': rows, bars, and where we lose.

use crate::bench::report::Plot;
use crate::bench::servers::{Fleet, Kind, Server};
use crate::bench::stats::{Spread, number};
use skiff_plot::{Bar, bars};

/// One measure of all servers of a fleet; a server that is not there has none.
pub(crate) struct Measure<'a> {
    pub(crate) name: &'a str,
    /// Whether less of it is better.
    pub(crate) less_is_better: bool,
    /// By the server's place in the fleet.
    pub(crate) of: Vec<Option<Spread>>,
}

impl Measure<'_> {
    /// Where one of ours is worse than a peer that it is compared with: the same work, or the same answer from something
    /// else.
    pub(crate) fn losses(&self, fleet: &Fleet, place: &str) -> Vec<String> {
        let mut losses = Vec::new();
        for (ours, our) in self.servers(fleet).filter(|(server, _)| server.ours) {
            for (peer, their) in self.servers(fleet).filter(|(server, _)| !server.ours) {
                let comparable = peer.kind == ours.kind || peer.kind == Kind::Other;
                let worse =
                    if self.less_is_better { our.median > their.median } else { our.median < their.median };
                if comparable && worse {
                    let (our, their) = (number(our.median), number(their.median));
                    losses.push(format!(
                        "{place}, {}: {our} ({}) against {their} ({})",
                        self.name, ours.name, peer.name
                    ));
                }
            }
        }
        losses
    }

    /// A bar for each.
    pub(crate) fn plot(&self, fleet: &Fleet, title: String) -> anyhow::Result<Plot> {
        let all: Vec<Bar> = self
            .servers(fleet)
            .map(|(server, spread)| Bar {
                label: server.name.to_owned(),
                value: spread.median,
                low: spread.low,
                high: spread.high,
                marked: server.ours,
            })
            .collect();
        Ok(Plot { title, svg: bars(self.name, &all)? })
    }

    fn servers<'f>(&'f self, fleet: &'f Fleet) -> impl Iterator<Item = (&'f Server, Spread)> {
        fleet.servers.iter().zip(&self.of).filter_map(|(server, spread)| Some((server, (*spread)?)))
    }
}

/// The places of ours and of the peer that does the same, where both run.
pub(crate) fn places(fleet: &Fleet, kind: Kind) -> Option<[usize; 2]> {
    let of = |ours: bool| {
        let mut running = fleet.running();
        running.find_map(|(place, server, _)| (server.kind == kind && server.ours == ours).then_some(place))
    };
    Some([of(true)?, of(false)?])
}

/// Their rounds.
pub(crate) fn pair<'r, R>(fleet: &Fleet, rounds: &'r [Vec<R>], kind: Kind) -> Option<(&'r [R], &'r [R])> {
    let [ours, theirs] = places(fleet, kind)?;
    Some((&rounds[ours], &rounds[theirs]))
}

/// The rounds' ratios, ours by theirs: rounds of one number ran one after the other.
pub(crate) fn ratio<R>(pair: (&[R], &[R]), value: impl Fn(&R) -> f64) -> Spread {
    Spread::of(pair.0.iter().zip(pair.1).map(|(ours, theirs)| value(ours) / value(theirs)))
}
