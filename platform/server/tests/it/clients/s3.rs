//! boto3 and the AWS CLI at the S3 endpoint: what `s3.py` has them do, each checked there against what S3 documents.

use super::program::{python, run_within};
use super::{AccessKey, tools};
use crate::harness::{PATIENCE, Platform};

const SCRIPT: &str = "s3.py";
/// The fewest operations that are to be there.
const OPERATIONS_MIN: usize = 60;
/// The AWS CLI takes a second to begin, and that many times.
const PATIENCES: u32 = 10;

#[test]
fn boto3_and_the_aws_cli_are_given_what_s3_documents() {
    let Some(program) = tools::python() else { return };
    let platform = Platform::start(&[]);
    platform.ok(&["role", "put", "all", "--allow", "* *"]);
    let mut command = python(&program, SCRIPT);
    command.arg(format!("http://{}", platform.s3));
    AccessKey::of(&platform, "all").give(&mut command);
    let said = run_within(PATIENCE * PATIENCES, command);
    assert!(said.lines().count() >= OPERATIONS_MIN, "{said}");
}
