//! The compile child.

use crate::support::{Guest, World, compile_as_pushed, compile_text_as_it_is, http_task, sha256};
use skiff_ports::logs::LogStream;
use skiff_ports::runtime::{ComponentReport, PrepareError};
use skiff_sandbox::compile;
use skiff_testbed::on_one_thread;
use skiff_types::Digest;
use std::path::Path;
use std::process::{Command, ExitCode};

const COMPONENT: &str = "SKIFF_TEST_COMPILE_COMPONENT";
const OUTPUT: &str = "SKIFF_TEST_COMPILE_OUTPUT";

fn of_text(text: &str) -> Result<ComponentReport, PrepareError> {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("component.wasm");
    std::fs::write(&component, wat::parse_str(text).unwrap()).unwrap();
    let output = dir.path().join("native");
    let result = compile_as_pushed(&component, &sha256(&component), &output);
    assert_eq!(result.is_ok(), output.exists());
    result
}

fn command_with(inside: &str) -> String {
    format!(
        "(component {inside}
           (core module $m (func (export \"run\") (result i32) i32.const 0))
           (core instance $c (instantiate $m))
           (func $run (result (result)) (canon lift (core func $c \"run\")))
           (instance $i (export \"run\" (func $run)))
           (export \"wasi:cli/run@0.2.0\" (instance $i)))"
    )
}

/// Does nothing on its own: the next test runs this very binary again, bounded as the child is.
#[test]
fn the_child() {
    if let (Some(component), Some(output)) = (std::env::var_os(COMPONENT), std::env::var_os(OUTPUT)) {
        let component = Path::new(&component);
        let code = compile::run_child(component, &sha256(component), Path::new(&output), false);
        std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
    }
}

#[test]
fn a_child_says_one_line_and_leaves_native_code() {
    let dir = tempfile::tempdir().unwrap();
    let run = |component: &Path| {
        let output = dir.path().join("native");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "compile::the_child", "--nocapture", "--quiet"])
            .env(COMPONENT, component)
            .env(OUTPUT, &output)
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        let said = String::from_utf8(child.stdout).unwrap();
        let line = said.lines().find_map(|line| line.find('{').map(|at| &line[at..])).unwrap();
        let result: Result<ComponentReport, PrepareError> = serde_json::from_str(line).unwrap();
        (result, std::fs::metadata(&output).map(|file| file.len()).unwrap_or(0))
    };
    let (report, native_bytes) = run(&Guest::Hello.path());
    let report = report.unwrap();
    assert!(report.native_bytes == native_bytes && native_bytes > 10_000, "{report:?}");

    let file = dir.path().join("component.wasm");
    // So much that it is not copied into each sandbox, but mapped.
    let data = "x".repeat(1 << 20);
    let much = format!(
        "(core module $much (memory 16) (data (i32.const 0) \"{data}\")) (core instance (instantiate $much))"
    );
    std::fs::write(&file, wat::parse_str(command_with(&much)).unwrap()).unwrap();
    assert!(run(&file).0.unwrap().native_bytes > 1 << 20);

    std::fs::write(&file, "no component").unwrap();
    assert!(matches!(run(&file).0, Err(PrepareError::Refused(_))));
}

#[test]
fn what_the_disk_has_changed_is_not_compiled() {
    let (component, output) = (Guest::Hello.path(), tempfile::NamedTempFile::new().unwrap());
    let pushed = Digest::from_bytes([7; 32]);
    assert_eq!(compile_as_pushed(&component, &pushed, output.path()), Err(PrepareError::Damaged(pushed)));
    assert_eq!(output.as_file().metadata().unwrap().len(), 0);
}

#[test]
fn long_instructions_are_compiled_in_pieces_and_trap_as_before() {
    on_one_thread(async {
        let copy = "(memory.copy (i32.const 1) (i32.const 0) (i32.const -1))";
        let compiled = compile_text_as_it_is(&http_task("(memory 1)", copy)).unwrap();
        let world = World::of(1, [(compiled.key, compiled.native)]);
        let task = world.run(Guest::Hello, |task| task.program = compiled.key);
        let refusal = world.text(task, "/").await.unwrap_err().to_string();
        assert!(refusal.contains("reached beyond its memory"), "{refusal}");
        // On its stack is the function that the copy became a call of.
        let log = world.lines(task, LogStream::Skiff).concat();
        assert!(log.contains("memory.copy") && log.contains("handle"), "{log}");
    });
}

#[test]
fn a_command_compiles() {
    assert!(of_text(&command_with("")).unwrap().native_bytes > 0);
}

#[test]
fn wrong_types_are_refused_before_the_first_request() {
    let import =
        "(import \"wasi:random/random@0.2.0\" (instance (export \"get-random-u64\" (func (result string)))))";
    match of_text(&command_with(import)) {
        Err(PrepareError::Refused(reason)) => assert!(reason.contains("get-random-u64"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_sandbox_can_hold_is_refused() {
    let many =
        "(core module $big (memory 1)) ".to_owned() + &"(core instance (instantiate $big)) ".repeat(20);
    match of_text(&command_with(&many)) {
        Err(PrepareError::Refused(reason)) => assert!(reason.contains("larger than a sandbox"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
