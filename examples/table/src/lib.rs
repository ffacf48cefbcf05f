//! Looks products up in a table that takes long to read, and is read once: when the component is deployed.
//!
//! `skiff.toml` says `snapshot = true`: every sandbox starts with the table as `read_table` left it. Without that the
//! first request of each would read it; the code is the same.

use skiff_sdk::{Request, Response, Result, StatusCode};
use std::collections::HashMap;
use std::sync::LazyLock;

const CSV: &str = include_str!(concat!(env!("OUT_DIR"), "/products.csv"));

struct Product {
    name: &'static str,
    weight_g: u32,
    price_cents: u32,
    stock: u32,
}

static PRODUCTS: LazyLock<HashMap<&'static str, Product>> = LazyLock::new(|| {
    CSV.lines().skip(1).map(|line| product(line).expect("build.rs makes whole lines")).collect()
});

fn product(line: &'static str) -> Option<(&'static str, Product)> {
    let mut fields = line.split(',');
    let mut field = || fields.next();
    let sku = field()?;
    let name = field()?;
    let mut number = || field()?.parse().ok();
    Some((sku, Product { name, weight_g: number()?, price_cents: number()?, stock: number()? }))
}

#[skiff_sdk::initialize]
fn read_table() {
    skiff_sdk::log::info!("{} products", PRODUCTS.len());
}

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<Response> {
    let sku = request.uri().path().trim_start_matches('/');
    let (status, text) = match PRODUCTS.get(sku) {
        Some(Product { name, weight_g, price_cents, stock }) => {
            let (whole, cents) = (price_cents / 100, price_cents % 100);
            (StatusCode::OK, format!("{name}: {weight_g} g, {whole}.{cents:02}, {stock} in stock\n"))
        }
        None => (StatusCode::NOT_FOUND, format!("there is no product {sku:?}; ask for /SKU-000042\n")),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    Ok(response)
}
