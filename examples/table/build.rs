//! Makes the table that the example looks things up in: a CSV of some 5 MB, the same in every build.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const PRODUCTS: u32 = 120_000;
const MATERIALS: [&str; 8] = ["steel", "brass", "copper", "oak", "ash", "nylon", "glass", "slate"];
const THINGS: [&str; 10] =
    ["bracket", "hinge", "valve", "bearing", "flange", "gasket", "coupling", "washer", "pulley", "lever"];

fn main() {
    let mut csv = String::from("sku,name,weight_g,price_cents,stock\n");
    // The constants of Numerical Recipes: any numbers will do, as long as they are always the same.
    let mut state: u32 = 1;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    for number in 0..PRODUCTS {
        let material = MATERIALS[next(8) as usize];
        let thing = THINGS[next(10) as usize];
        let (weight_g, price_cents, stock) = (1 + next(20_000), 5 + next(100_000), next(500));
        let line =
            format!("SKU-{number:06},{material} {thing} no. {number},{weight_g},{price_cents},{stock}");
        writeln!(csv, "{line}").expect("writing to a string does not fail");
    }
    let folder = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&folder).join("products.csv"), csv)
        .expect("the folder that cargo made can be written to");
    println!("cargo::rerun-if-changed=build.rs");
}
