//! The same request again and again, with no more to it than a request needs: what the bench of calls between tasks asks
//! for, and so its CPU time is the call's and hardly its caller's.

use guest_common::{Target, Url};
use wasip3::http::client;
use wasip3::http::types::{Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::StreamResult;
use wasip3::wit_future;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 4 << 10;

/// Sends a GET to `url`, `times` times, one after the other, and reads each answer to its end.
pub(crate) async fn again(target: &Target) -> String {
    let url = Url::new(target.text("url").unwrap_or_default());
    let times = target.number_or("times", 1);
    let mut bytes = 0;
    for number in 0..times {
        match once(&url).await {
            Ok(count) => bytes += count,
            Err(error) => return format!("failed after {number}: {error}"),
        }
    }
    format!("{times} answers of {bytes} bytes")
}

/// How many bytes the answer had.
async fn once(url: &Url<'_>) -> Result<usize, String> {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).expect("a valid scheme");
    request.set_authority(Some(url.authority)).expect("a valid authority");
    request.set_path_with_query(Some(url.path)).expect("a valid path");
    let answer = client::send(request).await.map_err(|error| format!("{error:?}"))?;
    if answer.get_status_code() != 200 {
        return Err(format!("status {}", answer.get_status_code()));
    }
    let (_, result) = wit_future::new(|| Ok(()));
    let (mut contents, end) = Response::consume_body(answer, result);
    let (mut bytes, mut chunk) = (0, Vec::with_capacity(CHUNK_BYTES));
    loop {
        let (result, read) = contents.read(chunk).await;
        bytes += read.len();
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
        chunk = read;
        chunk.clear();
    }
    drop(contents);
    end.await.map(|_| bytes).map_err(|error| format!("{error:?}"))
}
