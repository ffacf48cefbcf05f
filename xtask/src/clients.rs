//! The clients of others that tests of the whole platform use: those that PyPI has are installed here, the rest is the
//! system's. What is missing costs the tests that need it, and no others: they are skipped, and that is said at the end.

use crate::shell::{output, root};
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is installed, in which versions.
const REQUIREMENTS: &str = "platform/server/tests/clients/requirements.txt";
/// Where; the tests look there.
const FOLDER: &str = "target/clients";
/// In that folder, once all of it is installed: the requirements that hold there.
const INSTALLED: &str = "requirements.txt";
/// In that folder: a line for each test that was skipped.
const SKIPPED: &str = "skipped.txt";

/// Installs what PyPI has into a virtual environment, unless it is there; says so where that can't be.
pub(crate) fn prepare() {
    if let Err(error) = install() {
        eprintln!("tests with boto3, awscli, grpcio and websockets are skipped: {error:#}");
    }
}

/// The folder of the programs among them, Python and the AWS CLI: installed, if they are not there.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    install()?;
    Ok(root().join(FOLDER).join("bin"))
}

fn install() -> anyhow::Result<()> {
    let folder = root().join(FOLDER);
    let (python, installed) = (folder.join("bin/python"), folder.join(INSTALLED));
    let wanted = fs::read(root().join(REQUIREMENTS))?;
    if python.is_file() && fs::read(&installed).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    eprintln!("installing clients of S3, of gRPC and of WebSockets in {FOLDER}");
    // Last, so that what was broken off is begun again.
    let _ = fs::remove_file(&installed);
    let make = output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    make.context(
        "they need Python 3.10 or later with its module venv (Debian: `apt-get install python3-venv`)",
    )?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]);
    // What would have to be compiled first takes too long.
    pip.args(["--only-binary", ":all:", "--requirement"]).arg(root().join(REQUIREMENTS));
    output(&mut pip).context("PyPI does not give them")?;
    Ok(fs::write(installed, wanted)?)
}

/// What tests that are skipped are noted in; nothing is noted there yet.
pub(crate) fn skipped_file() -> anyhow::Result<PathBuf> {
    let file = root().join(FOLDER).join(SKIPPED);
    fs::create_dir_all(file.parent().context("it is in a folder")?)?;
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("{} can't be removed: {error}", file.display())
        }
        _ => Ok(file),
    }
}

/// Says which tests were skipped.
pub(crate) fn tell_skipped(file: &Path) {
    // Nobody makes the file where no test is skipped.
    let notes = fs::read_to_string(file).unwrap_or_default();
    let count = notes.lines().count();
    if count > 0 {
        eprintln!("{count} {} skipped:\n{notes}", if count == 1 { "test was" } else { "tests were" });
    }
}
