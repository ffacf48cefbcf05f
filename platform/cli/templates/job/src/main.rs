//! {{name}}: a job. It greets those named in its arguments, and fails with exit code 2 if there are none.

use skiff_sdk::{Result, env, log};
use std::process::ExitCode;

#[skiff_sdk::main]
fn main() -> Result<ExitCode> {
    let greeting = env::require("GREETING")?;
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        log::error!("whom should I greet? Give names after `--`");
        return Ok(ExitCode::from(2));
    }
    println!("{greeting}, {}!", names.join(" and "));
    Ok(ExitCode::SUCCESS)
}
