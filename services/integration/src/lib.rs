//! The integration service: owns Telegram accounts, logins, sessions,
//! connections, leases and limits, and makes every Telegram call.

pub mod availability;
pub mod connections;
pub mod entity;
pub mod error;
pub mod leases;
pub mod quotas;
