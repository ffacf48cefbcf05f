//! Why an action, an alarm, a limit, a listener, a rule, a service or a target group can't be what it is said to be.

use skiff_types::{
    AlarmError, CERTIFICATES_PER_LISTENER_MAX, CONDITION_VALUES_MAX, CONDITIONS_MAX, ConsumerError,
    DeploymentConfigurationError, EventRuleError, FixedResponse, Forward, Limit, Matcher, ParseError,
    PlacementError, QualifiedName, QueueError, RoleError, ScalingError, ServiceSpec, Span, TargetGroupSpec,
    TargetHealthCheck, WEIGHT_MAX, WebhookUrl,
};
use std::ops::RangeInclusive;

/// What an action, an alarm, a limit, a listener, a rule, a service or a target group says that it can't. Prints as a
/// sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A word is none.
    #[error(transparent)]
    Text(#[from] ParseError),
    /// A service can't be deployed in this way.
    #[error(transparent)]
    Deployment(#[from] DeploymentConfigurationError),
    /// Tasks can't be placed in this way.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// An alarm can't be evaluated.
    #[error(transparent)]
    Alarm(#[from] AlarmError),
    /// The threshold of an alarm is no number that values can be held against.
    #[error("threshold is no finite number; give one that values can be held against, like 80")]
    AlarmThreshold,
    /// A change of an alarm can't be posted to an address.
    #[error(
        "\"{url}\" can't be posted to: give an address of HTTP or HTTPS with a host, and without user name and password, which \
         are not sent; a key can be in its path or its query"
    )]
    AlarmWebhook {
        /// The address.
        url: WebhookUrl,
    },
    /// A queue can't be so.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A consumer of a queue can't be so.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// A standard queue is to deduplicate.
    #[error(
        "content_based_deduplication is for FIFO queues; leave it out, or say that the queue is one with fifo, as --fifo does"
    )]
    DeduplicationOfStandard,
    /// A rule, a target or a schedule of events can't be so.
    #[error(transparent)]
    EventRule(#[from] EventRuleError),
    /// A target of a rule of events has no name.
    #[error("a target of a rule has no id: give each a name of its own among those of the rule")]
    TargetWithoutId,
    /// A role can't be so.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// A service can't be scaled in this way.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// A listener has no port.
    #[error("port is 0; it must be 1 to 65535")]
    NoPort,
    /// A listener of https has no certificate.
    #[error(
        "a listener of https shows its clients a certificate: name one with certificates, as --certificate does (`skiff cert \
         ls` lists them, `skiff cert import` brings in another)"
    )]
    NoCertificate,
    /// A listener of another protocol has certificates.
    #[error("certificates are for listeners of https; leave them out, or say --protocol https")]
    NotOfHttps,
    /// A listener has too many certificates.
    #[error(
        "a listener can't have {count} certificates; the most is {}: put several names into one certificate, or use wildcards",
        CERTIFICATES_PER_LISTENER_MAX
    )]
    TooManyCertificates {
        /// How many it names.
        count: usize,
    },
    /// A listener names a certificate again.
    #[error("a listener names a certificate twice: name each once")]
    CertificateTwice,
    /// A listener of tcp is to lead to the hosts and paths of services.
    #[error("services is for listeners of http: connections of tcp name no host and no path; leave it out")]
    ServicesOfTcp,
    /// A listener of tcp does something else than forward.
    #[error(
        "a listener of tcp can do nothing but forward: say where to with default_action, as --forward does"
    )]
    NoForwardOfTcp,
    /// A listener of tcp is to keep clients at a target group.
    #[error("stickiness is for listeners of http: connections of tcp bring no cookies; leave it out")]
    StickinessOfTcp,
    /// A service has too many tasks.
    #[error("desired is {desired}; a service has at most {} tasks", ServiceSpec::DESIRED_MAX)]
    Desired {
        /// How many it is to have.
        desired: u32,
    },
    /// A service has too many of something.
    #[error("{count} {what} are more than a service can have: {most}")]
    TooManyOfService {
        /// Of what.
        what: &'static str,
        /// How many it names.
        count: usize,
        /// The most.
        most: usize,
    },
    /// A rule asks for nothing.
    #[error(
        "a rule without conditions would take everything: that is what a listener's default action is for; give it one, like \
         \"path=*\""
    )]
    NoConditions,
    /// A rule has too many conditions.
    #[error("{count} conditions are more than a rule can have: {}", CONDITIONS_MAX)]
    TooManyConditions {
        /// How many it has.
        count: usize,
    },
    /// A rule's conditions have too many values.
    #[error(
        "the conditions have {values} values together; the most of a rule is {}: make several rules of it",
        CONDITION_VALUES_MAX
    )]
    TooManyValues {
        /// How many they have.
        values: usize,
    },
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
    /// A time is out of its bounds.
    #[error("{what} can't be {given}: give it a time from {least} to {most}")]
    Time {
        /// What it is the time of.
        what: &'static str,
        /// What it is said to be.
        given: Span,
        /// The shortest.
        least: Span,
        /// The longest.
        most: Span,
    },
    /// A check may take longer than until the next.
    #[error(
        "the timeout of a health check can't be {timeout}, which is longer than its interval, {interval}: shorten the \
         timeout, or check less often"
    )]
    CheckTimeout {
        /// How long a check may take.
        timeout: Span,
        /// From one to the next.
        interval: Span,
    },
    /// A threshold is out of its bounds.
    #[error(
        "the threshold {what} of a health check can't be {count}: give it one from 1 to {}",
        TargetHealthCheck::THRESHOLD_MAX
    )]
    Threshold {
        /// Which.
        what: &'static str,
        /// What it is said to be.
        count: u32,
    },
    /// A check by connecting has a matcher.
    #[error(
        "a health check by connecting has no statuses that a matcher could be about: give it a path, or leave out the matcher"
    )]
    MatcherWithoutPath,
    /// A matcher names what is no status of what targets speak.
    #[error(
        "the matcher {matcher} of a health check names what {of} does not have: give it numbers from {} to {}",
        .codes.start(),
        .codes.end()
    )]
    Matcher {
        /// What it is said to be.
        matcher: Matcher,
        /// What targets speak.
        of: &'static str,
        /// What it has.
        codes: RangeInclusive<u16>,
    },
    /// A limit limits nothing.
    #[error("a limit limits nothing: give it requests_per_second, concurrent or both")]
    NoLimit,
    /// A limit has a burst alone.
    #[error(
        "the burst of a limit is what may come at once of its requests_per_second: give it that too, or leave out the burst"
    )]
    BurstAlone,
    /// A number of a limit is out of its bounds.
    #[error("{what} of a limit can't be {count}: give it a number from 1 to {}", Limit::RATE_MAX)]
    Limit {
        /// Which.
        what: &'static str,
        /// What it is said to be.
        count: u32,
    },
    /// Targets that are not outside are to speak inside TLS.
    #[error(
        "tls is for targets outside: what is spoken to tasks never leaves the node; leave it out, or say \"tls\": false, as \
         --no-tls does"
    )]
    TlsInside,
    /// Slow start, where weights are the algorithm's.
    #[error(
        "slow_start can't be together with the algorithm weighted-random, which gives targets their weights itself: choose \
         another, or take it away with null, as --no-slow-start does"
    )]
    SlowStartAtRandom,
    /// It is of requests, and targets speak tcp.
    #[error(
        "{what} is for targets that requests are sent to, and those of this group speak tcp: leave it out or take it away, or \
         give the group the protocol http1, http2 or grpc"
    )]
    NotOfTcp {
        /// What it is.
        what: &'static str,
    },
    /// It is said of a service's tasks by a group of another name.
    #[error(
        "{what} of the tasks of the service {service} is said by the target group of that name alone: say it there, and take \
         it away here"
    )]
    OfService {
        /// What it is.
        what: &'static str,
        /// Whose tasks they are.
        service: QualifiedName,
    },
}

/// Refuses a time that is out of its bounds.
pub(super) fn check_time(
    what: &'static str,
    given: Span,
    least: Span,
    most: Span,
) -> Result<(), InvalidSpec> {
    match (least..=most).contains(&given) {
        true => Ok(()),
        false => Err(InvalidSpec::Time { what, given, least, most }),
    }
}
