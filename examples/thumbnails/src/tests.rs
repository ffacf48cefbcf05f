//! What comes of events, whatever order they come in: on the SDK's buckets and tables in memory.

use super::*;
use crate::thumbnail::SIDE_MAX;
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;

fn file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::new_rgb8(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// An event of a write; its sequencer has this number.
fn event(key: &str, number: u64) -> Created {
    let (etag, sequencer) = (format!("e{number}"), format!("{number:016x}"));
    let object = Object { key: key.into(), size: 7, etag, sequencer };
    Created { bucket: Named { name: "uploads".into() }, object }
}

fn upload(key: &str, bytes: &[u8]) {
    Bucket::open("uploads").unwrap().write(key, bytes).unwrap();
}

fn row(key: &str) -> Option<Row> {
    let item = Table::new(THUMBNAILS).get(key).unwrap()?;
    Some(serde_json::from_slice(&item.value).unwrap())
}

/// The names of all thumbnails, and their sides.
fn thumbnails() -> Vec<(String, u32, u32)> {
    let bucket = Bucket::open(THUMBNAILS).unwrap();
    let sides = |key: String| {
        let image = image::load_from_memory(&bucket.read(&key).unwrap()).unwrap();
        (key, image.width(), image.height())
    };
    bucket.keys().unwrap().into_iter().map(sides).collect()
}

#[test]
fn an_image_has_a_thumbnail_and_a_row() {
    for (key, format) in [("a/cat.png", ImageFormat::Png), ("dog.jpg", ImageFormat::Jpeg)] {
        upload(key, &file(1024, 512, format));
        handle(event(key, 1)).unwrap();
        let name = format!("{:016x}/{key}", 1);
        let made = Made::Thumbnail { width: 1024, height: 512, thumbnail: name.clone() };
        let sequencer = format!("{:016x}", 1);
        let expected = Row { etag: "e1".into(), sequencer, bytes: 7, replaces: None, made };
        assert_eq!(row(key), Some(expected));
        assert!(thumbnails().contains(&(name.clone(), SIDE_MAX, SIDE_MAX / 2)));
        let bytes = Bucket::open(THUMBNAILS).unwrap().read(&name).unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), format);
    }
}

#[test]
fn a_small_image_stays_as_small() {
    upload("small.png", &file(3, 5, ImageFormat::Png));
    handle(event("small.png", 1)).unwrap();
    assert_eq!(thumbnails(), [(format!("{:016x}/small.png", 1), 3, 5)]);
}

#[test]
fn the_last_write_is_what_stays_in_whatever_order_its_events_come() {
    upload("cat.png", &file(10, 10, ImageFormat::Png));
    handle(event("cat.png", 1)).unwrap();
    upload("cat.png", &file(20, 20, ImageFormat::Png));
    for number in [3, 1, 2, 3] {
        handle(event("cat.png", number)).unwrap();
    }
    assert_eq!(row("cat.png").unwrap().etag, "e3");
    assert_eq!(thumbnails(), [(format!("{:016x}/cat.png", 3), 20, 20)]);
}

#[test]
fn what_a_kill_left_goes_with_the_next_event_or_the_same() {
    let (bucket, former) = (Bucket::open(THUMBNAILS).unwrap(), format!("{:016x}/cat.png", 1));
    upload("cat.png", &file(10, 10, ImageFormat::Png));
    handle(event("cat.png", 1)).unwrap();
    handle(event("cat.png", 2)).unwrap();
    for number in [2, 3] {
        // As if the row was written, and the kill came before the thumbnail of before was deleted.
        bucket.write(&former, &file(10, 10, ImageFormat::Png)).unwrap();
        handle(event("cat.png", number)).unwrap();
        assert_eq!(thumbnails(), [(format!("{number:016x}/cat.png"), 10, 10)]);
    }
}

#[test]
fn what_is_gone_again_leaves_nothing() {
    upload("cat.png", b"");
    // As if a kill came between the thumbnail and its row.
    let made = format!("{:016x}/cat.png", 1);
    Bucket::open(THUMBNAILS).unwrap().write(&made, &file(10, 10, ImageFormat::Png)).unwrap();
    Bucket::open("uploads").unwrap().delete("cat.png").unwrap();
    handle(event("cat.png", 1)).unwrap();
    assert_eq!((row("cat.png"), thumbnails()), (None, vec![]));
}

#[test]
fn what_is_no_image_or_too_large_a_one_is_refused_once() {
    let wide = file(20_000, 1, ImageFormat::Png);
    let cut = file(10, 10, ImageFormat::Png)[..40].to_vec();
    for (key, bytes) in
        [("wide.png", wide), ("cut.png", cut), ("text.png", b"hello".to_vec()), ("none.jpg", vec![])]
    {
        upload(key, &bytes);
        handle(event(key, 1)).unwrap();
        assert!(matches!(row(key).unwrap().made, Made::Nothing { .. }), "{key}");
    }
    assert!(thumbnails().is_empty());
    // What is put right later is taken.
    upload("cut.png", &file(10, 10, ImageFormat::Png));
    handle(event("cut.png", 2)).unwrap();
    assert_eq!(thumbnails().len(), 1);
}
