//! The first seeds; `cargo xtask ci` runs hundreds.

use skiff_sim::{Options, Seen, run};

/// Seeds that are run with every test.
const SEEDS: u64 = 12;

#[test]
fn the_first_seeds_hold_and_there_is_something_in_them() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let report = run(&Options { seed, ..Options::default() });
        assert_eq!(report.violations, Vec::<String>::new(), "cargo xtask sim --seed {seed} --trace");
        seen += report.seen;
    }
    // Not in each dozen does a service sleep.
    let Seen { writes, tasks, completed, failed, requests, waited: _, runs, scenes, deaths, elapsed_ms } =
        seen;
    for (what, count) in [
        ("writes", writes),
        ("tasks", tasks),
        ("completed rollouts", completed),
        ("failed rollouts", failed),
        ("requests", requests),
        ("one-off tasks", runs),
        ("scenes", scenes),
        ("deaths of the plane", deaths),
        ("milliseconds", elapsed_ms),
    ] {
        assert!(count > 0, "there are no {what} in {SEEDS} seeds");
    }
}

#[test]
fn the_same_seed_gives_the_same_lines() {
    for seed in [3, 4] {
        let options = Options { seed, trace: true, sabotage: None };
        let (one, other) = (run(&options), run(&options));
        assert!(one.trace.len() > 10_000, "seed {seed} has lines");
        if let Some((line, (one, other))) =
            one.trace.lines().zip(other.trace.lines()).enumerate().find(|(_, (one, other))| one != other)
        {
            panic!("seed {seed} differs at line {line}:\n  {one}\n  {other}");
        }
        assert_eq!(one, other, "seed {seed}");
        assert_eq!(run(&Options { trace: false, ..options }).steps, one.steps, "nobody reads along");
    }
}
