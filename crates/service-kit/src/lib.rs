//! What every process of tgmesh shares: the server with its layer stack, the
//! client constructor, configuration, logging, identity, the store of
//! `request_id`s, clock, paging, sealing of secrets, leases as guards, shutdown.

pub mod address;
pub mod batch;
pub mod bulk;
pub mod client;
pub mod clock;
pub mod config;
pub mod db;
pub mod files;
pub mod health;
pub mod identity;
pub mod invariants;
pub mod lease;
pub mod paging;
pub mod requests;
pub mod sealing;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
pub mod unserved;
pub mod watch;

pub use clock::{Clock, SharedClock, Time};
pub use identity::Identity;
