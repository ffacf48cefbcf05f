//! A service in miniature under load that comes by chance: what is decided follows a step within two seconds, and noise moves
//! nothing there and back.

use super::*;
use skiff_types::{Measure, SeriesId, Span, Statistic, TargetTracking};

/// Requests a second that one task is for.
const PER_TASK: f64 = 100.0;
const BEGIN_MS: u64 = 1_000_000_000;

/// Numbers of chance, from 0 to 1: Knuth's MMIX.
fn chance(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    // The low bits are the worst.
    ((*seed ^ (*seed >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// How many come in a second of which so many are expected (Poisson): those whose gaps fit into it.
fn arrivals(seed: &mut u64, expected: f64) -> f64 {
    let mut count = 0.0;
    let mut at_s = 0.0;
    loop {
        at_s += -(1.0 - chance(seed)).ln() / expected;
        if at_s > 1.0 {
            return count;
        }
        count += 1.0;
    }
}

/// What a policy of the simulated service follows.
#[derive(Clone, Copy)]
enum Followed {
    Requests,
    /// In percent of a processor that is busy by as much as a task is given to do, up to 100.
    Processor {
        target: u32,
    },
}

struct Simulation {
    spec: ScalingSpec,
    followed: Followed,
    seed: u64,
    /// How many tasks there were at first.
    began: u32,
    /// As many run as were decided: a task starts within moments.
    desired: u32,
    memory: Memory,
    points: Vec<Option<Point>>,
    /// Requests of each quarter of a second, where those are looked at.
    quarters: Vec<f64>,
    now_ms: u64,
    /// All counts that were decided, and when, in seconds since the beginning.
    decided: Vec<(u64, u32)>,
}

impl Simulation {
    fn new(followed: Followed, cooldown_s: u64, desired: u32, seed: u64) -> Self {
        let (measure, statistic, target) = match followed {
            Followed::Requests => (Measure::RequestCountPerTarget, Statistic::Sum, 60 * PER_TASK as u32),
            Followed::Processor { target } => (Measure::CpuUtilization, Statistic::Average, target),
        };
        let service: skiff_types::QualifiedName = "default/web".parse().unwrap();
        let tracking = TargetTracking {
            name: "load".parse().unwrap(),
            metric: SeriesId::of_service(service.clone(), measure),
            statistic,
            target: target.into(),
            scale_out_cooldown: Span::from_ms(cooldown_s * 1_000),
            scale_in_cooldown: Span::from_ms(cooldown_s * 1_000),
            disable_scale_in: false,
        };
        let spec = ScalingSpec {
            service,
            min: 1,
            max: 1_000,
            policies: vec![Policy::TargetTracking(tracking)],
            schedules: vec![],
            scale_in_protected: false,
        };
        Self {
            spec,
            followed,
            seed,
            began: desired,
            desired,
            memory: Memory::default(),
            points: vec![],
            quarters: vec![],
            now_ms: BEGIN_MS,
            decided: vec![],
        }
    }

    /// One second of so many requests, and the decision at its end.
    fn second(&mut self, requests: f64) {
        self.points.push(Some(self.point(requests)));
        self.now_ms += 1_000;
        self.look(self.points.clone());
    }

    /// A quarter of a second, in which requests come by chance, so many expected in a second; and the decision at its end, by what
    /// came within the second up to then.
    fn quarter(&mut self, expected: f64) {
        let requests = arrivals(&mut self.seed, expected / 4.0);
        self.quarters.push(requests);
        self.now_ms += 250;
        let Some(latest) = self.quarters.last_chunk::<4>() else { return };
        let point = Some(self.point(latest.iter().sum()));
        let mut points = self.points.clone();
        points.push(point);
        if self.quarters.len().is_multiple_of(4) {
            self.points.clone_from(&points);
        }
        self.look(points);
    }

    /// What is measured of a second of so many requests.
    fn point(&self, requests: f64) -> Point {
        let each = requests / f64::from(self.desired);
        let value = match self.followed {
            Followed::Requests => each,
            Followed::Processor { .. } => (100.0 * each / PER_TASK).min(100.0),
        };
        Point { value, tasks: self.desired }
    }

    fn look(&mut self, points: Vec<Option<Point>>) {
        let signals = BTreeMap::from([("load".parse().unwrap(), Signal::Points(points))]);
        let observed = Observed { desired: self.desired, signals };
        let decision = decide(&self.spec, &observed, &self.memory, self.now_ms);
        if decision.desired != self.desired {
            self.decided.push(((self.now_ms - BEGIN_MS) / 1_000, decision.desired));
        }
        (self.desired, self.memory) = (decision.desired, decision.memory);
    }

    /// Seconds of requests by chance, so many expected in each, give or take a part of them.
    fn seconds(&mut self, count: u64, expected: f64, noise: f64) {
        for _ in 0..count {
            let around = 1.0 + noise * (2.0 * chance(&mut self.seed) - 1.0);
            let requests = arrivals(&mut self.seed, expected * around);
            self.second(requests);
        }
    }

    /// How often it went one way and then the other: in, and out again.
    fn flaps(&self) -> usize {
        let mut before = self.began;
        let mut was_inward = false;
        let mut flaps = 0;
        for (_, desired) in &self.decided {
            let is_inward = *desired < before;
            flaps += usize::from(was_inward && !is_inward);
            (before, was_inward) = (*desired, is_inward);
        }
        flaps
    }
}

/// From 100 to 4,000 requests a second, at whatever moment of a second: what 4,000 take is decided two seconds later at most.
#[test]
fn a_step_of_load_is_followed_within_two_seconds() {
    for seed in 0..10 {
        for into_the_second in [0.0, 0.1, 0.5, 0.9] {
            let mut simulation = Simulation::new(Followed::Requests, 300, 2, seed);
            simulation.seconds(120, 100.0, 0.0);
            assert!(simulation.desired <= 2, "{:?}", simulation.decided);
            let mixed = 100.0 * into_the_second + 4_000.0 * (1.0 - into_the_second);
            simulation.seconds(1, mixed, 0.0);
            // The next second ends less than two after the step.
            simulation.seconds(1, 4_000.0, 0.0);
            assert!((38..=44).contains(&simulation.desired), "{:?}", simulation.decided);
            simulation.seconds(30, 4_000.0, 0.0);
            assert!((40..=44).contains(&simulation.desired), "{:?}", simulation.decided);
        }
    }
}

/// The same where it is glanced at every quarter of a second: most of what 4,000 take is decided a second and a quarter after the
/// step at most, whatever the moment.
#[test]
fn a_step_of_load_that_is_glanced_at_is_followed_within_five_quarters_of_a_second() {
    for seed in 0..5 {
        for quarters_before in 0..4 {
            for into_the_quarter in [0.0, 0.3, 0.6, 0.9] {
                let mut simulation = Simulation::new(Followed::Requests, 300, 2, seed);
                (0..480 + quarters_before).for_each(|_| simulation.quarter(100.0));
                assert!(simulation.desired <= 2, "{:?}", simulation.decided);
                simulation.quarter(100.0 * into_the_quarter + 4_000.0 * (1.0 - into_the_quarter));
                (0..4).for_each(|_| simulation.quarter(4_000.0));
                assert!((36..=44).contains(&simulation.desired), "{:?}", simulation.decided);
                (0..120).for_each(|_| simulation.quarter(4_000.0));
                assert!((38..=44).contains(&simulation.desired), "{:?}", simulation.decided);
            }
        }
    }
}

#[test]
fn ten_minutes_of_noise_that_are_glanced_at_never_flap() {
    for (seed, expected) in (0..).zip([95.0, 505.0, 1_000.0, 3_900.0]) {
        let desired = (expected / PER_TASK).ceil() as u32;
        let mut simulation = Simulation::new(Followed::Requests, 300, desired, seed);
        for _ in 0..660 {
            let around = 1.0 + 0.2 * (2.0 * chance(&mut simulation.seed) - 1.0);
            (0..4).for_each(|_| simulation.quarter(expected * around));
        }
        assert_eq!(simulation.flaps(), 0, "{expected} a second: {:?}", simulation.decided);
    }
}

#[test]
fn ten_minutes_of_noise_never_flap() {
    for followed in [Followed::Requests, Followed::Processor { target: 60 }] {
        for cooldown_s in [0, 300] {
            for (seed, expected) in (0..).zip([30.0, 95.0, 180.0, 505.0, 1_000.0, 3_900.0]) {
                for noise in [0.0, 0.2, 0.3] {
                    let desired = (expected / PER_TASK).ceil() as u32;
                    let mut simulation = Simulation::new(followed, cooldown_s, desired, seed);
                    simulation.seconds(660, expected, noise);
                    let decided = &simulation.decided;
                    assert_eq!(simulation.flaps(), 0, "{expected} a second, {noise}: {decided:?}");
                    assert!(decided.len() <= 6, "{expected} a second, {noise}: {decided:?}");
                }
            }
        }
    }
}

#[test]
fn tasks_go_after_calm_and_not_before() {
    let mut simulation = Simulation::new(Followed::Requests, 120, 40, 7);
    simulation.seconds(200, 3_700.0, 0.0);
    assert_eq!((simulation.desired, simulation.decided.len()), (40, 0));
    simulation.seconds(119, 1_000.0, 0.0);
    assert!(simulation.decided.is_empty(), "{:?}", simulation.decided);
    simulation.seconds(10, 1_000.0, 0.0);
    // A tenth of them is idle, and one or two more for chance.
    assert!((12..=13).contains(&simulation.desired), "{:?}", simulation.decided);
    assert_eq!(simulation.decided.len(), 1);
    simulation.seconds(1_000, 1_000.0, 0.0);
    assert_eq!(simulation.flaps(), 0);
}

/// A processor that is busy all the time does not say how much more it would have to do: the count doubles until it is not.
#[test]
fn what_saturates_is_followed_in_steps() {
    let mut simulation = Simulation::new(Followed::Processor { target: 50 }, 300, 2, 3);
    simulation.seconds(60, 90.0, 0.0);
    assert_eq!(simulation.desired, 2);
    simulation.seconds(8, 2_000.0, 0.0);
    assert!((38..=44).contains(&simulation.desired), "{:?}", simulation.decided);
}

#[test]
fn a_second_that_was_not_measured_keeps_all_tasks() {
    let mut simulation = Simulation::new(Followed::Requests, 60, 10, 1);
    simulation.seconds(30, 100.0, 0.0);
    simulation.points.push(None);
    simulation.seconds(59, 100.0, 0.0);
    assert_eq!(simulation.desired, 10);
    simulation.seconds(1, 100.0, 0.0);
    assert!(simulation.desired < 10);
}
