//! What a command reads that its user hands it: standard input, or a file; bounded, since it is sent in one call.

use anyhow::{Context as _, bail};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes that are read: more than any value or message may have.
pub(crate) const INPUT_BYTES_MAX: u64 = 2 << 20;

/// All of standard input.
pub(crate) fn standard() -> anyhow::Result<Vec<u8>> {
    whole(io::stdin().lock(), "standard input")
}

/// All of a file.
pub(crate) fn file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("{name} can't be read"))?;
    whole(file, &name)
}

/// A text that is given as such, or as `@FILE`.
pub(crate) fn json_or_file(given: &str) -> anyhow::Result<String> {
    let Some(path) = given.strip_prefix('@') else { return Ok(given.to_owned()) };
    String::from_utf8(file(Path::new(path))?).with_context(|| format!("{path} is not text in UTF-8"))
}

fn whole(from: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name} can't be read"))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        bail!("{name} has more than {INPUT_BYTES_MAX} bytes, which is more than can be sent");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_given_as_such_or_by_its_file() {
        assert_eq!(json_or_file("{\"a\":1}").unwrap(), "{\"a\":1}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(json_or_file(&format!("@{}", path.display())).unwrap(), "{}");
        assert!(json_or_file("@/nowhere/at/all").is_err());
    }

    #[test]
    fn what_is_too_long_is_not_read_to_its_end() {
        let most = vec![b'a'; INPUT_BYTES_MAX as usize];
        assert_eq!(whole(&most[..], "it").unwrap().len() as u64, INPUT_BYTES_MAX);
        let error = whole(io::repeat(b'a'), "it").unwrap_err().to_string();
        assert!(error.starts_with("it has more than 2097152 bytes"), "{error}");
    }
}
