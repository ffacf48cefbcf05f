//! Opens a log's files, reads all records again, and cuts off what a crash left unfinished.
//!
//! What always holds: each segment ends where the next one starts, and only the last may end in something that is no record,
//! which is cut off unless a mark says that it was on the drive. A segment is synced before the next one is made.

use super::scan::{Next, Scan};
use super::segments::Segment;
use super::{LogError, Position, frame, read_up_to, segment_path};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of a log. It is held open, so that it can be synced while the process may open no more files.
pub(super) struct Folder {
    /// Where it is.
    pub(super) path: PathBuf,
    file: File,
}

impl Folder {
    /// Opens it, or makes it, with the folders above it.
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if is_new && let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            File::open(above)?.sync_all()?;
        }
        Ok(Self { path: path.to_owned(), file: File::open(path)? })
    }

    /// Makes what was created or removed in it last.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// What was found.
pub(super) struct Recovered {
    /// Where.
    pub(super) folder: Folder,
    /// The segments in order, at least one.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Where the next record goes.
    pub(super) end: u64,
}

/// Opens the log in a folder, or makes it; calls `replay` with each record in order.
pub(super) fn recover(
    folder: &Path,
    mut replay: impl FnMut(Position, &[u8]) -> Result<(), LogError>,
) -> Result<Recovered, LogError> {
    let folder = Folder::open(folder)?;
    let mut segments = list(&folder.path)?;
    if segments.is_empty() {
        segments.push(create(&folder, 0)?);
        return Ok(Recovered { folder, segments, end: 0 });
    }
    let mut end = 0;
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1).map(|next| next.start);
        end = read(segment, next, &mut replay)?;
    }
    Ok(Recovered { folder, segments, end })
}

/// The segments in order. What else lies in the folder is left alone.
fn list(folder: &Path) -> Result<Vec<Arc<Segment>>, LogError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(start) = start_of(&path) {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            found.push(Arc::new(Segment { start, path, file }));
        }
    }
    found.sort_by_key(|segment| segment.start);
    Ok(found)
}

/// Where the segment starts that lies there, if it is one.
fn start_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let is_hex = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// Makes an empty segment that lasts; one that is there already is emptied.
pub(super) fn create(folder: &Folder, start: u64) -> Result<Arc<Segment>, LogError> {
    let path = segment_path(&folder.path, start);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    match file.sync_all().and_then(|()| folder.sync()) {
        Ok(()) => Ok(Arc::new(Segment { start, path, file })),
        Err(error) => {
            remove(folder, &path)?;
            Err(error.into())
        }
    }
}

/// Removes a segment that could not be made, for good: where it stayed, the one before it would end there, and what that takes
/// from now on would not be read again. So what fails here is the end of the log, whatever it is.
pub(super) fn remove(folder: &Folder, path: &Path) -> Result<(), LogError> {
    let removed = std::fs::remove_file(path).and_then(|()| folder.sync());
    removed.map_err(|error| LogError::Io(Arc::new(error)))
}

/// Whether no file could be opened, since too many are.
pub(super) fn is_of_open_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Replays a segment, up to where the next one starts if there is one; its end.
fn read(
    segment: &Segment,
    next: Option<u64>,
    replay: &mut impl FnMut(Position, &[u8]) -> Result<(), LogError>,
) -> Result<u64, LogError> {
    let file_bytes = segment.file.metadata()?.len();
    let limit = next.map_or(file_bytes, |next| next - segment.start);
    let damaged = |offset| LogError::Damaged { file: segment.path.clone(), offset };
    if limit > file_bytes {
        return Err(damaged(file_bytes));
    }
    let mut scan = Scan::new(segment, limit);
    while let Next::Record(at, payload) = scan.next()? {
        replay(at, payload)?;
    }
    let offset = scan.offset();
    if next.is_some() {
        return if offset == limit { Ok(segment.start + limit) } else { Err(damaged(offset)) };
    }
    if offset < file_bytes {
        let mut rest = vec![0; usize::try_from(file_bytes - offset).unwrap_or(usize::MAX)];
        let got = read_up_to(&segment.file, &mut rest, offset)?;
        let position = segment.start + offset;
        if frame::is_covered(&rest[..got], position, position) {
            return Err(damaged(offset));
        }
        cut(&segment.file, offset)?;
    }
    Ok(segment.start + offset)
}

/// Cuts a file off there, for good.
pub(super) fn cut(file: &File, offset: u64) -> io::Result<()> {
    file.set_len(offset)?;
    file.sync_all()
}
