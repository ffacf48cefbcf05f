//! What the image port promises, on real folders.

use crate::{COMPONENT_BYTES_MAX, GRACE_MS, LocalImages};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use skiff_kit::clock::Clock;
use skiff_ports::images::{Image, ImageError, Images};
use skiff_types::Digest;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// The smallest component: its header alone.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Fixture {
    folder: TempDir,
    images: LocalImages,
    clock: Arc<ManualClock>,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock(AtomicU64::new(1_700_000_000_000)));
    let images = LocalImages::open_with_clock(folder.path(), clock.clone()).unwrap();
    Fixture { folder, images, clock }
}

impl Fixture {
    async fn push(&self, bytes: &'static [u8]) -> Image {
        self.images.push(body(bytes)).await.unwrap()
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join("blobs/sha256").join(digest.hex())
    }

    fn files(&self) -> (usize, usize) {
        (count(&self.folder.path().join("blobs/sha256")), count(&self.folder.path().join("uploads")))
    }

    fn pass(&self, duration_ms: u64) {
        self.clock.0.fetch_add(duration_ms, Ordering::Relaxed);
    }

    async fn keep(&self, manifests: &[Digest], components: &[Digest]) -> usize {
        let set = |digests: &[Digest]| digests.iter().copied().collect::<BTreeSet<_>>();
        self.images.keep(&set(manifests), &set(components)).await.unwrap()
    }
}

fn count(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}

/// A component in chunks of three bytes.
fn body(bytes: &'static [u8]) -> BoxStream<'static, io::Result<Bytes>> {
    stream::iter(bytes.chunks(3).map(|chunk| Ok(Bytes::from_static(chunk)))).boxed()
}

#[tokio::test]
async fn an_image_is_found_as_it_was_pushed() {
    let fixture = fixture();
    let image = fixture.push(COMPONENT).await;
    assert_eq!(image.component_bytes, COMPONENT.len() as u64);
    assert_eq!(std::fs::read(fixture.images.component_path(&image.component)).unwrap(), COMPONENT);
    assert_eq!(fixture.images.get(&image.manifest).await.unwrap(), Some(image.clone()));
    let reopened = LocalImages::open(fixture.folder.path()).unwrap();
    assert_eq!(reopened.get(&image.manifest).await.unwrap(), Some(image.clone()));
    assert_eq!(fixture.images.get(&image.component).await.unwrap(), None, "a component is no manifest");
    assert_eq!(fixture.images.get(&Digest::from_bytes([7; 32])).await.unwrap(), None);
}

#[tokio::test]
async fn the_same_bytes_are_the_same_image() {
    let fixture = fixture();
    let first = fixture.push(COMPONENT).await;
    fixture.pass(86_400_000);
    assert_eq!(fixture.push(COMPONENT).await, first);
    assert_eq!(fixture.files(), (3, 0));
    assert_eq!(self::fixture().push(COMPONENT).await, first, "wherever it was pushed");
    assert_ne!(fixture.push(b"\0asm\x01\0\0\0").await.manifest, first.manifest);
}

#[tokio::test]
async fn pushes_at_once_do_not_disturb_each_other() {
    let fixture = fixture();
    let pushes = (0..20).map(|n| fixture.images.push(body(if n % 2 == 0 { COMPONENT } else { b"other" })));
    let pushed = futures::future::try_join_all(pushes).await.unwrap();
    assert_eq!(pushed.iter().map(|image| image.manifest).collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(fixture.files(), (6, 0));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let fixture = fixture();
    let broken = body(COMPONENT).chain(stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) }));
    let refused = fixture.images.push(broken.boxed()).await;
    assert!(matches!(refused, Err(ImageError::Upload(_))), "{refused:?}");
    assert_eq!(fixture.files(), (0, 0));

    let mut hanging = fixture.images.push(body(COMPONENT).chain(stream::pending()).boxed());
    while fixture.files() == (0, 0) {
        assert!(futures::poll!(&mut hanging).is_pending());
    }
    drop(hanging);
    assert_eq!(fixture.files(), (0, 0), "a push that nobody waits for any more");
}

#[tokio::test]
async fn opening_removes_what_a_killed_process_has_left() {
    let fixture = fixture();
    let image = fixture.push(COMPONENT).await;
    std::fs::write(fixture.folder.path().join("uploads/.tmpXYZ"), "half of a component").unwrap();
    let reopened = LocalImages::open(fixture.folder.path()).unwrap();
    assert_eq!(fixture.files(), (3, 0));
    assert_eq!(reopened.get(&image.manifest).await.unwrap(), Some(image));
}

#[tokio::test]
async fn a_component_over_the_bound_is_refused() {
    let fixture = fixture();
    let chunk = Bytes::from(vec![0; 8 * 1024 * 1024]);
    let too_large = stream::repeat_with(move || Ok(chunk.clone())).boxed();
    match fixture.images.push(too_large).await {
        Err(ImageError::TooLarge { limit_bytes }) => assert_eq!(limit_bytes, COMPONENT_BYTES_MAX),
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.files(), (0, 0));
}

#[tokio::test]
async fn damage_is_found_and_mended_by_another_push() {
    let fixture = fixture();
    let image = fixture.push(COMPONENT).await;
    let damage = |digest: Digest, bytes: &[u8]| std::fs::write(fixture.blob(&digest), bytes).unwrap();
    for (blob, bytes) in [
        (image.manifest, &b"{}"[..]),
        (image.manifest, b""),
        (image.component, &COMPONENT[..5]),
        (image.component, b"a letter to my aunt"),
    ] {
        damage(blob, bytes);
        match fixture.images.get(&image.manifest).await {
            Err(ImageError::Damaged(digest)) => assert_eq!(digest, blob),
            other => panic!("{other:?}"),
        }
        assert_eq!(fixture.push(COMPONENT).await, image);
        assert_eq!(fixture.images.get(&image.manifest).await.unwrap(), Some(image.clone()));
    }
    std::fs::remove_file(fixture.blob(&image.component)).unwrap();
    assert!(matches!(fixture.images.get(&image.manifest).await, Err(ImageError::Damaged(_))));
}

#[tokio::test]
async fn the_collector_takes_what_nobody_names() {
    let fixture = fixture();
    let (kept, gone, named) =
        (fixture.push(COMPONENT).await, fixture.push(b"gone").await, fixture.push(b"named").await);
    std::fs::write(fixture.folder.path().join("blobs/sha256/README"), "not a blob").unwrap();
    fixture.pass(GRACE_MS + 1);
    // Of `gone` three blobs go; of `named`, whose component a task definition names, the manifest and the config.
    assert_eq!(fixture.keep(&[kept.manifest], &[named.component]).await, 5);
    assert_eq!(fixture.images.get(&kept.manifest).await.unwrap(), Some(kept.clone()));
    assert_eq!(fixture.images.get(&gone.manifest).await.unwrap(), None);
    assert_eq!(fixture.images.get(&named.manifest).await.unwrap(), None);
    assert!(!fixture.blob(&gone.component).exists());
    assert!(fixture.blob(&named.component).exists());
    assert_eq!(fixture.keep(&[kept.manifest], &[named.component]).await, 0, "it is idempotent");
    assert_eq!(fixture.keep(&[], &[]).await, 4);
    assert_eq!(fixture.files(), (1, 0));
}

#[tokio::test]
async fn the_collector_spares_what_was_pushed_lately() {
    let fixture = fixture();
    let old = fixture.push(b"old").await;
    let again = fixture.push(b"pushed again").await;
    fixture.pass(GRACE_MS);
    let new = fixture.push(COMPONENT).await;
    assert_eq!(fixture.push(b"pushed again").await, again);
    assert_eq!(fixture.keep(&[], &[]).await, 0, "all were pushed within the grace");
    fixture.pass(1);
    assert_eq!(fixture.keep(&[], &[]).await, 3);
    assert_eq!(fixture.images.get(&old.manifest).await.unwrap(), None);
    assert_eq!(fixture.images.get(&again.manifest).await.unwrap(), Some(again));
    assert_eq!(fixture.images.get(&new.manifest).await.unwrap(), Some(new));
}

#[tokio::test]
async fn a_damaged_manifest_does_not_stop_the_collector() {
    let fixture = fixture();
    let (damaged, gone) = (fixture.push(COMPONENT).await, fixture.push(b"gone").await);
    std::fs::write(fixture.blob(&damaged.manifest), "{}").unwrap();
    fixture.pass(GRACE_MS + 1);
    fixture.keep(&[damaged.manifest], &[damaged.component]).await;
    assert!(!fixture.blob(&gone.component).exists());
    assert!(fixture.blob(&damaged.component).exists());
    assert!(matches!(fixture.images.get(&damaged.manifest).await, Err(ImageError::Damaged(_))));
}
