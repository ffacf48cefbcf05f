//! A body in chunks, byte by byte, as hyper's decoder goes through it (`proto/h1/decode.rs`), with fewer liberties: no
//! white space after a size unless an extension follows, no control characters in extensions, a bound on a size's digits.

use super::fault::Fault;

/// Bytes that may stand after the sizes of a body's chunks; hyper lets twice as many pass.
const EXTENSION_BYTES_MAX: usize = 8 << 10;
/// Digits of a size: as many as 64 bits have.
const DIGITS_MAX: u8 = 16;

/// Where in a body in chunks the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// At a size's first digit.
    #[default]
    Start,
    Size,
    /// In white space that an extension has to follow.
    Space,
    Extension,
    /// After the CR that ends a size's line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// After the line of the last chunk.
    Trailers,
}

/// A body in chunks, up to its trailers.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// Of the present chunk; then what is left of it.
    size: u64,
    digits: u8,
    extension_bytes: usize,
}

impl Chunks {
    /// Goes through these bytes: how many are sound, and what is wrong with the one after them.
    pub(super) fn check(&mut self, bytes: &[u8]) -> (usize, Option<Fault>) {
        let mut checked = 0;
        while checked < bytes.len() && !self.has_ended() {
            if self.place == Place::Data {
                let rest = bytes.len() - checked;
                let data = usize::try_from(self.size).unwrap_or(usize::MAX).min(rest);
                self.size -= data as u64;
                checked += data;
                if self.size == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            match self.after(bytes[checked]) {
                Ok(place) => self.place = place,
                Err(fault) => return (checked, Some(fault)),
            }
            checked += 1;
        }
        (checked, None)
    }

    /// Whether the trailers come next.
    pub(super) fn has_ended(&self) -> bool {
        self.place == Place::Trailers
    }

    /// The place after this byte.
    fn after(&mut self, byte: u8) -> Result<Place, Fault> {
        match (self.place, byte) {
            (Place::Start | Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (Place::Size | Place::Space, b' ' | b'\t') => self.extension(Place::Space),
            (Place::Size | Place::Space, b';') => self.extension(Place::Extension),
            (Place::Size | Place::Extension, b'\r') => Ok(Place::SizeLf),
            (Place::Size | Place::Space | Place::Extension, b'\n') => Err(Fault::BareLf),
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..=0xff) => self.extension(Place::Extension),
            (Place::Extension, _) => Err(Fault::Control),
            (Place::SizeLf, b'\n') => Ok(if self.size == 0 { Place::Trailers } else { Place::Data }),
            (Place::SizeLf, _) => Err(Fault::BareCr),
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => {
                self.digits = 0;
                Ok(Place::Start)
            }
            (Place::DataCr | Place::DataLf, _) => Err(Fault::ChunkEnd),
            (Place::Start | Place::Size | Place::Space | Place::Data | Place::Trailers, _) => {
                Err(Fault::ChunkSize)
            }
        }
    }

    fn digit(&mut self, byte: u8) -> Result<Place, Fault> {
        let digit = char::from(byte).to_digit(16).ok_or(Fault::ChunkSize)?;
        if self.digits == DIGITS_MAX {
            return Err(Fault::ChunkSize);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        Ok(Place::Size)
    }

    fn extension(&mut self, place: Place) -> Result<Place, Fault> {
        if self.extension_bytes == EXTENSION_BYTES_MAX {
            return Err(Fault::ChunkExtensions { limit_bytes: EXTENSION_BYTES_MAX });
        }
        self.extension_bytes += 1;
        Ok(place)
    }
}
