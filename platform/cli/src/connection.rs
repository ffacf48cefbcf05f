//! The file by which a client finds the platform: `skiff up` leaves it in the user's configuration folder.
//!
//! It names the file that holds the token, never the token itself. The last platform that was started has it.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a platform is. The same as the ready file of `skiff up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFile {
    /// Where the load balancer listens: `host:port`.
    pub http: String,
    /// Where the API listens: `host:port`.
    pub api: String,
    /// Where buckets are reached by S3, if anywhere: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<String>,
    /// The file that holds the token.
    pub token_file: PathBuf,
    /// Where the platform keeps everything.
    pub data_dir: PathBuf,
    /// The supervisor's process.
    pub pid: u32,
}

/// Why the connection file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// There is no folder to look in.
    #[error("neither XDG_CONFIG_HOME nor HOME names a folder to keep {FILE_NAME} in")]
    NoFolder,
    /// The disk.
    #[error("can't {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What it holds is something else.
    #[error("{} is damaged; remove it and start `skiff up` again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

/// The file's place below the configuration folder.
const FILE_NAME: &str = "skiff/platform.json";
/// Largest file that is taken for a token, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

impl ConnectionFile {
    /// Where it is: `skiff/platform.json` in `$XDG_CONFIG_HOME`, or in `~/.config`.
    pub fn path() -> Result<PathBuf, ConnectionError> {
        path_in(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
            .ok_or(ConnectionError::NoFolder)
    }

    /// Reads it; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, ConnectionError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", path, source)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| ConnectionError::Damaged { path: path.to_owned(), source })
    }

    /// Writes it, whole or not at all, for its owner alone; makes the folder.
    pub fn write(&self, path: &Path) -> Result<(), ConnectionError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|source| failed("make", folder, source))?;
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.as_file().set_permissions(Permissions::from_mode(0o600))?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.persist(path).map_err(|error| error.error)
        };
        write().map(drop).map_err(|source| failed("write", path, source))
    }

    /// Removes it if it is the one that process `pid` left; another platform's stays.
    pub fn remove_if_mine(path: &Path, pid: u32) -> Result<(), ConnectionError> {
        match Self::read(path)? {
            Some(found) if found.pid == pid => {
                fs::remove_file(path).map_err(|source| failed("remove", path, source))
            }
            _ => Ok(()),
        }
    }

    /// The token.
    pub fn token(&self) -> Result<String, ConnectionError> {
        let path = &self.token_file;
        let size = fs::metadata(path).map_err(|source| failed("read", path, source))?.len();
        if size > TOKEN_BYTES_MAX {
            return Err(failed("read", path, io::Error::other("it is too large for a token")));
        }
        let text = fs::read_to_string(path).map_err(|source| failed("read", path, source))?;
        Ok(text.trim().to_owned())
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ConnectionError {
    ConnectionError::File { action, path: path.to_owned(), source }
}

/// The XDG base directory specification 0.8: a relative `XDG_CONFIG_HOME` is ignored.
fn path_in(config_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let folder = config_home.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".config")))?;
    Some(folder.join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pid: u32, folder: &Path) -> ConnectionFile {
        ConnectionFile {
            http: "127.0.0.1:8080".to_owned(),
            api: "127.0.0.1:8081".to_owned(),
            s3: None,
            token_file: folder.join("token"),
            data_dir: folder.to_owned(),
            pid,
        }
    }

    #[test]
    fn is_found_after_xdg() {
        let path =
            |config: Option<&str>, home: Option<&str>| path_in(config.map(Into::into), home.map(Into::into));
        assert_eq!(path(Some("/c"), Some("/h")), Some("/c/skiff/platform.json".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.config/skiff/platform.json".into()));
        assert_eq!(path(None, Some("/h")), Some("/h/.config/skiff/platform.json".into()));
        assert_eq!(path(None, None), None);
    }

    #[test]
    fn is_read_as_it_was_written_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/platform.json");
        assert_eq!(ConnectionFile::read(&path).unwrap(), None);
        let written = file(7, folder.path());
        written.write(&path).unwrap();
        assert_eq!(ConnectionFile::read(&path).unwrap(), Some(written));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_platforms_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("platform.json");
        file(7, folder.path()).write(&path).unwrap();
        ConnectionFile::remove_if_mine(&path, 8).unwrap();
        assert!(path.exists());
        ConnectionFile::remove_if_mine(&path, 7).unwrap();
        assert!(!path.exists());
        ConnectionFile::remove_if_mine(&path, 7).unwrap();
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("platform.json");
        fs::write(&path, "{").unwrap();
        let error = ConnectionFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("platform.json is damaged; remove it"), "{error}");
    }

    #[test]
    fn the_token_is_trimmed_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let connection = file(7, folder.path());
        assert!(connection.token().is_err());
        fs::write(&connection.token_file, "secret\n").unwrap();
        assert_eq!(connection.token().unwrap(), "secret");
        fs::write(&connection.token_file, "x".repeat(5000)).unwrap();
        assert!(connection.token().is_err());
    }
}
