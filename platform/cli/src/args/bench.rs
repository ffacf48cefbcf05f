//! `skiff bench …`: measurements.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `skiff bench …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum BenchCommand {
    /// Measure the stages of a cold start
    ColdStart(ColdStartArgs),
}

/// `skiff bench cold-start`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff bench cold-start hello                       a service that is deployed
  skiff bench cold-start hello.wasm --requests 500   a component: deployed for the measurement, then removed
  skiff bench cold-start hello --html report.html    with plots, for a browser")]
pub struct ColdStartArgs {
    /// A service, or a component's file
    #[arg(value_name = "NAME|FILE.wasm")]
    pub source: String,
    /// How many cold starts: 1 to 1000
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub requests: u32,
    /// What each request asks for
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,
    /// How often a FILE.wasm is pushed, compiled and called for the first time: 1 to 100
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub deploys: u32,
    /// Also write the report, with a plot of each stage, as one HTML page that needs no network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
