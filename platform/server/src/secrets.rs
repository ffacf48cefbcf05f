//! The secrets of a data folder: the API's token, and the key of the native code cache.
//!
//! Both are made at first start and only ever read by the supervisor and, the token, by clients of the same user.

use crate::data_dir::DataDir;
use skiff_control::Token;
use std::path::PathBuf;

/// The file of the API's token, below the data folder.
const TOKEN_FILE: &str = "token";
/// The file of the key that native code is authenticated with, below the data folder.
const CACHE_KEY_FILE: &str = "cache.key";

/// The secrets.
pub(crate) struct Secrets {
    pub(crate) token: Token,
    pub(crate) token_file: PathBuf,
    pub(crate) cache_key: [u8; 32],
}

impl Secrets {
    /// Reads them, and makes what is not there.
    pub(crate) fn of(data: &DataDir) -> anyhow::Result<Self> {
        Ok(Self {
            token: Token::new(hex::encode(data.secret::<32>(TOKEN_FILE)?)),
            token_file: data.path().join(TOKEN_FILE),
            cache_key: data.secret(CACHE_KEY_FILE)?,
        })
    }
}
