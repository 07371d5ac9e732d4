//! Tasks that outlive the call that began them: readers of streams, looks in the background.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::task::TaskTracker;

/// The tasks of this process that belong to no one else. The end of the process
/// waits for them, and none dies unseen.
#[derive(Debug, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Begins a task; `what` names it in the log. One that panics dies alone.
    pub fn spawn(&self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(what, "a task died");
            }
        });
    }

    /// Waits until all have ended, at most `patience`; whether they have.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.0.close();
        let ended = tokio::time::timeout(patience, self.0.wait()).await.is_ok();
        if !ended {
            tracing::warn!(tasks = self.0.len(), "not every task ended in time");
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_tasks_also_for_one_that_died() {
        let tasks = Tasks::default();
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("one that waits", async move { drop(begun.await) });
        tasks.spawn("one that dies", async { panic!("on purpose") });
        assert!(!tasks.finish(Duration::from_millis(10)).await);
        drop(begin);
        assert!(tasks.finish(Duration::from_secs(60)).await);
    }
}
