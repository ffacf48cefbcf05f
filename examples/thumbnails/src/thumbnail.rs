//! A thumbnail of an image whose sender nobody trusts: what it would take to decode is bounded before any of it is decoded.

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits};
use std::io::Cursor;

/// The longest side of a thumbnail, in pixels.
pub(crate) const SIDE_MAX: u32 = 256;
/// The longest side of an image, in pixels.
const IMAGE_SIDE_MAX: u32 = 16_384;
/// The most that an image may have once it is decoded, in bytes: some 16 million pixels of a photo. A file of a few kilobytes can
/// say that it has a thousand times more.
const DECODED_BYTES_MAX: u64 = 64 << 20;

/// A thumbnail, as a file of its image's format.
pub(crate) struct Thumbnail {
    /// Of the image, in pixels, as it is looked at.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Makes it of an image's file.
pub(crate) fn thumbnail(file: Vec<u8>) -> ImageResult<Thumbnail> {
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(IMAGE_SIDE_MAX);
    limits.max_image_height = Some(IMAGE_SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits.clone());
    let format = reader.format().unwrap_or(ImageFormat::Png);
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    // A photo may lie on its side, and say so.
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    if width.max(height) > SIDE_MAX {
        image = image.thumbnail(SIDE_MAX, SIDE_MAX);
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(Thumbnail { width, height, bytes: bytes.into_inner() })
}
