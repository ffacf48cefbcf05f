//! Why an action or a target group's targets can't be what they are said to be.

use skiff_types::{FixedResponse, Forward, ParseError, QualifiedName, TargetGroupSpec, WEIGHT_MAX};

/// What an action or a group's targets say that they can't. Prints as a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A word is none.
    #[error(transparent)]
    Text(#[from] ParseError),
    /// It forwards to nobody.
    #[error("an action that forwards has no target group: name 1 to {}", Forward::GROUPS_MAX)]
    NoGroups,
    /// It forwards to too many.
    #[error(
        "an action can't forward to {count} target groups: name {} at most, or put their targets into fewer groups",
        Forward::GROUPS_MAX
    )]
    TooManyGroups {
        /// How many it names.
        count: usize,
    },
    /// It names a target group again.
    #[error("an action names the target group \"{group}\" twice: name it once, with its whole weight")]
    GroupTwice {
        /// Which.
        group: QualifiedName,
    },
    /// A weight is too great.
    #[error(
        "the target group \"{group}\" can't have the weight {weight}: give it one from 0 to {}",
        WEIGHT_MAX
    )]
    Weight {
        /// Whose.
        group: QualifiedName,
        /// What it is said to be.
        weight: u16,
    },
    /// A fixed response has a status that it can't have.
    #[error(
        "a fixed response can't have the status {status}: give it one from 200 to 299 or from 400 to 599; for 301 and \
         302, redirect"
    )]
    Status {
        /// Which.
        status: u16,
    },
    /// The body of a fixed response is too long.
    #[error(
        "the body of a fixed response can't have {bytes} bytes: shorten it to {} at most, or forward to a service that \
         answers so",
        FixedResponse::BODY_BYTES_MAX
    )]
    Body {
        /// How long it is.
        bytes: usize,
    },
    /// A group of addresses has none.
    #[error("a target group of addresses has none: name 1 to {}", TargetGroupSpec::TARGETS_MAX)]
    NoTargets,
    /// A group has too many targets.
    #[error(
        "a target group can't have {count} targets: name {} at most, and let an action forward to several groups",
        TargetGroupSpec::TARGETS_MAX
    )]
    TooManyTargets {
        /// How many it names.
        count: usize,
    },
    /// A group names a target again.
    #[error("a target group names the target \"{target}\" twice: name it once")]
    TargetTwice {
        /// Which.
        target: String,
    },
}
