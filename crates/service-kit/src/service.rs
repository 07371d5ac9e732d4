//! What a service's `run` is given, and what it tells once it serves.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::db::Db;
use crate::health::Health;
use crate::identity::{Issuer, TrustedKeys};
use crate::sealing::Sealer;

/// What every service needs from outside.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// The service's own database, with its schema in place.
    pub db: Db,
    /// Seals secrets, page tokens and resume tokens.
    pub sealer: Sealer,
    /// Signs the service's calls to others.
    pub issuer: Arc<Issuer>,
    /// Keys of those whose tokens are accepted.
    pub trusted: TrustedKeys,
    /// Tells the time.
    pub clock: SharedClock,
}

/// What a service tells once it serves.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is known of its health.
    pub health: watch::Receiver<Health>,
}
