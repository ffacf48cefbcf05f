//! `skiff.toml`: any text is a manifest, or an error that points into it.

use skiff_cli::manifest::Manifest;
use std::path::Path;

/// Reads the input as a manifest.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let file = Path::new("skiff.toml");
    let lines = 1 + text.bytes().filter(|&byte| byte == b'\n').count();
    match Manifest::parse(text, file) {
        Ok(manifest) => {
            assert!((1..=lines).contains(&manifest.component.line));
            assert_eq!(Manifest::parse(text, file).as_ref(), Ok(&manifest));
        }
        Err(error) => {
            assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
            assert!(!error.message.is_empty());
        }
    }
}
