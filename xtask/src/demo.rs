//! The main job, shown: from three components to answers through the load balancer, and what their cold starts cost.

use crate::platform::Platform;
use crate::shell::{self, build_guests, cargo, root};
use anyhow::bail;
use std::net::TcpListener;

/// How to show it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the platform running, on its usual ports.
    #[arg(long)]
    keep: bool,
}

/// Shows it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    build_guests()?;
    shell::run(cargo("build").args(["--package", "skiff-server"]))?;
    let binary = root().join("target/debug/skiff");
    let data_dir = root().join("target/demo/data");
    let _ = std::fs::remove_dir_all(&data_dir);
    let free = ["127.0.0.1:8080", "127.0.0.1:8081"].iter().all(|address| TcpListener::bind(address).is_ok());
    let ports: &[&str] = match (free, args.keep) {
        (true, _) => &[],
        (false, false) => &["--http", "127.0.0.1:0", "--api", "127.0.0.1:0"],
        (false, true) => bail!("port 8080 or 8081 is taken, so nothing can be left there; end what holds it"),
    };

    let (platform, took) = Platform::start(&binary, &data_dir, ports)?;
    println!("\nskiff is up after {} ms, its load balancer at http://{}\n", took.as_millis(), platform.http);
    for example in ["hello", "hello-p3"] {
        platform.skiff(&["deploy", &format!("examples/{example}")])?;
        println!("\nGET http://{example}.localhost/\n{}\n", platform.get(example, "/")?.trim_end());
    }
    let job = root().join("examples/target/wasm32-wasip2/release/job.wasm");
    let job = job.to_string_lossy();
    platform.skiff(&["run", &job, "--", "1", "2", "39"])?;
    println!();
    for example in ["hello", "hello-p3"] {
        platform.skiff(&["bench", "cold-start", example, "--requests", "200"])?;
        println!();
    }
    platform.skiff(&["status"])?;
    if args.keep {
        println!("\nIt stays up: try `target/debug/skiff ps`. End it with `kill {}`.", platform.pid());
        platform.keep();
        return Ok(());
    }
    platform.stop()?;
    println!("\nAll of it ran on the embedded default, and ended in order.");
    Ok(())
}
