//! The log over restarts, crashes, damage, and disks that are full or broken.

use super::*;
use proptest::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SMALL_SEGMENT_BYTES: u64 = 4_096;

/// A disk on which files can grow by so many bytes more, and whose syncs may fail.
pub(crate) struct SmallDisk {
    pub(crate) left: AtomicU64,
    pub(crate) is_broken: AtomicBool,
}

impl SmallDisk {
    pub(crate) fn new(left: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(left), is_broken: AtomicBool::new(false) })
    }
}

impl Drive for SmallDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let growth = (offset + bytes.len() as u64).saturating_sub(file.metadata()?.len());
        let left = self.left.load(Ordering::Relaxed);
        if growth > left {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left.store(left - growth, Ordering::Relaxed);
        OsDrive.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is broken"));
        }
        OsDrive.sync(file)
    }
}

type Replayed = Vec<(Position, Vec<u8>)>;

fn config(folder: &Path) -> LogConfig {
    LogConfig { folder: folder.to_owned(), segment_bytes: SMALL_SEGMENT_BYTES }
}

fn reopen(folder: &Path) -> Result<(Log, Replayed), LogError> {
    let mut replayed = Vec::new();
    let log = Log::open(config(folder), Arc::new(OsDrive), |at, payload| {
        replayed.push((at, payload.to_vec()));
        Ok(())
    })?;
    Ok((log, replayed))
}

fn open_on(folder: &Path, drive: Arc<dyn Drive>) -> Log {
    Log::open(config(folder), drive, |_, _| Ok(())).unwrap()
}

fn record(number: u32, bytes: usize) -> Bytes {
    let mut record = number.to_be_bytes().to_vec();
    record.resize(bytes.max(4), number as u8);
    record.into()
}

async fn append(log: &Log, records: &[Bytes]) -> Vec<Position> {
    log.append(records.to_vec(), Durable::Drive).await.unwrap()
}

fn last_file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.pop().unwrap()
}

fn copy(folder: &Path) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copied.path().join(path.file_name().unwrap())).unwrap();
    }
    copied
}

#[tokio::test]
async fn what_was_appended_is_replayed_in_order_over_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    let mut expected = Vec::new();
    for number in 0..60 {
        let records = [record(number, 10 + number as usize * 9), record(number + 1_000, 300)];
        let positions = append(&log, &records).await;
        expected.extend(positions.into_iter().zip(records.map(|record| record.to_vec())));
    }
    assert!(log.first_end().is_some(), "there is one segment alone");
    for (at, payload) in &expected {
        assert_eq!(log.read(*at).unwrap(), payload);
    }
    log.close().await;
    let (log, replayed) = reopen(folder.path()).unwrap();
    assert_eq!(replayed, expected);
    assert!(append(&log, &[record(7, 7)]).await[0] > replayed.last().unwrap().0);
    log.close().await;
}

#[tokio::test]
async fn the_order_of_calls_is_the_order_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    let mut appends: Vec<_> = (0..500)
        .map(|number| {
            let durable = if number % 3 == 0 { Durable::System } else { Durable::Drive };
            log.append(vec![record(number, 20)], durable)
        })
        .collect();
    // One that nobody waits for is written all the same.
    drop(appends.remove(100));
    let mut last = None;
    for append in appends {
        let positions = append.await.unwrap();
        assert!(Some(positions[0]) > last);
        last = Some(positions[0]);
    }
    log.close().await;
    let (_log, replayed) = reopen(folder.path()).unwrap();
    let numbers: Vec<_> = replayed.iter().map(|(_, payload)| payload.clone()).collect();
    assert_eq!(numbers, (0..500).map(|number| record(number, 20).to_vec()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_append_again_and_again_are_all_answered_and_the_last_of_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    // Writes wait for others as long as these are many, and then no more.
    let appenders = (0..32).map(|appender| {
        let log = log.clone();
        tokio::spawn(async move {
            for number in 0..=appender {
                append(&log, &[record(number, 20)]).await;
            }
        })
    });
    for appender in appenders.collect::<Vec<_>>() {
        appender.await.unwrap();
    }
    log.close().await;
    let (_log, replayed) = reopen(folder.path()).unwrap();
    assert_eq!(replayed.len(), (1..=32).sum::<usize>());
}

#[tokio::test]
async fn a_note_goes_with_what_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    log.note(record(1, 8));
    append(&log, &[record(2, 8)]).await;
    log.note(record(3, 8));
    log.close().await;
    let (_log, replayed) = reopen(folder.path()).unwrap();
    let payloads: Vec<_> = replayed.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, [record(1, 8), record(2, 8), record(3, 8)]);
}

#[tokio::test]
async fn what_a_crash_tore_is_cut_off_wherever_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    append(&log, &[record(1, 50)]).await;
    let torn = append(&log, &[record(2, 50), record(3, 50)]).await;
    let path = folder.path().join("0000000000000000.log");
    let boundaries = [57, 58, 59, 73, 74, 75, torn[1].0 - 1, torn[1].0, torn[1].0 + 57, torn[1].0 + 58];
    for cut_at in (0..torn[1].0 + 58).step_by(9).chain(boundaries) {
        let copied = copy(folder.path());
        let file =
            OpenOptions::new().write(true).open(copied.path().join(path.file_name().unwrap())).unwrap();
        file.set_len(cut_at).unwrap();
        let (log, replayed) = reopen(copied.path()).unwrap();
        let whole = [58, torn[1].0, torn[1].0 + 58].iter().filter(|end| **end <= cut_at).count();
        assert_eq!(replayed.len(), whole, "cut at {cut_at}");
        let at = append(&log, &[record(9, 9)]).await[0];
        log.close().await;
        let (_log, replayed) = reopen(copied.path()).unwrap();
        assert_eq!(replayed.last().unwrap(), &(at, record(9, 9).to_vec()));
        assert_eq!(replayed.len(), whole + 1);
    }
    log.close().await;
}

#[tokio::test]
async fn damage_of_what_was_on_the_drive_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    append(&log, &[record(1, 50), record(2, 50)]).await;
    log.close().await;
    let path = last_file(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 1;
    fs::write(&path, bytes).unwrap();
    match reopen(folder.path()).map(|_| ()) {
        Err(LogError::Damaged { file, offset }) => assert_eq!((file, offset), (path, 58)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_segment_that_is_not_the_last_must_be_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    for number in 0..20 {
        append(&log, &[record(number, 1_000)]).await;
    }
    log.close().await;
    let file = OpenOptions::new().write(true).open(folder.path().join("0000000000000000.log")).unwrap();
    file.set_len(2_000).unwrap();
    assert!(matches!(reopen(folder.path()), Err(LogError::Damaged { .. })));
}

#[tokio::test]
async fn whole_segments_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    let mut positions = Vec::new();
    for number in 0..30 {
        positions.extend(append(&log, &[record(number, 1_000)]).await);
    }
    let bytes = log.bytes();
    log.forget_before(positions[17]);
    log.close().await;
    assert!(log.first() <= positions[17] && log.first() > positions[10]);
    assert!(log.bytes() < bytes);
    assert!(matches!(log.read(positions[0]), Err(LogError::Absent(_))));
    let (_log, replayed) = reopen(folder.path()).unwrap();
    assert_eq!(replayed[0].0, positions[positions.partition_point(|at| *at < log.first())]);
    assert_eq!(replayed.last().unwrap().0, positions[29]);
}

#[tokio::test]
async fn a_full_disk_undoes_the_write_and_leaves_room_for_what_frees_some() {
    let folder = tempfile::tempdir().unwrap();
    let drive = SmallDisk::new(1024 * 1024);
    let log = open_on(folder.path(), drive.clone());
    let mut kept = Vec::new();
    let refused = loop {
        match log.append(vec![record(1, 100_000)], Durable::Drive).await {
            Ok(_) => kept.push(record(1, 100_000).to_vec()),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::Full), "{refused:?}");
    assert!(!kept.is_empty());
    for number in 0..100 {
        let (reply, answer) = oneshot::channel();
        let records = vec![record(number, 100)];
        log.append_then(records, Durable::Drive, true, |outcome| reply.send(outcome).unwrap()).unwrap();
        answer.await.unwrap().unwrap();
        kept.push(record(number, 100).to_vec());
    }
    assert!(matches!(log.append(vec![record(1, 100_000)], Durable::Drive).await, Err(LogError::Full)));
    drive.left.store(u64::MAX / 2, Ordering::Relaxed);
    append(&log, &[record(2, 100_000)]).await;
    kept.push(record(2, 100_000).to_vec());
    log.close().await;
    let (_log, replayed) = reopen(folder.path()).unwrap();
    assert!(replayed.into_iter().map(|(_, payload)| payload).eq(kept));
}

#[tokio::test]
async fn a_segment_that_finds_no_room_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let drive = SmallDisk::new(1024 * 1024);
    let log = open_on(folder.path(), drive.clone());
    // The next write goes to a new segment.
    append(&log, &[record(1, SMALL_SEGMENT_BYTES as usize)]).await;
    drive.left.store(1_000, Ordering::Relaxed);
    let refused = log.append(vec![record(2, 10)], Durable::Drive).await;
    assert!(matches!(refused, Err(LogError::Full)), "{refused:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let (reply, answer) = oneshot::channel();
    log.append_then(vec![record(3, 10)], Durable::Drive, true, |outcome| reply.send(outcome).unwrap())
        .unwrap();
    answer.await.unwrap().unwrap();
    let copied = copy(folder.path());
    let (_log, replayed) = reopen(copied.path()).unwrap();
    assert_eq!(replayed.last().unwrap().1, record(3, 10));
    log.close().await;
}

#[tokio::test]
async fn a_segment_that_can_not_be_removed_keeps_those_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    for number in 0..4 {
        append(&log, &[record(number, SMALL_SEGMENT_BYTES as usize)]).await;
    }
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let aside = folder.path().join("aside");
    fs::rename(&files[0], &aside).unwrap();
    fs::create_dir(&files[0]).unwrap();
    log.forget_before(log.end());
    for number in 4..7 {
        append(&log, &[record(number, 10)]).await;
    }
    assert!(files[1].exists(), "the log has a hole");
    fs::remove_dir(&files[0]).unwrap();
    fs::rename(&aside, &files[0]).unwrap();
    for number in 7..10 {
        append(&log, &[record(number, 10)]).await;
    }
    assert!(!files[0].exists() && !files[1].exists(), "it is not tried again");
    log.close().await;
    let (_log, replayed) = reopen(folder.path()).unwrap();
    assert_eq!(replayed.last().unwrap().1, record(9, 10));
}

#[tokio::test]
async fn a_record_that_is_too_long_is_refused_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    let long = Bytes::from(vec![0; frame::RECORD_BYTES_MAX + 1]);
    for bad in [long, Bytes::new()] {
        assert!(matches!(log.append(vec![bad], Durable::Drive).await, Err(LogError::Length)));
    }
    append(&log, &[record(1, 10)]).await;
    log.close().await;
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let drive = SmallDisk::new(u64::MAX / 2);
    let log = open_on(folder.path(), drive.clone());
    append(&log, &[record(1, 10)]).await;
    drive.is_broken.store(true, Ordering::Relaxed);
    assert!(matches!(log.append(vec![record(2, 10)], Durable::Drive).await, Err(LogError::Io(_))));
    drive.is_broken.store(false, Ordering::Relaxed);
    assert!(matches!(log.append(vec![record(3, 10)], Durable::Drive).await, Err(LogError::Io(_))));
    log.close().await;
    let (_log, replayed) = reopen(folder.path()).unwrap();
    assert_eq!(replayed[0].1, record(1, 10));
}

#[tokio::test]
async fn a_closed_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    log.close().await;
    log.close().await;
    assert!(matches!(log.append(vec![record(1, 10)], Durable::System).await, Err(LogError::Closed)));
}

#[tokio::test]
async fn what_lies_nowhere_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = reopen(folder.path()).unwrap();
    let at = append(&log, &[record(1, 10)]).await[0];
    assert!(matches!(log.read(log.end()), Err(LogError::Absent(_))));
    assert!(matches!(log.read(Position(at.0 + 1)), Err(LogError::Damaged { .. })));
    log.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is cut off or left as rubbish at the end, what is replayed is the beginning of what was appended.
    #[test]
    fn what_is_replayed_is_a_beginning(
        sizes in prop::collection::vec(4_usize..3_000, 1..40),
        cut in 0_u64..6_000,
        rubbish in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (log, _) = reopen(folder.path()).unwrap();
            let mut expected = Vec::new();
            for (number, size) in sizes.into_iter().enumerate() {
                expected.push(record(number as u32, size).to_vec());
                append(&log, &[record(number as u32, size)]).await;
            }
            let copied = copy(folder.path());
            log.close().await;
            let path = last_file(copied.path());
            let start = u64::from_str_radix(&path.file_name().unwrap().to_str().unwrap()[..16], 16).unwrap();
            let used = log.end().0 - start;
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let left = used.saturating_sub(cut);
            file.set_len(left).unwrap();
            OsDrive.write(&file, &rubbish, left).unwrap();
            let (_log, replayed) = reopen(copied.path()).unwrap();
            let payloads: Vec<_> = replayed.into_iter().map(|(_, payload)| payload).collect();
            prop_assert!(expected.starts_with(&payloads));
            if cut == 0 {
                prop_assert_eq!(payloads.len(), expected.len());
            }
            Ok(())
        })?;
    }
}
