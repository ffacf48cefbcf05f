//! A log file that begins anew when it is full, and keeps so many older ones beside it.
//!
//! It blocks, so it belongs on a thread of its own. It knows nothing of lines: what is written at once stays together.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is renamed when it is full.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    file_bytes_max: u64,
    files_max: usize,
    file: File,
    bytes: u64,
}

impl RotatedFile {
    /// Goes on with the file at `path`, or makes it. Another is begun after `file_bytes_max` bytes; of `files_max` files,
    /// the present one included, the older ones have `.1`, `.2` and so on at their end.
    pub fn open(path: &Path, file_bytes_max: u64, files_max: usize) -> io::Result<Self> {
        let file = open_to_append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file_bytes_max, files_max, file, bytes })
    }

    /// Where the newest is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes to the present file, or to the next one if it is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + bytes.len() as u64 > self.file_bytes_max {
            self.rotate()?;
        }
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let place = |number: usize| match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        match self.files_max.checked_sub(1) {
            None | Some(0) => std::fs::remove_file(place(0))?,
            Some(last) => {
                for number in (0..last).rev() {
                    match std::fs::rename(place(number), place(number + 1)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
            }
        }
        self.file = open_to_append(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_rotate_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "0\n").unwrap();
        let mut file = RotatedFile::open(&path, 4, 3).unwrap();
        for batch in ["1\n", "2\n", "3\n", "4\n", "5\n", "long line\n", "6\n"] {
            file.write(batch.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("access.log").as_deref(), Some("6\n"));
        assert_eq!(read("access.log.1").as_deref(), Some("long line\n"));
        assert_eq!(read("access.log.2").as_deref(), Some("4\n5\n"));
        assert_eq!(read("access.log.3"), None);
    }
}
