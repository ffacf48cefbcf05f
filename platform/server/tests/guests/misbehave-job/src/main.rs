//! A command on WASI 0.2 that does whatever its arguments ask for.

use std::io::Read;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = arguments.get(1).map(String::as_str);
    let number = text.and_then(|text| text.parse::<u64>().ok());
    match arguments.first().map(String::as_str) {
        Some("exit") => wasip2::cli::exit::exit_with_code(number.unwrap_or(0) as u8),
        Some("print") => (0..number.unwrap_or(1)).for_each(|number| println!("line {number}")),
        Some("stderr") => eprintln!("{}", text.unwrap_or_default()),
        Some("spin") => println!("{} rounds", guest_common::spin(number)),
        Some("sleep") => std::thread::sleep(number.map_or(Duration::MAX, Duration::from_millis)),
        Some("allocate") => println!("{} MiB", guest_common::allocate(number.unwrap_or(16)).len() >> 20),
        Some("grow-forever") => guest_common::grow_forever(),
        Some("flood") => guest_common::flood(number.unwrap_or(1 << 10)),
        Some("stack") => println!("{}", guest_common::recurse(0)),
        Some("trap") => guest_common::trap(),
        Some("panic") => panic!("asked to panic"),
        Some("log") => {
            let bytes = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(80);
            guest_common::log(number.unwrap_or(1), bytes);
        }
        Some("env") => println!("{}", guest_common::environment(text.unwrap_or_default())),
        Some("stdin") => {
            let mut bytes = Vec::new();
            match std::io::stdin().read_to_end(&mut bytes) {
                Ok(count) => println!("stdin: {count} bytes, closed"),
                Err(error) => println!("stdin: {error}"),
            }
        }
        Some("args") => println!("{:?}", &arguments[1..]),
        other => {
            eprintln!("no such misbehaviour: {other:?}");
            wasip2::cli::exit::exit_with_code(2);
        }
    }
}
