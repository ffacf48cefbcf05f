//! The cache of native code: only what was stored comes back.

use crate::inspect::mutate;
use skiff_sandbox::cache::NativeCache;
use skiff_types::Digest;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

const KEY: [u8; 32] = [1; 32];

fn cache(dir: &Path) -> NativeCache {
    NativeCache::open(dir, KEY, "this engine".to_owned()).unwrap()
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn only_file(dir: &Path) -> PathBuf {
    let files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn loaded(cache: &NativeCache, component: &Digest) -> Option<Vec<u8>> {
    cache.load(component).unwrap().map(|fd| {
        let mut file = File::from(fd);
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn what_was_stored_comes_back_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = cache(dir.path());
    assert!(!first.contains(&digest(1)) && loaded(&first, &digest(1)).is_none());
    first.store(&digest(1), b"native code").unwrap();
    first.store(&digest(2), b"").unwrap();
    let second = cache(dir.path());
    assert!(second.contains(&digest(1)));
    assert_eq!(loaded(&second, &digest(1)).unwrap(), b"native code");
    assert_eq!(loaded(&second, &digest(2)).unwrap(), b"");
}

#[test]
fn what_was_loaded_can_no_longer_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    cache.store(&digest(1), b"native code").unwrap();
    let mut file = File::from(cache.load(&digest(1)).unwrap().unwrap());
    file.rewind().unwrap();
    assert!(file.write_all(b"other").is_err() && file.set_len(1).is_err() && file.set_len(1_000).is_err());
}

#[test]
fn a_damaged_or_cut_file_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    cache.store(&digest(1), b"native code").unwrap();
    let file = only_file(dir.path());
    let sound = std::fs::read(&file).unwrap();
    let damages = (0..sound.len()).flat_map(|at| {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        [flipped, sound[..at].to_vec()]
    });
    for damaged in damages.chain([[sound.clone(), vec![0]].concat()]) {
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(loaded(&cache, &digest(1)), None);
        assert!(!file.exists(), "a damaged file was left to be found again");
    }
}

#[test]
fn a_foreign_or_stale_file_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let ours = cache(dir.path());
    ours.store(&digest(1), b"native code").unwrap();
    let file = only_file(dir.path());
    let sound = std::fs::read(&file).unwrap();

    let other_key = NativeCache::open(dir.path(), [2; 32], "this engine".to_owned()).unwrap();
    assert_eq!(loaded(&other_key, &digest(1)), None, "made with another key");

    let other_engine = NativeCache::open(dir.path(), KEY, "another engine".to_owned()).unwrap();
    other_engine.store(&digest(1), b"its code").unwrap();
    let its_file = only_file(dir.path());
    std::fs::rename(&its_file, &file).unwrap();
    assert_eq!(loaded(&ours, &digest(1)), None, "made for another engine");

    ours.store(&digest(2), b"another component").unwrap();
    std::fs::write(&file, std::fs::read(only_file(dir.path())).unwrap()).unwrap();
    assert_eq!(loaded(&ours, &digest(1)), None, "made for another component");

    std::fs::write(&file, sound).unwrap();
    assert_eq!(loaded(&ours, &digest(1)).unwrap(), b"native code");
}

#[test]
fn no_mutation_of_a_file_is_ever_loaded() {
    const SEED: u64 = 0x00CA_C4ED;
    const MUTATIONS: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let mut random = fastrand::Rng::with_seed(SEED);
    let native: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(4_096).collect();
    cache.store(&digest(1), &native).unwrap();
    let file = only_file(dir.path());
    let sound = std::fs::read(&file).unwrap();
    for round in 0..MUTATIONS {
        let mut bytes = sound.clone();
        mutate(&mut bytes, &mut random);
        if bytes == sound {
            continue;
        }
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(loaded(&cache, &digest(1)), None, "seed {SEED:#x}, round {round}");
    }
}

#[test]
fn a_write_that_was_cut_off_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join("aa.1-0.unfinished");
    std::fs::write(&unfinished, b"half").unwrap();
    let cache = cache(dir.path());
    assert!(!unfinished.exists());
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert!(cache.store(&digest(1), b"native code").is_err());
}

#[test]
fn only_what_is_needed_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let stale = NativeCache::open(dir.path(), KEY, "an older engine".to_owned()).unwrap();
    stale.store(&digest(1), b"stale").unwrap();
    let cache = cache(dir.path());
    (1..=3).for_each(|number| cache.store(&digest(number), b"code").unwrap());
    assert_eq!(cache.keep(&[digest(1), digest(3)].into()), 2);
    assert!(cache.contains(&digest(1)) && !cache.contains(&digest(2)) && cache.contains(&digest(3)));
    assert!(!stale.contains(&digest(1)));
    assert_eq!(cache.keep(&[digest(1), digest(3)].into()), 0);
}
