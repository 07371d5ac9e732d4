//! Stopping in two steps.
//!
//! Soft: no new work is taken, what is under way ends. Hard: what is left is
//! dropped. The first signal asks for the soft step; the second, or the end of
//! the grace period, for the hard one.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;

/// The two steps, as tokens that anyone may watch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Neither step has begun.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        // The hard step implies the soft one.
        Self { soft: hard.child_token(), hard }
    }

    /// Asks for the soft step.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Asks for the hard step.
    pub fn force(&self) {
        self.hard.cancel();
    }

    /// Whether the soft step has begun.
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for the soft step.
    pub async fn begun(&self) {
        self.soft.cancelled().await;
    }

    /// Waits for the hard step.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }

    /// A token that ends with the soft step.
    pub fn token(&self) -> CancellationToken {
        self.soft.child_token()
    }

    /// Follows the signals of the operating system until the hard step.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub async fn follow_signals(&self, clock: SharedClock, grace: Duration) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.begun() => {}
        }
        tracing::info!(grace_s = grace.as_secs(), "shutting down");
        self.begin();
        tokio::select! {
            _ = terminate.recv() => tracing::warn!("second signal: leaving at once"),
            _ = interrupt.recv() => tracing::warn!("second signal: leaving at once"),
            () = clock.sleep(grace) => tracing::warn!("grace period is over: leaving"),
            () = self.forced() => {}
        }
        self.force();
        Ok(())
    }
}
