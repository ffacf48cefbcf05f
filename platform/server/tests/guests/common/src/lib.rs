//! Misbehaviour that needs no WASI generation, and how a request or a command line chooses it.

mod program;
mod script;
mod url;

pub use program::Program;
pub use script::{KNOWN_SCRIPTS, Script};
pub use url::{Url, header};

use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A path and its query, like `/allocate?mib=16&hold_ms=100`. Nothing is percent-decoded.
pub struct Target {
    path: String,
    query: String,
}

impl Target {
    /// From the two in one.
    pub fn new(path_with_query: Option<&str>) -> Self {
        let (path, query) =
            path_with_query.map_or(("/", ""), |text| text.split_once('?').unwrap_or((text, "")));
        Self { path: path.into(), query: query.into() }
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter of the query.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1)
    }

    /// A parameter of the query that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The same, with a value for its absence.
    pub fn number_or(&self, name: &str, otherwise: u64) -> u64 {
        self.number(name).unwrap_or(otherwise)
    }
}

/// How often this sandbox was asked: 1, if it serves one request only.
pub fn count() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) + 1
}

/// Computes for a time by the clock, or for ever and without any call to the host.
pub fn spin(ms: Option<u64>) -> u64 {
    let mut rounds: u64 = 0;
    match ms {
        None => loop {
            rounds = black_box(rounds.wrapping_add(1));
        },
        Some(ms) => {
            let end = Instant::now() + Duration::from_millis(ms);
            while Instant::now() < end {
                for _ in 0..10_000 {
                    rounds = black_box(rounds.wrapping_add(1));
                }
            }
            rounds
        }
    }
}

/// Computes for so many microseconds: short of a slice, if they are few.
pub fn spin_briefly(us: u64) {
    let end = Instant::now() + Duration::from_micros(us);
    while Instant::now() < end {
        black_box(());
    }
}

/// Memory with every page of it touched. If there is none, the guest aborts, as Rust does.
pub fn allocate(mib: u64) -> Vec<u8> {
    let bytes = usize::try_from(mib << 20).unwrap_or(usize::MAX);
    black_box(vec![1; bytes])
}

/// Takes and touches a MiB after the other, until something stops it.
pub fn grow_forever() -> ! {
    loop {
        black_box(allocate(1).leak());
    }
}

/// Copies so much memory onto itself, one byte on, without end: each time with one instruction.
pub fn copy_forever(mib: u64) -> ! {
    let mut memory = allocate(mib);
    let end = memory.len() - 1;
    loop {
        black_box(&mut memory).copy_within(..end, 1);
    }
}

/// Calls itself without end.
#[expect(unconditional_recursion, reason = "what is asked for")]
pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    black_box(recurse(black_box(depth + 1))) + frame[0]
}

/// Lines of `bytes` bytes each, numbered, in turn on stdout and stderr.
pub fn log(lines: u64, bytes: u64) {
    for number in 0..lines {
        let mut line = format!("line {number} ");
        while (line.len() as u64) < bytes {
            line.push('x');
        }
        line.truncate(usize::try_from(bytes).unwrap_or(usize::MAX).max(1));
        if number % 2 == 0 {
            println!("{line}");
        } else {
            eprintln!("{line}");
        }
    }
}

/// A variable of the environment, or that it is unset.
pub fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| format!("unset: {error}"))
}

/// Asks the host for the time, without end: a loop that is mostly host calls.
pub fn spin_in_host_calls() -> ! {
    loop {
        black_box(Instant::now());
    }
}

/// Writes so much to stdout, in lines of a KiB.
pub fn flood(mib: u64) {
    let mut line = [b'x'; 1 << 10];
    line[line.len() - 1] = b'\n';
    let chunk = line.repeat(64);
    let mut stdout = std::io::stdout().lock();
    for _ in 0..mib * 16 {
        stdout.write_all(&chunk).expect("stdout takes everything");
    }
}

/// Does what the environment's variable `AT_START` says: meant for an instance that is only being made.
pub extern "C" fn misbehave_at_start() {
    match environment("AT_START").as_str() {
        "spin" => {
            spin(None);
        }
        "recurse" => {
            recurse(0);
        }
        "grow" => grow_forever(),
        "trap" => trap(),
        "sleep" => std::thread::sleep(Duration::MAX),
        "allocate" => {
            allocate(32).leak();
        }
        "nothing" => {}
        "flood" => flood(1 << 10),
        other => panic!("nothing to do at the start: {other:?}"),
    }
}

/// Traps, without a word.
pub fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}
