//! The check of components, sound and damaged.

use crate::support::Guest;
use skiff_ports::runtime::{ComponentReport, PrepareError};
use skiff_sandbox::inspect;
use skiff_types::{Kind, WasiGeneration};

fn of_text(text: &str) -> Result<ComponentReport, PrepareError> {
    inspect(&wat::parse_str(text).expect("sound text"))
}

fn refused(text: &str) -> String {
    match of_text(text) {
        Err(PrepareError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_kind_is_read_off_the_exports() {
    for (guest, kind, generation) in [
        (Guest::Hello, Kind::Http, WasiGeneration::P2),
        (Guest::MisbehaveP3, Kind::Http, WasiGeneration::P3),
        (Guest::Job, Kind::Command, WasiGeneration::P2),
        (Guest::JobP3, Kind::Command, WasiGeneration::P3),
        (Guest::Events, Kind::Event, WasiGeneration::P2),
        (Guest::EventsHttp, Kind::Http, WasiGeneration::P3),
        (Guest::QueueRaw, Kind::Event, WasiGeneration::P2),
    ] {
        let component = guest.component();
        let report = inspect(&component).unwrap();
        assert_eq!((report.kind, report.generation), (kind, generation), "{guest:?}");
        assert_eq!(report.component_bytes, component.len() as u64);
        assert!(
            report.imports.iter().all(|import| import.starts_with("wasi:")) && report.imports.is_sorted()
        );
        assert!((1 << 20..4 << 20).contains(&report.minimum_memory_bytes), "{report:?}");
    }
}

#[test]
fn a_core_module_is_refused_with_the_command_that_makes_it_a_component() {
    let reason = refused("(module)");
    assert!(reason.contains("wasm-tools component new") && reason.contains("wasm32-wasip2"), "{reason}");
}

#[test]
fn what_is_no_webassembly_is_refused() {
    for bytes in [&b""[..], b"\0asm", b"#!/bin/sh", &[0; 64]] {
        assert!(matches!(inspect(bytes), Err(PrepareError::Refused(_))), "{bytes:?}");
    }
}

#[test]
fn an_import_that_is_not_offered_is_refused_by_name() {
    let reason = refused("(component (import \"wasi:keyvalue/store@0.2.0-draft\" (instance)))");
    assert!(reason.contains("wasi:keyvalue/store@0.2.0-draft") && reason.contains("wasi:http"), "{reason}");
    let reason = refused("(component (import \"launch\" (func)))");
    assert!(reason.contains("launch"), "{reason}");
}

#[test]
fn a_component_that_nobody_could_call_is_refused() {
    let reason = refused("(component (instance (export \"acme:shop/cart@1.0.0\")))");
    assert!(reason.contains("acme:shop/cart@1.0.0") && reason.contains("wasi:cli/run"), "{reason}");
}

#[test]
fn the_minimum_memory_counts_each_instance() {
    let component = |instances: &str| {
        format!(
            "(component
               (core module $m (memory 3) (table 10 funcref))
               (component $inner (core module $n (memory 5)) (core instance (instantiate $n)))
               {instances}
               (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))"
        )
    };
    let minimum = |instances| of_text(&component(instances)).unwrap().minimum_memory_bytes;
    let none = minimum("");
    let page = 64 << 10;
    assert_eq!(minimum("(core instance (instantiate $m))") - none, 3 * page + 10 * 8);
    assert_eq!(
        minimum(
            "(core instance (instantiate $m)) (core instance (instantiate $m)) (instance (instantiate $inner))"
        ) - none,
        2 * (3 * page + 10 * 8) + 5 * page
    );
}

#[test]
fn a_table_is_as_large_as_a_sandbox_s_can_be_or_refused() {
    let component = |elements: u32| {
        format!(
            "(component
               (core module $m (table {elements} funcref)) (core instance (instantiate $m))
               (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))"
        )
    };
    assert!(of_text(&component(100_000)).is_ok());
    assert!(refused(&component(100_001)).contains("100001 elements in one table"));
}

#[test]
fn damaged_components_are_refused_and_never_panic() {
    const SEED: u64 = 0x5EED_C0DE;
    const MUTATIONS: usize = 10_000;
    let sound = Guest::Hello.component();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut refused = 0;
    for round in 0..MUTATIONS {
        let mut bytes = sound.clone();
        mutate(&mut bytes, &mut random);
        let checked = std::panic::catch_unwind(|| inspect(&bytes));
        let checked = checked.unwrap_or_else(|_| panic!("it panicked: seed {SEED:#x}, round {round}"));
        refused += usize::from(checked.is_err());
    }
    assert!(refused > MUTATIONS / 2, "only {refused} of {MUTATIONS} were refused");
}

/// Flips, overwrites, cuts, repeats or moves some bytes.
pub(crate) fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..bytes.len());
        let length = random.usize(1..64).min(bytes.len() - at);
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => random.fill(&mut bytes[at..at + length]),
            3 if at > 0 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.usize(..bytes.len());
                bytes.splice(to..to, piece);
            }
            _ if length < bytes.len() => drop(bytes.drain(at..at + length)),
            _ => bytes[at] = !bytes[at],
        }
    }
}
