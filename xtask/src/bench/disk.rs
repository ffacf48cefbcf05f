//! What the drive itself takes to have something: for what stands beside it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Syncs that are timed.
const SYNCS: usize = 300;
/// Bytes that each writes: a page.
const WRITE_BYTES: usize = 4_096;

/// How long it takes to write a page behind others and to have it on the drive, in microseconds, each time: one after the other, or
/// with a pause between them, after which a drive may take longer.
pub(crate) fn syncs_us(folder: &Path, pause: Duration) -> anyhow::Result<Vec<f64>> {
    let path = folder.join("syncs");
    let mut file = File::create(&path)?;
    let page = [7; WRITE_BYTES];
    // Room beforehand: what is timed is no change of the file's length.
    file.write_all(&vec![0; WRITE_BYTES * SYNCS])?;
    file.sync_all()?;
    let mut file = File::options().write(true).open(&path)?;
    let timed = (0..SYNCS).map(|_| {
        std::thread::sleep(pause);
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        Ok(began.elapsed().as_secs_f64() * 1e6)
    });
    let timed = timed.collect::<anyhow::Result<Vec<f64>>>()?;
    std::fs::remove_file(&path)?;
    Ok(timed)
}
