//! The secrets of a data folder: the API's token, the key of the native code cache, and the one that cookies are signed with.
//!
//! All are made at first start and only ever read by the supervisor and, the token, by clients of the same user. The key of
//! cookies is told to the workers, the others to nobody.

use crate::data_dir::DataDir;
use skiff_control::Token;
use skiff_ports::cookie::CookieKey;
use std::path::PathBuf;

/// The file of the API's token, below the data folder.
const TOKEN_FILE: &str = "token";
/// The file of the key that native code is authenticated with, below the data folder.
const CACHE_KEY_FILE: &str = "cache.key";
/// The file of the key that the load balancer's cookies are signed with, below the data folder.
const COOKIE_KEY_FILE: &str = "cookie.key";

/// The secrets.
pub(crate) struct Secrets {
    pub(crate) token: Token,
    pub(crate) token_file: PathBuf,
    pub(crate) cache_key: [u8; 32],
    pub(crate) cookie_key: CookieKey,
}

impl Secrets {
    /// Reads them, and makes what is not there.
    pub(crate) fn of(data: &DataDir) -> anyhow::Result<Self> {
        Ok(Self {
            token: Token::new(hex::encode(data.secret::<32>(TOKEN_FILE)?)),
            token_file: data.path().join(TOKEN_FILE),
            cache_key: data.secret(CACHE_KEY_FILE)?,
            cookie_key: CookieKey(data.secret(COOKIE_KEY_FILE)?),
        })
    }
}
