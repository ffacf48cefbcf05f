//! A command on WASI 0.3 that does whatever its arguments ask for; its output goes through the streams of WASI 0.3.

use wasip3::cli::{environment, exit, stderr, stdin, stdout};
use wasip3::clocks::monotonic_clock;
use wasip3::exports::cli::run::Guest;
use wasip3::wit_stream;

struct Job;

wasip3::cli::command::export!(Job);

impl Guest for Job {
    async fn run() -> Result<(), ()> {
        let arguments: Vec<String> = environment::get_arguments().into_iter().skip(1).collect();
        let text = arguments.get(1).map(String::as_str);
        let number = text.and_then(|text| text.parse::<u64>().ok());
        match arguments.first().map(String::as_str) {
            Some("exit") => exit::exit_with_code(number.unwrap_or(0) as u8),
            Some("fail") => return Err(()),
            Some("print") => {
                print((0..number.unwrap_or(1)).map(|number| format!("line {number}\n")).collect()).await;
            }
            Some("stderr") => complain(format!("{}\n", text.unwrap_or_default())).await,
            Some("spin") => print(format!("{} rounds\n", guest_common::spin(number))).await,
            Some("sleep") => {
                monotonic_clock::wait_for(number.map_or(u64::MAX, |ms| ms.saturating_mul(1_000_000))).await;
            }
            Some("allocate") => {
                let memory = guest_common::allocate(number.unwrap_or(16));
                print(format!("{} MiB\n", memory.len() >> 20)).await;
            }
            Some("grow-forever") => guest_common::grow_forever(),
            Some("flood") => flood(number.unwrap_or(1 << 10)).await,
            Some("stack") => print(format!("{}\n", guest_common::recurse(0))).await,
            Some("trap") => guest_common::trap(),
            Some("panic") => panic!("asked to panic"),
            Some("env") => print(format!("{}\n", variable(text.unwrap_or_default()))).await,
            Some("stdin") => {
                let (input, _result) = stdin::read_via_stream();
                print(format!("stdin: {} bytes, closed\n", input.collect().await.len())).await;
            }
            Some("args") => print(format!("{:?}\n", &arguments[1..])).await,
            other => {
                complain(format!("no such misbehaviour: {other:?}\n")).await;
                exit::exit_with_code(2);
            }
        }
        Ok(())
    }
}

async fn print(text: String) {
    let (mut to, output) = wit_stream::new();
    let written = stdout::write_via_stream(output);
    to.write_all(text.into_bytes()).await;
    drop(to);
    // Where stdout is closed there is nobody to tell.
    let _ = written.await;
}

/// Writes so much to stdout, in lines of a KiB.
async fn flood(mib: u64) {
    let (mut to, output) = wit_stream::new();
    let written = stdout::write_via_stream(output);
    let line = ["x".repeat((1 << 10) - 1), "\n".to_owned()].concat();
    let chunk = line.repeat(64).into_bytes();
    for _ in 0..mib * 16 {
        to.write_all(chunk.clone()).await;
    }
    drop(to);
    // Where stdout is closed there is nobody to tell.
    let _ = written.await;
}

async fn complain(text: String) {
    let (mut to, output) = wit_stream::new();
    let written = stderr::write_via_stream(output);
    to.write_all(text.into_bytes()).await;
    drop(to);
    // Where stderr is closed there is nobody to tell.
    let _ = written.await;
}

fn variable(name: &str) -> String {
    let found = environment::get_environment().into_iter().find(|(other, _)| other == name);
    found.map_or_else(|| "unset".into(), |(_, value)| value)
}
