//! The data folder: made private, locked by one platform at a time, with the secrets that are made at first start.

use anyhow::{Context, bail};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A locked data folder; the lock ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// The folder that is used where none is given: the user's data folder, after the XDG base directory
    /// specification.
    pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("skiff"))
            .context("neither XDG_DATA_HOME nor HOME is set; say where to keep data with --data-dir PATH")
    }

    /// Makes the folder with mode 0700 where there is none or an empty one, and locks it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("the data folder {shown} can't be made"))?;
        let path = path.canonicalize().with_context(|| format!("the data folder {shown} can't be opened"))?;
        if path.read_dir()?.next().is_none() {
            std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        }
        let mode = path.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!(
                "the data folder {shown} is open to others (mode {:o}); run `chmod 700 {shown}`",
                mode & 0o777
            );
        }
        let lock = private().create(true).truncate(false).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another `skiff up` runs on the data folder {shown}; stop it, or choose another folder with --data-dir"
            ),
            Err(TryLockError::Error(error)) => Err(error).context("the data folder can't be locked"),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a secret file of `N` bytes, in hexadecimal; makes it at first with mode 0600, whole or not at all.
    pub(crate) fn secret<const N: usize>(&self, name: &str) -> anyhow::Result<[u8; N]> {
        let path = self.path.join(name);
        let shown = path.display();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = hex::encode(skiff_kit::random::bytes::<N>());
                let temporary = self.path.join(format!("{name}.new"));
                let mut file = private().create(true).truncate(true).open(&temporary)?;
                writeln!(file, "{text}")?;
                file.sync_all()?;
                std::fs::rename(&temporary, &path)?;
                File::open(&self.path)?.sync_all()?;
                text
            }
            Err(error) => return Err(error).with_context(|| format!("{shown} can't be read")),
        };
        let mut bytes = [0; N];
        hex::decode_to_slice(text.trim(), &mut bytes).with_context(|| {
            format!("{shown} is damaged; remove it, and a new one is made at the next start")
        })?;
        Ok(bytes)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_private_and_locked_and_keeps_its_secrets() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let secret: [u8; 32] = first.secret("token").unwrap();
        assert_eq!(path.join("token").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(refused.contains("another `skiff up` runs on the data folder"), "{refused}");
        drop(first);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.secret::<32>("token").unwrap(), secret);
        std::fs::write(path.join("token"), "damaged").unwrap();
        assert!(again.secret::<32>("token").unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn a_folder_open_to_others_is_closed_if_empty_and_refused_if_not() {
        let parent = tempfile::tempdir().unwrap();
        let open = Permissions::from_mode(0o755);
        std::fs::set_permissions(parent.path(), open.clone()).unwrap();
        drop(DataDir::open(parent.path()).unwrap());
        assert_eq!(parent.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(parent.path(), open).unwrap();
        assert!(DataDir::open(parent.path()).unwrap_err().to_string().contains("chmod 700"));
    }
}
