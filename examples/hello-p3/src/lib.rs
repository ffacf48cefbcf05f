//! An HTTP task on WASI 0.3 that streams its answer: one line for each word of the path, as it is made.

use skiff_sdk::{Body, Request, Response};

#[skiff_sdk::http]
async fn handle(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    Response::new(Body::stream(async move |mut out| {
        out.write("Hello from Skiff, streaming!\n").await;
        for word in path.split('/').filter(|word| !word.is_empty()) {
            out.write(format!("{word}\n")).await;
        }
        out.write("Goodbye.\n").await;
        Ok(())
    }))
}
