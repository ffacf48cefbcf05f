//! From what the configuration says to the `object_store` that keeps bytes.
//!
//! Options are taken under the names that `object_store` gives them; one that the place does not know is an error, not ignored. What
//! no option says, the environment may, under the names that its owner's tools read (`AWS_SECRET_ACCESS_KEY`, ...): arguments of a
//! process are for everybody on the machine to read, and no place for a key.
//! Proxies and `object_store`'s time limits are none of them: the connector has its own.

use crate::buckets::connector::Connector;
use crate::buckets::{BlobsConfig, OpenError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Bytes that are handed to a folder at once.
const FOLDER_BUFFER_BYTES: usize = 1 << 20;
/// Bytes that are handed to another's store at once: S3 takes no part below 5 MiB, and 10,000 parts at most.
const REMOTE_BUFFER_BYTES: usize = 8 << 20;

/// Where bytes are kept.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The same, as it takes parts; none of a folder.
    pub(crate) parts: Option<Arc<dyn MultipartStore>>,
    /// Below this.
    pub(crate) root: Path,
    /// The same as a folder, if it is one.
    pub(crate) folder: Option<PathBuf>,
    /// Bytes that are handed to it at once.
    pub(crate) buffer_bytes: usize,
}

/// A store whose builder has this type and these keys.
macro_rules! remote {
    ($builder:ty, $key:ty, $url:expr, $options:expr) => {{
        let mut builder = <$builder>::from_env().with_url($url.as_str()).with_http_connector(Connector);
        for (name, value) in $options {
            let key = name.to_ascii_lowercase().parse::<$key>().map_err(|_| OpenError::Url {
                url: $url.to_string(),
                reason: format!("there is no option {name:?} there: leave it out, or correct its name"),
            })?;
            builder = builder.with_config(key, value.as_str());
        }
        let store = builder.build().map_err(|error| OpenError::Store(error.into()))?;
        of(store)
    }};
}

/// Another's store, as it keeps bytes and as it takes parts.
fn of(store: impl ObjectStore + MultipartStore) -> (Arc<dyn ObjectStore>, Arc<dyn MultipartStore>) {
    let store = Arc::new(store);
    let parts: Arc<dyn MultipartStore> = store.clone();
    let store: Arc<dyn ObjectStore> = store;
    (store, parts)
}

impl Backend {
    pub(crate) fn new(config: &BlobsConfig) -> Result<Self, OpenError> {
        match config {
            BlobsConfig::Folder(path) => Self::folder(path.clone()),
            BlobsConfig::Url { url, options } => Self::url(url, options),
        }
    }

    fn folder(path: PathBuf) -> Result<Self, OpenError> {
        std::fs::create_dir_all(&path).map_err(|source| OpenError::Folder { path: path.clone(), source })?;
        let store =
            LocalFileSystem::new_with_prefix(&path).map_err(|error| OpenError::Store(error.into()))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
            parts: None,
            root: Path::ROOT,
            folder: Some(path),
            buffer_bytes: FOLDER_BUFFER_BYTES,
        })
    }

    fn url(text: &str, options: &BTreeMap<String, String>) -> Result<Self, OpenError> {
        let refused = |reason: String| OpenError::Url { url: text.to_owned(), reason };
        let url = Url::parse(text).map_err(|error| refused(format!("it is no URL: {error}")))?;
        let (scheme, root) =
            ObjectStoreScheme::parse(&url).map_err(|error| refused(format!("it says no place: {error}")))?;
        let (store, parts) = match scheme {
            ObjectStoreScheme::AmazonS3 => remote!(AmazonS3Builder, AmazonS3ConfigKey, url, options),
            ObjectStoreScheme::GoogleCloudStorage => {
                remote!(GoogleCloudStorageBuilder, GoogleConfigKey, url, options)
            }
            ObjectStoreScheme::MicrosoftAzure => remote!(MicrosoftAzureBuilder, AzureConfigKey, url, options),
            ObjectStoreScheme::Memory => of(InMemory::new()),
            // A folder is said as such, and a plain web server takes no uploads in parts.
            _ => return Err(refused("use s3://, gs:// or az://, or a folder".to_owned())),
        };
        Ok(Self { store, parts: Some(parts), root, folder: None, buffer_bytes: REMOTE_BUFFER_BYTES })
    }

    /// In memory, for as long as somebody holds `store`.
    #[cfg(test)]
    pub(crate) fn memory(store: Arc<InMemory>, buffer_bytes: usize) -> Self {
        let parts: Option<Arc<dyn MultipartStore>> = Some(store.clone());
        Self { store, parts, root: Path::from("a/prefix"), folder: None, buffer_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, options: &[(&str, &str)]) -> Result<Backend, OpenError> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Backend::new(&BlobsConfig::Url { url: url.to_owned(), options })
    }

    #[test]
    fn a_url_says_whose_store_it_is() {
        let keys = [("region", "eu-west-1"), ("ACCESS_KEY_ID", "a"), ("secret_access_key", "b")];
        let s3 = open("s3://bucket/some/prefix", &keys).unwrap();
        assert_eq!((s3.root.as_ref(), s3.buffer_bytes), ("some/prefix", REMOTE_BUFFER_BYTES));
        assert!(s3.store.to_string().contains("bucket"), "{}", s3.store);
        assert!(open("memory:///", &[]).is_ok());
    }

    #[test]
    fn what_can_not_be_used_is_refused_in_a_sentence() {
        let unknown = open("s3://bucket", &[("regoin", "eu-west-1")]).err().unwrap().to_string();
        assert!(unknown.contains("there is no option \"regoin\""), "{unknown}");
        for url in ["ftp://bucket", "https://example.com/a", "file:///tmp", "no url"] {
            assert!(matches!(open(url, &[]), Err(OpenError::Url { .. })), "{url}");
        }
    }
}
