//! `wrk`, started and read.

use crate::shell::output;
use anyhow::{Context, bail};
use std::process::Command;

/// A closed-loop load on one URL.
pub(super) struct Load {
    pub(super) url: String,
    pub(super) host: Option<&'static str>,
    pub(super) connections: usize,
    pub(super) seconds: u64,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Load {
    /// Runs it; an answer that is not a success is an error.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        let mut command = Command::new("wrk");
        command.args([
            "-t1",
            "--latency",
            &format!("-c{}", self.connections),
            &format!("-d{}s", self.seconds),
        ]);
        if let Some(host) = self.host {
            command.args(["-H", &format!("Host: {host}")]);
        }
        parse(&output(command.arg(&self.url))?)
    }
}

fn parse(text: &str) -> anyhow::Result<Outcome> {
    if let Some(errors) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("the load met errors: {}", errors.trim());
    }
    let after = |label: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(label));
        line.map(|line| line.trim_start()[label.len()..].trim().to_owned())
            .with_context(|| format!("`wrk` says nothing of {label:?}"))
    };
    let requests = text.lines().find(|line| line.contains(" requests in "));
    let requests = requests.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(Outcome {
        requests: requests.context("`wrk` says nothing of its requests")?,
        requests_per_second: after("Requests/sec:")?.parse()?,
        p50_ms: milliseconds(&after("50%")?)?,
        p99_ms: milliseconds(&after("99%")?)?,
    })
}

fn milliseconds(text: &str) -> anyhow::Result<f64> {
    let number = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let factor = match &text[number.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        unit => bail!("a latency in {unit:?}"),
    };
    Ok(number.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 5s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  500.00us  10.00ms   90.00%
    Req/Sec    27.10k     1.00k   29.00k    80.00%
  Latency Distribution
     50%  987.00us
     75%    1.40ms
     90%    1.90ms
     99%    2.50ms
  135500 requests in 5.00s, 20.00MB read
Requests/sec:  27100.12
Transfer/sec:      4.00MB
";

    #[test]
    fn reads_what_wrk_prints() {
        let outcome = parse(TEXT).unwrap();
        let expected =
            Outcome { requests: 135_500, requests_per_second: 27_100.12, p50_ms: 0.987, p99_ms: 2.5 };
        assert_eq!(outcome, expected);
        assert!(
            parse(&format!("{TEXT}  Non-2xx or 3xx responses: 12\n")).unwrap_err().to_string().contains("12")
        );
    }
}
