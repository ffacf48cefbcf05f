//! Which of a service's two revisions has a request, while weight moves from one (blue) to the other (green).
//!
//! The weight is one number, of a hundred, and chance decides by it for each request and each connection anew. It deliberately
//! chooses no target: that is [`super::choice`]'s, within the side. What always holds: green alone has what comes to a test
//! host; without weight it has nothing else, not even a client that a cookie brings back to it, nor has blue where green has
//! all of the weight.

use super::Group;
use crate::chance::Chance;
use skiff_types::Split;
use std::cell::Cell;
use std::ops::Range;

/// Whose targets come into question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Side {
    /// All: they are of one revision, or share what comes.
    #[default]
    Any,
    /// Those of the revision that served before.
    Blue,
    /// Those of the revision that comes; in their stead others, where none of them can.
    Green,
    /// Those of the revision that comes, or nobody.
    GreenAlone,
}

impl Side {
    /// Whether a target of green, or of blue, comes into question.
    fn has(self, is_green: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Blue => !is_green,
            Self::Green | Self::GreenAlone => is_green,
        }
    }

    /// The side that is asked where this one can't.
    pub(super) fn instead(self) -> Option<Self> {
        match self {
            Self::Green => Some(Self::Blue),
            Self::Any | Self::Blue | Self::GreenAlone => None,
        }
    }
}

impl Group {
    /// Whose what comes now is; `host` is a request's.
    pub(crate) fn side(&self, host: Option<&str>, chance: &Chance) -> Side {
        let Some(split) = self.split.as_deref() else { return Side::Any };
        if host.is_some_and(|host| split.is_tested_by(host)) {
            Side::GreenAlone
        } else if chance.below(100) < u64::from(split.percent) {
            Side::Green
        } else {
            Side::Blue
        }
    }

    /// The places of the targets that come into question.
    pub(super) fn among(&self, side: Side) -> Range<usize> {
        let all = 0..self.targets.len();
        let blue_count = || self.targets.partition_point(|target| !target.is_green);
        match side {
            Side::Any => all,
            Side::Blue => all.start..blue_count(),
            Side::Green | Side::GreenAlone => blue_count()..all.end,
        }
    }

    /// Whose turn it is among these, so many places behind the first of them.
    pub(super) fn turn(&self, side: Side) -> &Cell<usize> {
        let [of_all_or_blue, of_green] = &self.turns;
        match side {
            Side::Any | Side::Blue => of_all_or_blue,
            Side::Green | Side::GreenAlone => of_green,
        }
    }

    /// Whether a client may stay with a target although its request fell to this side: where both have weight, it may.
    pub(super) fn keeps(&self, is_green: bool, side: Side) -> bool {
        let both_have_weight = |split: &Split| (1..100).contains(&split.percent);
        side.has(is_green) || side != Side::GreenAlone && self.split.as_deref().is_some_and(both_have_weight)
    }
}
