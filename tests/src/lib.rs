//! What tests share: databases of their own, real processes, requests made from the contracts.
//!
//! Knows the contracts and no service, so that the tests of every crate can use it. Bring up what it needs with
//! `cargo xtask test`.

pub mod contract;
pub mod database;
pub mod documents;
pub mod process;
pub mod requests;
pub mod wait;
