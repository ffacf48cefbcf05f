//! {{name}}: an HTTP task on WASI 0.3. It streams: what it writes is sent at once.

use skiff_sdk::{Body, IntoResponse, Request, Response, Result, StatusCode, log, sleep};
use std::time::Duration;

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<Response> {
    log::info!("{} {}", request.method(), request.uri());
    Ok(match request.uri().path() {
        "/" => Response::new(Body::stream(async |mut out| {
            for number in (1..=3).rev() {
                out.write(format!("{number}\n")).await;
                sleep(Duration::from_millis(500)).await;
            }
            out.write("Hello from {{name}}!\n").await;
            Ok(())
        })),
        "/echo" => Response::new(request.into_body()),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_sdk::block_on;

    #[test]
    fn answers_with_what_it_was_sent() {
        let mut request = Request::new(Body::from("ping"));
        *request.uri_mut() = "/echo".parse().unwrap();
        let response = block_on(handle(request)).unwrap();
        assert_eq!(block_on(response.into_body().text()).unwrap(), "ping");
    }
}
