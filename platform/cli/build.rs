//! Embeds the project templates and the Rust SDK's sources, so that `skiff new` needs neither network nor repository.
//!
//! It writes one static list of paths and contents for each into `$OUT_DIR/embedded.rs`: templates are text, the SDK's files
//! are bytes. Build output, lock files and tests are left out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const LEFT_OUT: [&str; 3] = ["target", "tests", "Cargo.lock"];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("embedded.rs");
    let mut code = String::new();
    let (text, bytes) = (("str", "include_str!"), ("[u8]", "include_bytes!"));
    for (name, (contents, include), folder) in
        [("TEMPLATES", text, here.join("templates")), ("SDK", bytes, here.join("../../sdk/rust"))]
    {
        let mut files = Vec::new();
        collect(&folder.canonicalize()?, &mut files)?;
        files.sort();
        let root = folder.canonicalize()?;
        writeln!(code, "static {name}: &[(&str, &{contents})] = &[").expect("a String takes everything");
        for file in files {
            let relative = file.strip_prefix(&root).expect("found below it");
            writeln!(code, "    ({relative:?}, {include}({file:?})),").expect("a String takes everything");
        }
        writeln!(code, "];").expect("a String takes everything");
    }
    fs::write(output, code)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), files)?,
            false => {
                println!("cargo::rerun-if-changed={}", entry.path().display());
                files.push(entry.path());
            }
        }
    }
    Ok(())
}
