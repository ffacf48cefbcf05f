//! `skiff man`: a manual page for each command, named as `git`'s are: `skiff.1`, `skiff-task-ls.1`.

use crate::args::Cli;
use crate::context::Context;
use crate::{human, progress};
use anyhow::Context as _;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::fs;
use std::path::Path;

pub(crate) fn run(context: &Context, dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    fs::create_dir_all(dir).with_context(|| format!("the folder {shown} can't be made"))?;
    let pages = pages()?;
    for (name, text) in &pages {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    progress::note(format!("wrote {} to {shown}", human::count(pages.len() as u64, "page")));
    if context.output.is_json() {
        let names: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        context.output.print(&names, String::new)?;
    }
    Ok(())
}

/// Every page's file name and text.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text)?;
    pages.push((man.get_filename(), text));
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| collect(sub, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What pages are made of (groff_man(7), and groff(7) for the conditions that choose a quote).
    const REQUESTS: [&str; 10] = ["TH", "SH", "TP", "IP", "PP", "RS", "RE", "br", "ie", "el"];

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let names: Vec<String> = pages().unwrap().into_iter().map(|(name, _)| name).collect();
        for name in ["skiff.1", "skiff-deploy.1", "skiff-task-ls.1", "skiff-bench-cold-start.1"] {
            assert!(names.iter().any(|other| other == name), "{name} is not among {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("worker") || name.contains("help")), "{names:?}");
    }

    #[test]
    fn a_page_is_roff_with_its_sections() {
        for (name, text) in pages().unwrap() {
            let text = String::from_utf8(text).unwrap();
            assert!(text.lines().any(|line| line.starts_with(".TH ")), "{name} has no title: {text}");
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION"] {
                let heading = format!(".SH {section}");
                assert!(text.lines().any(|line| line == heading), "{name} has no {heading}: {text}");
            }
            assert!(text.contains("Examples:"), "{name} has no examples");
            // Text that begins with a control character would be taken for a request, and be lost.
            for line in text.lines().filter(|line| line.starts_with(['.', '\''])) {
                let request = line[1..].split_whitespace().next().unwrap_or_default();
                assert!(REQUESTS.contains(&request), "{name}: {line:?} is no request");
            }
        }
    }
}
