//! `kill -9` of `skiff up` in the middle of each kind of rollout: whether it goes on where it was, and ends.
//!
//! Each kind is carried out once undisturbed, which says how long it takes; then as often as there are trials, each killed at
//! another moment, spread evenly over that time. A kind has a platform of its own, so that one that is stuck holds up no other.

use super::app::{self, DESIRED, NAME, UP};
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, guest};
use crate::bench::stats::{number, quantile};
use crate::platform::Platform;
use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Kills of each kind, and in a quick run.
const TRIALS: u32 = 50;
const TRIALS_QUICKLY: u32 = 3;
/// How long a rollout may take: by then it is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);
/// The image whose revisions trap as they start.
const TRAPPING: &str = "app:trapping";

/// A kind of rollout.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    /// By which `skiff deploy` is told of it.
    arguments: &'static [&'static str],
    /// Its revision traps, so that it goes back.
    fails: bool,
}

/// All of them.
const KINDS: [Kind; 8] = [
    going_on("rolling, at 100 and 200 percent", WIDE),
    going_on("rolling, at 50 and 100 percent", &["--min-healthy", "50", "--max-percent", "100"]),
    going_on("rolling, at 100 and 150 percent", &["--min-healthy", "100", "--max-percent", "150"]),
    going_back("rolling, given up by its circuit breaker", WIDE),
    going_on("blue/green", BLUE_GREEN),
    going_on("canary", CANARY),
    going_on("linear", LINEAR),
    going_back("canary, given up by its circuit breaker", CANARY),
];
const WIDE: &[&str] = &["--min-healthy", "100", "--max-percent", "200"];
const BLUE_GREEN: &[&str] = &["--strategy", "blue-green", "--bake", "1s"];
const CANARY: &[&str] =
    &["--strategy", "canary", "--canary-percent", "10", "--canary-bake", "1s", "--bake", "1s"];
const LINEAR: &[&str] =
    &["--strategy", "linear", "--step-percent", "50", "--step-bake", "1s", "--bake", "1s"];

const fn going_on(name: &'static str, arguments: &'static [&'static str]) -> Kind {
    Kind { name, arguments, fails: false }
}

const fn going_back(name: &'static str, arguments: &'static [&'static str]) -> Kind {
    Kind { name, arguments, fails: true }
}

/// What came of the kills of one kind.
#[derive(Debug, Serialize)]
struct Killed {
    kind: &'static str,
    /// How long it takes undisturbed, in milliseconds.
    undisturbed_ms: f64,
    trials: Vec<Trial>,
}

/// One kill. Times are in milliseconds.
#[derive(Debug, Serialize)]
struct Trial {
    /// How long after the rollout was asked for.
    killed_after_ms: f64,
    /// Whether it was under way right before that.
    was_under_way: bool,
    /// From the next start's being ready to the rollout's end; none if it never ended, which ends the trials.
    ended_after_ms: Option<f64>,
}

impl Killed {
    fn ended(&self) -> impl Iterator<Item = f64> {
        self.trials.iter().filter_map(|trial| trial.ended_after_ms)
    }

    fn row(&self) -> Vec<String> {
        let under_way = self.trials.iter().filter(|trial| trial.was_under_way).count();
        let ended = self.ended().count();
        let at = |share| if ended == 0 { "-".to_owned() } else { number(quantile(self.ended(), share)) };
        vec![
            self.kind.to_owned(),
            number(self.undisturbed_ms),
            self.trials.len().to_string(),
            under_way.to_string(),
            ended.to_string(),
            at(0.5),
            at(1.0),
        ]
    }
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let trials = if bench.settings.quick { TRIALS_QUICKLY } else { TRIALS };
    let (mut all, mut left_out) = (Vec::new(), Vec::new());
    for kind in KINDS {
        println!("\n-- {}", kind.name);
        match kill(bench, kind, trials) {
            Ok(killed) => all.push(killed),
            Err(error) => left_out.push(format!("{}: it failed: {error:#}", kind.name)),
        }
    }
    if all.is_empty() {
        bail!("no rollout was killed: {}", left_out.join("; "));
    }
    let mut goals: Vec<Goal> = all
        .iter()
        .map(|killed| {
            let what = format!("{}: rollouts that ended, of those that were killed", killed.kind);
            Goal::at_least(what, killed.ended().count() as f64, f64::from(trials), "")
        })
        .collect();
    let what = "kinds of rollouts that could not be killed";
    goals.push(Goal::at_most(what, left_out.len() as f64, 0.0, ""));
    Ok(Section {
        title: "Rollouts under `kill -9`",
        method: vec![format!(
            "{trials} kills of each kind, at moments spread evenly over the time that it takes undisturbed; {DESIRED} tasks of \
             `misbehave`, checked every second; two workers, on all cores. It has ended when all tasks are of the revision that it \
             goes to, or goes back to, and serve, and no other runs"
        )],
        tables: vec![Table {
            title: "Rollouts that were killed".to_owned(),
            header: vec![
                "what",
                "undisturbed ms",
                "killed",
                "of these under way",
                "ended",
                "p50 ms from the next start",
                "most ms",
            ],
            rows: all.iter().map(Killed::row).collect(),
        }],
        goals,
        left_out,
        data: json!({ "kinds": all }),
        ..Section::default()
    })
}

/// Kills one kind of rollout again and again.
fn kill(bench: &Bench, kind: Kind, trials: u32) -> anyhow::Result<Killed> {
    let data_dir = bench.new_data_dir();
    let mut platform = start(bench, &data_dir)?;
    let mut agent = ureq::Agent::new_with_defaults();
    app::deploy(&platform, &agent)?;
    let component = std::fs::read(guest("misbehave-start")).context("the guest is built")?;
    platform.push(&agent, TRAPPING, &component)?;
    app::deploy_another(&platform, 1, kind.arguments)?;

    let undisturbed = Asked::begin(&platform, &agent, kind)?;
    let took = undisturbed.wait_for_end(&platform, &agent)?.context("undisturbed it ends")?;
    println!("undisturbed it takes {took:.1?}");
    let mut killed = Killed { kind: kind.name, undisturbed_ms: took.as_secs_f64() * 1e3, trials: vec![] };
    for trial in 0..trials {
        app::wait_until_healthy(&platform, &agent)?;
        let asked = Asked::begin(&platform, &agent, kind)?;
        std::thread::sleep((took * trial / trials).saturating_sub(asked.at.elapsed()));
        let rollout = asked.look(&platform, &agent)?;
        let killed_after = asked.at.elapsed();
        platform.kill()?;
        platform = start(bench, &data_dir)?;
        // What was open before led to another port.
        agent = ureq::Agent::new_with_defaults();
        let ended = asked.wait_for_end(&platform, &agent)?;
        killed.trials.push(Trial {
            killed_after_ms: killed_after.as_secs_f64() * 1e3,
            was_under_way: !asked.is_ended(&rollout),
            ended_after_ms: ended.map(|took| took.as_secs_f64() * 1e3),
        });
        if ended.is_none() {
            let rollout = asked.look(&platform, &agent)?;
            eprintln!("error: killed after {killed_after:.1?}, it never ended: {rollout}");
            break;
        }
    }
    platform.stop()?;
    Ok(killed)
}

fn start(bench: &Bench, data_dir: &Path) -> anyhow::Result<Platform> {
    Ok(bench.platform_on(data_dir, None, &UP, &[])?.0)
}

/// A rollout that was asked for.
struct Asked {
    at: Instant,
    /// The revision that it was asked to go to.
    to: String,
    /// The revision that is to run in the end.
    ends_with: String,
}

impl Asked {
    /// Asks for one by the API, so that it is known when.
    fn begin(platform: &Platform, agent: &ureq::Agent, kind: Kind) -> anyhow::Result<Self> {
        let before = platform.look(agent, &format!("services/{NAME}/rollout"))?;
        let before = before["definition"].as_str().context("a deployment has a definition")?.to_owned();
        let (image, environment) = match kind.fails {
            true => (TRAPPING, json!({ "AT_START": "trap" })),
            false => ("app:latest", json!({ "AFTER": before })),
        };
        let definition = json!({ "family": NAME, "image": image, "environment": environment });
        let to = platform.register(agent, &definition)?;
        let at = Instant::now();
        platform.put(agent, &format!("services/{NAME}"), &json!({ "definition": to }))?;
        let ends_with = if kind.fails { before } else { to.clone() };
        Ok(Self { at, to, ends_with })
    }

    fn look(&self, platform: &Platform, agent: &ureq::Agent) -> anyhow::Result<Value> {
        platform.look(agent, &format!("services/{NAME}/rollout")).with_context(|| format!("of {}", self.to))
    }

    /// Whether it has ended as it is to.
    fn is_ended(&self, rollout: &Value) -> bool {
        let is_back = rollout["rolled_back_from"] == *self.to;
        rollout["state"] == "COMPLETED"
            && rollout["definition"] == *self.ends_with
            && (self.ends_with == self.to || is_back)
            && rollout["running"] == DESIRED
            && rollout["replaced"] == 0
    }

    /// Waits for its end, and says how long that was from now; none if it does not come.
    fn wait_for_end(&self, platform: &Platform, agent: &ureq::Agent) -> anyhow::Result<Option<Duration>> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.is_ended(&self.look(platform, agent)?) {
                return Ok(Some(began.elapsed()));
            }
            std::thread::sleep(POLL);
        }
        Ok(None)
    }
}
