//! Data: buckets and tables.

pub mod buckets;
pub mod s3;
pub mod tables;
