//! An HTTP task on WASI 0.3 that takes orders: each `POST /PRODUCT/CENTS` is sent to a queue, and answered once it is safe there.
//! It counts what it sells: each order is a value of two metrics of its own.
//!
//! What becomes of an order, `fulfil` beside it sees to, in its own time.

use serde::Serialize;
use skiff_sdk::queues::{self, NewMessage};
use skiff_sdk::{Request, Response, Result, ServiceError, StatusCode, log, metrics};

/// The queue.
const QUEUE: &str = "orders";
/// What is sold. A dimension takes few values: what has no end of them would make a series for each.
const PRODUCTS: [&str; 3] = ["tea", "coffee", "cake"];

/// An order, as `fulfil` is sent it.
#[derive(Serialize)]
struct Order {
    product: &'static str,
    cents: u32,
}

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<Response> {
    let (status, text) = match order(request.uri().path()) {
        Some(order) => take(&order)?,
        None => (StatusCode::NOT_FOUND, format!("order /PRODUCT/CENTS, of {}\n", PRODUCTS.join(", "))),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    Ok(response)
}

fn order(path: &str) -> Option<Order> {
    let (product, cents) = path.strip_prefix('/')?.split_once('/')?;
    let product = PRODUCTS.into_iter().find(|known| *known == product)?;
    Some(Order { product, cents: cents.parse().ok()? })
}

/// Sends an order on. Its id is the message's, by which its row is found later.
fn take(order: &Order) -> Result<(StatusCode, String)> {
    match queues::send(QUEUE, NewMessage::json(order)?) {
        Ok(id) => {
            sold(order);
            let Order { product, cents } = order;
            Ok((StatusCode::ACCEPTED, format!("order {id}: one {product} for {cents} cents\n")))
        }
        Err(ServiceError::Busy(why)) => {
            log::warn!("an order is not taken: {why}");
            Ok((StatusCode::SERVICE_UNAVAILABLE, "there is too much to do, try again later\n".to_owned()))
        }
        // The client reads nothing of it; the log says it.
        Err(error) => Err(error.into()),
    }
}

/// An order that can't be counted is an order all the same.
fn sold(order: &Order) {
    let dimensions = [("product", order.product)];
    for (metric, value) in [("orders", 1.0), ("revenue/cents", f64::from(order.cents))] {
        if let Err(error) = metrics::put_with(metric, &dimensions, value) {
            log::warn!("{metric} is not counted: {error}");
        }
    }
}
