//! Every target on its corpus and on seeded mutations of it, for a second or two each: what CI sees of fuzzing.

use crate::mutate::mutate;
use crate::target::Target;
use clap::ValueEnum;
use fastrand::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mutations of each target; fewer where the machine is too slow for them.
const ROUNDS: u64 = 20_000;
const TIME: Duration = Duration::from_secs(2);

#[test]
fn manifest() {
    check(Target::Manifest);
}

#[test]
fn api() {
    check(Target::Api);
}

#[test]
fn component() {
    check(Target::Component);
}

#[test]
fn native_cache() {
    check(Target::NativeCache);
}

#[test]
fn wire() {
    check(Target::Wire);
}

#[test]
fn connection() {
    check(Target::Connection);
}

#[test]
fn guard() {
    check(Target::Guard);
}

#[test]
fn rules() {
    check(Target::Rules);
}

#[test]
fn cookie() {
    check(Target::Cookie);
}

#[test]
fn headers() {
    check(Target::Headers);
}

#[test]
fn tcp() {
    check(Target::Tcp);
}

#[test]
fn calls() {
    check(Target::Calls);
}

#[test]
fn calls_p3() {
    check(Target::CallsP3);
}

#[test]
fn sockets() {
    check(Target::Sockets);
}

#[test]
fn pattern() {
    check(Target::Pattern);
}

#[test]
fn envelope() {
    check(Target::Envelope);
}

#[test]
fn input() {
    check(Target::Input);
}

#[test]
fn a_broken_promise_is_kept_with_the_way_to_see_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let told = catch_unwind(AssertUnwindSafe(|| {
        run(Target::Api, b"bytes", "a seed", folder.path(), |_| panic!("broken"));
    }));
    let told = told.unwrap_err().downcast::<String>().unwrap();
    let file = std::fs::read_dir(folder.path().join("api")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(&file).unwrap(), b"bytes");
    let command = format!("cargo xtask fuzz api --input {}", file.display());
    assert!(told.contains("a seed") && told.contains(&command), "{told}");
}

/// Runs a target on each file of its corpus, then on mutations of them.
fn check(target: Target) {
    let crashes = root().join("target/fuzz/crashes");
    let name = name(target);
    let corpus = corpus(&root().join("platform/fuzz/corpus").join(&name));
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (file, input) in &corpus {
        run(target, input, &file.display().to_string(), &crashes, |input| target.run(input));
    }
    let end = Instant::now() + TIME;
    for seed in 0..ROUNDS {
        if Instant::now() > end {
            break;
        }
        let mut random = Rng::with_seed(seed);
        let mut input = random.choice(&corpus).expect("not empty").1.clone();
        let other = &random.choice(&corpus).expect("not empty").1;
        mutate(&mut input, other, &mut random);
        run(target, &input, &format!("seed {seed}"), &crashes, |input| target.run(input));
    }
}

/// Runs a target; where it panics, keeps the input and says where it came from and how to run it again.
fn run(target: Target, input: &[u8], origin: &str, crashes: &Path, promise: impl FnOnce(&[u8])) {
    if catch_unwind(AssertUnwindSafe(|| promise(input))).is_ok() {
        return;
    }
    let name = name(target);
    let folder = crashes.join(&name);
    std::fs::create_dir_all(&folder).expect("a folder for the input");
    let file = folder.join(&blake3::hash(input).to_hex()[..16]);
    std::fs::write(&file, input).expect("the input is kept");
    panic!(
        "{name} breaks its promise on the input of {origin}; see it again with: cargo xtask fuzz {name} --input {}",
        file.display()
    );
}

fn name(target: Target) -> String {
    target.to_possible_value().expect("none is hidden").get_name().to_owned()
}

/// The files of a folder, by name.
fn corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(&file).expect("a file"))).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("platform/fuzz lies two below the root")
}
