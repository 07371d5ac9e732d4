//! Does what many tasks want done in batches.
//!
//! While one batch is under way, what comes in gathers for the next: nobody waits for the sake of a batch, and under
//! load a disk is waited for, or a lock is taken, once for all of them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Most items of a batch.
const MOST: usize = 16;

/// Gathers items of type `T`; each has a result of type `R`.
pub struct Batch<T, R> {
    waiting: Mutex<Vec<(T, oneshot::Sender<R>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T, R> Default for Batch<T, R> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<T, R> fmt::Debug for Batch<T, R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Batch").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}

impl<T, R> Batch<T, R> {
    /// Has the item done together with others. `work` gets the items of a batch and answers their results in the same
    /// order; all callers pass the same. `None` when it answered fewer, or when the task that worked on the batch is
    /// gone: what became of the item is not known then.
    pub async fn run<F>(&self, item: T, work: impl Fn(Vec<T>) -> F) -> Option<R>
    where
        F: Future<Output = Vec<R>>,
    {
        let (sender, mut receiver) = oneshot::channel();
        self.waiting().push((item, sender));
        loop {
            // Held until the batch is done: the next one gathers meanwhile.
            let _turn = tokio::select! {
                biased;
                done = &mut receiver => return done.ok(),
                turn = self.turn.lock() => turn,
            };
            // Empty when one's own is done already; without it when others were many.
            let (items, senders): (Vec<T>, Vec<_>) = self.take().into_iter().unzip();
            for (sender, result) in senders.into_iter().zip(work(items).await) {
                // Whoever is gone does not want to know.
                let _ = sender.send(result);
            }
        }
    }

    /// The next batch. Its length is a power of two: a statement is made for few lengths only, and stays prepared.
    fn take(&self) -> Vec<(T, oneshot::Sender<R>)> {
        let mut waiting = self.waiting();
        let length = match waiting.len().min(MOST) {
            0 => 0,
            most => 1 << most.ilog2(),
        };
        waiting.drain(..length).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(T, oneshot::Sender<R>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_comes_in_meanwhile_is_one_batch() {
        let (batch, gate) = (Arc::new(Batch::<u32, u32>::default()), Arc::new(Semaphore::new(0)));
        let batches = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..21)
            .map(|item| {
                let (batch, gate, batches) = (batch.clone(), gate.clone(), batches.clone());
                tokio::spawn(async move {
                    let work = async |items: Vec<u32>| {
                        assert!(items.len() <= MOST && (items.is_empty() || items.len().is_power_of_two()));
                        batches.fetch_add(usize::from(!items.is_empty()), Ordering::Relaxed);
                        gate.acquire().await.unwrap().forget();
                        items.into_iter().map(|item| item * 2).collect()
                    };
                    batch.run(item, work).await
                })
            })
            .collect();
        // The first is under way, the others gather.
        while batch.waiting().len() < 20 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1_000);
        for (item, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap(), Some(item * 2));
        }
        // 1, 16, 4.
        assert_eq!(batches.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn who_works_on_a_batch_and_goes_leaves_the_others_without_result() {
        let batch = Arc::new(Batch::<u32, u32>::default());
        let never = async |_: Vec<u32>| std::future::pending::<Vec<u32>>().await;
        let first = tokio::spawn({
            let batch = batch.clone();
            async move { batch.run(1, never).await }
        });
        while batch.turn.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn({
            let batch = batch.clone();
            async move { batch.run(2, async |items: Vec<u32>| items).await }
        });
        while batch.waiting().is_empty() {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert_eq!(second.await.unwrap(), Some(2), "the turn is free again");
    }
}
