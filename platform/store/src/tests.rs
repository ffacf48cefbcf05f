//! Tests of the whole store. Each durability test runs the same [`workload`]: many writers, each of which knows exactly
//! what must be there once its n-th write was acknowledged.

mod disk;
mod kill;
mod power_cut;
mod sqlite;
mod workload;
