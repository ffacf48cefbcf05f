//! A consumer of a queue on WASI 0.3: it writes each order to a table, once. What is no order it rejects, so that it goes to the
//! dead-letter queue at once, where somebody can look at it, and is in nobody's way.

use serde::{Deserialize, Serialize};
use skiff_sdk::queues::{Json, Message, Outcome};
use skiff_sdk::tables::{Table, Write};
use skiff_sdk::{Result, env, log};
use std::time::Duration;

/// The table.
const TABLE: &str = "orders";
/// The variable that says how long one order takes, in milliseconds; no time where there is none.
const TAKES: &str = "TAKES_MS";

/// What a message says.
#[derive(Deserialize, Serialize)]
struct Order {
    product: String,
    cents: u32,
}

#[skiff_sdk::queue]
fn fulfil(message: Message<Json<Order>>) -> Result<Outcome> {
    let Json(order) = &message.body;
    if order.cents == 0 {
        return Ok(Outcome::Reject(format!("{} for nothing", order.product)));
    }
    if let Some(takes_ms) = env::parse(TAKES)? {
        std::thread::sleep(Duration::from_millis(takes_ms));
    }
    // A message may come again after it was done: the row and the note of its id are written together, or neither is.
    let id = &message.id;
    let write = || serde_json::to_vec(order).map(|row| vec![Write::put(format!("order/{id}"), row)]);
    if skiff_sdk::once(&Table::new(TABLE), &format!("done/{id}"), write)? {
        log::info!("order {id}: one {}, {} cents", order.product, order.cents);
    } else {
        log::info!("order {id} was fulfilled before");
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, product: &str, cents: u32) -> Message<Json<Order>> {
        Message {
            queue: "orders".into(),
            id: id.into(),
            body: Json(Order { product: product.into(), cents }),
            attributes: vec![],
            group: None,
            sent_at_ms: 0,
            receives: 1,
        }
    }

    #[test]
    fn an_order_is_fulfilled_once_however_often_it_comes() {
        for (id, product) in [("1", "tea"), ("2", "cake"), ("1", "coffee")] {
            assert_eq!(fulfil(message(id, product, 450)).unwrap(), Outcome::Done);
        }
        let table = Table::new(TABLE);
        assert_eq!(table.items("order/").count(), 2);
        let row = table.get("order/1").unwrap().unwrap();
        assert_eq!(row.value, br#"{"product":"tea","cents":450}"#);
    }

    #[test]
    fn what_costs_nothing_is_rejected() {
        assert!(matches!(fulfil(message("1", "tea", 0)).unwrap(), Outcome::Reject(_)));
        assert_eq!(Table::new(TABLE).items("").count(), 0);
    }
}
