//! A job: adds up its arguments, prints the sum, and exits with 2 if one of them is no number.

use std::process::ExitCode;

#[skiff_sdk::main]
fn main() -> ExitCode {
    let mut sum: i64 = 0;
    for argument in std::env::args().skip(1) {
        match argument.parse::<i64>().ok().and_then(|number| sum.checked_add(number)) {
            Some(more) => sum = more,
            None => {
                eprintln!("{argument:?} is no number that can be added to {sum}");
                return ExitCode::from(2);
            }
        }
    }
    println!("{sum}");
    ExitCode::SUCCESS
}
