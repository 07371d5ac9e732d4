//! The integration service: owns Telegram accounts, logins, sessions,
//! connections, leases and limits, and makes every Telegram call.

pub mod accounts;
pub mod availability;
pub mod config;
pub mod connections;
pub mod core;
pub mod entity;
pub mod error;
pub mod grpc;
pub mod leases;
pub mod logins;
pub mod quotas;
mod service;
mod tasks;
pub mod telegram;

pub use config::Config;
pub use connections::TelegramNetwork;
pub use service::run;
