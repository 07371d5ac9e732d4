//! Waiting for something to become true: the one place where a test may let time pass.
//!
//! A test never sleeps for a guessed while: that is either too short, and fails on a busy machine, or too long.

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` returns something.
///
/// # Errors
/// When that takes longer than `timeout`; `what` says what was waited for.
pub async fn until<T>(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(timeout, looking).await {
        Ok(found) => Ok(found),
        Err(_) => anyhow::bail!("waited {} s in vain for {what}", timeout.as_secs_f64()),
    }
}
