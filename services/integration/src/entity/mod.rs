//! The tables, as sea-orm sees them. Times are milliseconds since the epoch.

pub mod account;
pub mod account_event;
pub mod chat_right;
pub mod ended_session;
pub mod key_claim;
pub mod lease;
pub mod limit;
pub mod login;
pub mod pace;
pub mod peer;
pub mod restriction;
pub mod session;
pub mod slot;
pub mod usage_entry;
