//! {{name}}: a consumer of a queue's messages. It counts orders by what was ordered, each once.

use skiff_sdk::log;
use skiff_sdk::queues::{Json, Message, Outcome};
use skiff_sdk::tables::{Expect, Table, Write};

#[derive(serde::Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[skiff_sdk::queue]
fn consume(message: Message<Json<Order>>) -> skiff_sdk::Result<Outcome> {
    let Json(order) = &message.body;
    if order.count == 0 {
        return Ok(Outcome::Reject("nothing was ordered".into()));
    }
    let table = Table::new("orders");
    let key = format!("item/{}", order.item);
    let item = table.get(&key)?;
    let total = item.as_ref().map_or(Ok(0), |item| String::from_utf8_lossy(&item.value).parse::<u32>())?;
    let expect = item.map_or(Expect::Absent, |item| Expect::Version(item.version));
    // A message may come again: the sum and the note that it was counted are written together. If somebody else changed the
    // sum meanwhile, that is an error, and the message comes again.
    let sum = Write::put(key, (total + order.count).to_string()).expect(expect);
    let is_first = skiff_sdk::once(&table, &format!("message/{}", message.id), || {
        Ok::<_, std::convert::Infallible>(vec![sum])
    })?;
    log::info!("{} x {}{}", order.count, order.item, if is_first { "" } else { " (again)" });
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, count: u32) -> Message<Json<Order>> {
        Message {
            queue: "orders".into(),
            id: id.into(),
            body: Json(Order { item: "tea".into(), count }),
            attributes: vec![],
            group: None,
            sent_at_ms: 0,
            receives: 1,
        }
    }

    #[test]
    fn a_message_counts_once() {
        for (id, count) in [("1", 2), ("2", 3), ("1", 2)] {
            assert_eq!(consume(message(id, count)).unwrap(), Outcome::Done);
        }
        assert_eq!(Table::new("orders").get("item/tea").unwrap().unwrap().value, b"5");
        assert!(matches!(consume(message("3", 0)).unwrap(), Outcome::Reject(_)));
    }
}
