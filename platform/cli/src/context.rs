//! What every command works with: the platform's client, the namespace, the output.

use crate::args::GlobalArgs;
use crate::connection::ConnectionFile;
use crate::failure::usage;
use crate::output::Output;
use anyhow::bail;
use skiff_api::{Client, ClientError, Page};
use skiff_types::Namespace;
use std::future::Future;

/// Most pages of a list that are asked for; with 1000 items each.
const PAGES_MAX: usize = 1_000;

/// What the global flags and the environment say.
pub(crate) struct Context {
    pub(crate) namespace: Namespace,
    pub(crate) output: Output,
    api: Option<String>,
}

impl Context {
    pub(crate) fn new(global: GlobalArgs) -> Self {
        let api = global.api.map(|address| address.url());
        Self { namespace: global.namespace, output: Output::new(global.output), api }
    }

    /// A client of the platform: `--api` and `SKIFF_API` before the connection file; `SKIFF_TOKEN` before its token.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let given = self.api.clone().or_else(|| variable("SKIFF_API").map(|text| with_scheme(&text)));
        let token = variable("SKIFF_TOKEN");
        let found = match ConnectionFile::path() {
            Ok(path) if given.is_none() || token.is_none() => ConnectionFile::read(&path)?,
            _ => None,
        };
        let (url, token) = choose(given, token, found)?;
        Ok(Client::new(&url, token)?)
    }
}

fn with_scheme(text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

/// The address and the token. A platform's token is offered to that platform alone.
fn choose(
    given: Option<String>,
    token: Option<String>,
    found: Option<ConnectionFile>,
) -> anyhow::Result<(String, Option<String>)> {
    let Some(url) = given.or_else(|| found.as_ref().map(|found| with_scheme(&found.api))) else {
        return Err(usage(
            "no platform is known; start one with `skiff up`, or say where it is with --api or SKIFF_API",
        ));
    };
    let same = |found: &ConnectionFile| with_scheme(&found.api) == url.trim_end_matches('/');
    let token = match (token, found.filter(same)) {
        (Some(token), _) => Some(token),
        (None, Some(found)) => Some(found.token()?),
        (None, None) => None,
    };
    Ok((url, token))
}

/// All items of a list, page by page.
pub(crate) async fn all_pages<T, F>(mut page: impl FnMut(Option<String>) -> F) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = Result<Page<T>, ClientError>>,
{
    let (mut items, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let next = page(cursor).await?;
        items.extend(next.items);
        cursor = next.next_cursor;
        if cursor.is_none() {
            return Ok(items);
        }
    }
    bail!("the list has more than {PAGES_MAX} pages; narrow it down")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Usage;

    fn connection(folder: &std::path::Path) -> ConnectionFile {
        let token_file = folder.join("token");
        std::fs::write(&token_file, "found").unwrap();
        let (http, api) = ("127.0.0.1:8080".to_owned(), "127.0.0.1:8081".to_owned());
        ConnectionFile { http, api, s3: None, token_file, data_dir: folder.to_owned(), pid: 1 }
    }

    #[test]
    fn what_is_given_goes_before_what_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let found = || Some(connection(folder.path()));
        let text = |text: &str| Some(text.to_owned());
        let chosen = choose(None, None, found()).unwrap();
        assert_eq!(chosen, ("http://127.0.0.1:8081".to_owned(), text("found")));
        let chosen = choose(text("http://127.0.0.1:8081/"), None, found()).unwrap();
        assert_eq!(chosen.1, text("found"), "the same platform by another spelling");
        let chosen = choose(None, text("given"), found()).unwrap();
        assert_eq!(chosen.1, text("given"));
    }

    #[test]
    fn a_token_is_not_offered_to_another_platform() {
        let folder = tempfile::tempdir().unwrap();
        let chosen =
            choose(Some("http://10.0.0.1:1".to_owned()), None, Some(connection(folder.path()))).unwrap();
        assert_eq!(chosen, ("http://10.0.0.1:1".to_owned(), None));
    }

    #[test]
    fn no_platform_is_wrong_usage() {
        let error = choose(None, None, None).unwrap_err();
        assert!(error.downcast_ref::<Usage>().is_some());
    }

    #[tokio::test]
    async fn pages_are_followed_to_the_end_and_no_further() {
        let page = |cursor: Option<String>| async move {
            let at: u32 = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let next_cursor = (at < 2).then(|| (at + 1).to_string());
            Ok(Page { items: vec![at], next_cursor })
        };
        assert_eq!(all_pages(page).await.unwrap(), [0, 1, 2]);
        let endless = |_| async { Ok(Page { items: vec![()], next_cursor: Some("again".to_owned()) }) };
        assert!(all_pages(endless).await.is_err());
    }
}
