//! {{name}}: an HTTP task on WASI 0.2.

use skiff_sdk::{IntoResponse, Request, Response, Result, StatusCode, env, log};

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<Response> {
    log::info!("{} {}", request.method(), request.uri());
    Ok(match request.uri().path() {
        "/" => {
            let greeting = env::get("GREETING")?.unwrap_or_else(|| "Hello".into());
            format!("{greeting} from {{name}}!\n").into_response()
        }
        "/echo" => Response::new(request.into_body()),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_sdk::{Body, block_on};

    #[test]
    fn answers_with_what_it_was_sent() {
        let mut request = Request::new(Body::from("ping"));
        *request.uri_mut() = "/echo".parse().unwrap();
        let response = block_on(handle(request)).unwrap();
        assert_eq!(block_on(response.into_body().text()).unwrap(), "ping");
    }
}
