//! A task that an event starts, on WASI 0.2: of an image that came to a bucket it makes a thumbnail, puts that to another bucket, and
//! says so in a row of a table. The event is on its standard input.
//!
//! An event may come again, and a late one after those that followed it. So a row says of which write of its object it is, by
//! the event's sequencer, and is replaced by that of a later write alone; and a thumbnail has a name of its own for each write:
//! however often events come, in the end a row, and the thumbnail that it names, are of the last write.
//!
//! A task may be killed between any two steps, and begins anew with its event. So a thumbnail is there before the row that names it,
//! under a name that each try has for it; and a row says which thumbnail it is in the place of, until that is deleted for sure.

mod thumbnail;

use serde::{Deserialize, Serialize};
use skiff_sdk::buckets::Bucket;
use skiff_sdk::events;
use skiff_sdk::tables::{Expect, Table, Write};
use skiff_sdk::{Result, log};
use thumbnail::{Thumbnail, thumbnail};

/// The bucket, and the table.
const THUMBNAILS: &str = "thumbnails";
/// The largest image that is read, in bytes.
const IMAGE_BYTES_MAX: u64 = 32 << 20;
/// The longest key of one, in bytes: a thumbnail's is longer, and a key has 1,024 at most.
const KEY_BYTES_MAX: usize = 1_000;

/// What an event of a bucket says of an object that was written.
#[derive(Deserialize)]
struct Created {
    bucket: Named,
    object: Object,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    size: u64,
    etag: String,
    /// Digits that are larger for each later write of the key, and always as many.
    sequencer: String,
}

/// What the table holds under an object's key.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    etag: String,
    sequencer: String,
    bytes: u64,
    /// The thumbnail of the write before, which may be there yet: whoever sees this deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    #[serde(flatten)]
    made: Made,
}

/// What was made of an object, or why nothing was.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Made {
    Thumbnail { width: u32, height: u32, thumbnail: String },
    Nothing { refused: String },
}

impl Row {
    fn thumbnail(&self) -> Option<&str> {
        match &self.made {
            Made::Thumbnail { thumbnail, .. } => Some(thumbnail),
            Made::Nothing { .. } => None,
        }
    }
}

#[skiff_sdk::main]
fn main() -> Result<()> {
    handle(events::from_stdin()?.data)
}

fn handle(Created { bucket, object }: Created) -> Result<()> {
    let (uploads, thumbnails) = (Bucket::open(&bucket.name)?, Bucket::open(THUMBNAILS)?);
    let table = Table::new(THUMBNAILS);
    let item = table.get(&object.key)?;
    let before: Option<Row> = item.as_ref().map(|item| serde_json::from_slice(&item.value)).transpose()?;
    let name = format!("{}/{}", object.sequencer, object.key);
    // A kill may have come before this was done, and that event comes again only after this one.
    if let Some(replaced) = before.as_ref().and_then(|row| row.replaces.as_ref()) {
        thumbnails.delete(replaced)?;
    }
    if let Some(row) = before.as_ref().filter(|row| row.sequencer >= object.sequencer) {
        log::info!("{} is seen to already", object.key);
        // Somebody may have made it when the row of a later write was not there yet.
        if row.thumbnail() != Some(name.as_str()) {
            thumbnails.delete(&name)?;
        }
        return Ok(());
    }
    if !uploads.exists(&object.key)? {
        log::info!("{} is gone again", object.key);
        // A try before may have made it, and have been killed before it came to the row.
        thumbnails.delete(&name)?;
        return Ok(());
    }
    let made = match make(&uploads, &object.key)? {
        Ok(Thumbnail { width, height, bytes }) => {
            thumbnails.write(&name, &bytes)?;
            log::info!("{} has {width}x{height}", object.key);
            Made::Thumbnail { width, height, thumbnail: name }
        }
        Err(refused) => {
            log::warn!("{} is refused: {refused}", object.key);
            Made::Nothing { refused }
        }
    };
    let replaces = before.as_ref().and_then(Row::thumbnail).map(str::to_owned);
    let Object { key, size: bytes, etag, sequencer } = object;
    let row = Row { etag, sequencer, bytes, replaces: replaces.clone(), made };
    // If another event of this object was faster, that is an error, and this one comes again.
    let expect = item.as_ref().map_or(Expect::Absent, |item| Expect::Version(item.version));
    table.write(vec![Write::put(key, serde_json::to_vec(&row)?).expect(expect)])?;
    if let Some(replaced) = replaces {
        thumbnails.delete(&replaced)?;
    }
    Ok(())
}

/// The thumbnail of an object as it is now; or why it never has one, which no further try would change.
fn make(uploads: &Bucket, key: &str) -> Result<Result<Thumbnail, String>> {
    if key.len() > KEY_BYTES_MAX {
        return Ok(Err(format!("its key is longer than {KEY_BYTES_MAX} bytes")));
    }
    if uploads.size(key)? > IMAGE_BYTES_MAX {
        return Ok(Err(format!("it has more than {IMAGE_BYTES_MAX} bytes")));
    }
    Ok(thumbnail(uploads.read(key)?).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests;
