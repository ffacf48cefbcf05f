//! `skiff completions`: a script that completes commands, flags and their values, to standard output.

use crate::args::Cli;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;

pub(crate) fn run(shell: Shell) -> std::io::Result<()> {
    output::line(script(shell).trim_end())
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "skiff", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::process::Command;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for word in ["deploy", "cold-start", "all-namespaces", "access-log"] {
                assert!(script.contains(word), "the script for {shell} does not know {word}");
            }
        }
    }

    /// What bash offers for the last of `words`, asked in a bash of its own.
    fn offered(words: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skiff.bash");
        std::fs::write(&path, script(Shell::Bash)).unwrap();
        let ask = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); last="${COMP_WORDS[COMP_CWORD]}"
            _skiff skiff "$last" "${COMP_WORDS[COMP_CWORD - 1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
        let output = Command::new("bash")
            .args(["--norc", "--noprofile", "-c", ask, "bash"])
            .arg(&path)
            .args(words)
            .output()
            .expect("bash starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_commands_flags_and_values() {
        if Command::new("bash").arg("--version").output().is_err() {
            eprintln!("there is no bash here: nothing to complete in");
            return;
        }
        assert_eq!(offered(&["skiff", "dep"]), ["deploy"]);
        assert_eq!(offered(&["skiff", "bench", "c"]), ["cold-start"]);
        assert_eq!(offered(&["skiff", "usage", "--all"]), ["--all-namespaces"]);
        assert_eq!(offered(&["skiff", "usage", "--by", ""]), ["service", "task"]);
    }
}
