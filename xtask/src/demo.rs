//! The main job, shown: from components to answers through the load balancer, and what their cold starts cost; then orders that a
//! queue hands on, and images that events lead to.

use crate::platform::Platform;
use crate::shell::{build_guests, build_programs, find, root};
use anyhow::bail;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take that is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// How to show it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the platform running, on its usual ports, with its data in `target/demo/data`.
    #[arg(long)]
    keep: bool,
}

/// Shows it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    build_guests()?;
    let binary = build_programs("dev")?.join("skiff");
    let temporary = tempfile::tempdir()?;
    let (platform, took) = start(&binary, args.keep, &temporary.path().join("data"))?;
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
    show_snapshot(&platform)?;
    show_daemon(&platform)?;
    show_orders(&platform)?;
    show_thumbnails(&platform)?;
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

/// The same component from a snapshot and without: what a request costs that finds no sandbox alive.
fn show_snapshot(platform: &Platform) -> anyhow::Result<()> {
    let without = ["--name", "table-unprepared", "--snapshot=false"];
    for (service, arguments) in [("table", &[][..]), ("table-unprepared", &without)] {
        platform.skiff(&[&["deploy", "examples/table"], arguments].concat())?;
        println!(
            "\nGET http://{service}.localhost/SKU-000042\n{}\n",
            platform.get(service, "/SKU-000042")?.trim_end()
        );
        platform.skiff(&["bench", "cold-start", service, "--requests", "10"])?;
        println!();
    }
    Ok(())
}

/// An ordinary HTTP server, which goes on counting from one request to the next.
fn show_daemon(platform: &Platform) -> anyhow::Result<()> {
    platform.skiff(&["deploy", "examples/http-daemon"])?;
    println!("\nGET http://http-daemon.localhost/, twice");
    for _ in 0..2 {
        println!("{}", platform.get("http-daemon", "/")?.trim_end());
    }
    println!();
    Ok(())
}

/// Orders, which a queue hands on to who fulfils them, and one that is none.
fn show_orders(platform: &Platform) -> anyhow::Result<()> {
    for folder in ["examples/orders", "examples/orders/fulfil"] {
        platform.skiff(&["image", "push", folder])?;
    }
    platform.skiff(&["apply", "-f", "examples/orders/orders.yaml"])?;
    println!("\nPOST http://orders.localhost/cake/300, and a message of the queue that is no order");
    println!("{}", platform.post("orders", "/cake/300")?.trim_end());
    platform.skiff(&["queue", "send", "orders", "no order"])?;
    let fulfilled = ["table", "scan", "orders", "--prefix", "order/"];
    wait_for("the order is fulfilled", || Ok(platform.skiff_output(&fulfilled)?.contains("cake")))?;
    platform.skiff(&fulfilled)?;
    platform.skiff(&["queue", "receive", "orders-dead", "--delete", "--wait", "20s"])?;
    println!();
    Ok(())
}

/// Images: by the AWS CLI, where there is one. Nothing else here speaks S3.
fn show_thumbnails(platform: &Platform) -> anyhow::Result<()> {
    if find("aws").is_none() || find("python3").is_none() {
        println!(
            "examples/thumbnails is left out: there is no AWS CLI (`pip install awscli`) or no python3 on the PATH\n"
        );
        return Ok(());
    }
    println!("examples/thumbnails/try.sh, which uploads images by the AWS CLI");
    platform.run_script(&root().join("examples/thumbnails/try.sh"))?;
    println!();
    Ok(())
}

/// Waits until something holds.
fn wait_for(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds()? {
        if started.elapsed() > PATIENCE {
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Starts the platform: on the data that the last one which was kept has left, or on temporary data.
///
/// Nobody but its user deletes what was kept, and `skiff up` itself refuses it while a platform runs on it.
fn start(binary: &Path, keep: bool, temporary_data: &Path) -> anyhow::Result<(Platform, Duration)> {
    let usual = ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"];
    let free = usual.iter().all(|address| TcpListener::bind(address).is_ok());
    match (keep, free) {
        (true, true) => Platform::start_for_user(binary, &root().join("target/demo/data")),
        (true, false) => bail!(
            "port 8080, 8081 or 8082 is taken, so nothing can be left there; end what holds it (if it is a platform, \
             `target/debug/skiff status` shows its process)"
        ),
        (false, true) => Platform::start(binary, temporary_data, &[]),
        (false, false) => Platform::start(
            binary,
            temporary_data,
            &["--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--s3", "127.0.0.1:0"],
        ),
    }
}
