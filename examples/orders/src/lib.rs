//! An HTTP task on WASI 0.3 that counts what it sells: each order, `POST /PRODUCT/CENTS`, is a value of two metrics of its own.

use skiff_sdk::{Request, Response, Result, StatusCode, metrics};

/// What is sold. A dimension takes few values: what has no end of them would make a series for each.
const PRODUCTS: [&str; 3] = ["tea", "coffee", "cake"];

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<Response> {
    let (status, text) = match order(request.uri().path()) {
        Some((product, cents)) => {
            sold(product, cents);
            (StatusCode::OK, format!("one {product} for {cents} cents\n"))
        }
        None => (StatusCode::NOT_FOUND, format!("order /PRODUCT/CENTS, of {}\n", PRODUCTS.join(", "))),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    Ok(response)
}

fn order(path: &str) -> Option<(&'static str, u32)> {
    let (product, cents) = path.strip_prefix('/')?.split_once('/')?;
    let product = PRODUCTS.into_iter().find(|known| *known == product)?;
    Some((product, cents.parse().ok()?))
}

/// An order that can't be counted is an order all the same.
fn sold(product: &str, cents: u32) {
    let dimensions = [("product", product)];
    for (metric, value) in [("orders", 1.0), ("revenue/cents", f64::from(cents))] {
        if let Err(error) = metrics::put_with(metric, &dimensions, value) {
            skiff_sdk::log::warn!("{metric} is not counted: {error}");
        }
    }
}
