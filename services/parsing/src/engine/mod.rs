//! Runs tasks: takes them by priority and age, reads their sources under a
//! lease, commits batch by batch.

mod batch;
mod commit;
mod runner;
mod running;
mod store;
#[cfg(test)]
mod tests;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use service_kit::SharedClock;
use service_kit::client::ServiceChannel;
use service_kit::clock::new_id;
use service_kit::db::Db;
use service_kit::lease::Leases;
use service_kit::shutdown::Shutdown;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use running::Running;

use crate::config::EngineConfig;
use runner::Runner;

/// Longest time between two looks for work that nobody told of: tasks of other
/// processes, and those that waited.
const LOOK: Duration = Duration::from_millis(500);
/// Time between two looks at who may go on: what another replica paused stops
/// here within it.
const WATCH: Duration = Duration::from_millis(300);
/// Largest answer of the integration service: a batch with the texts of its messages.
const LARGEST_BATCH: usize = 32 * 1024 * 1024;

/// The engine of one process.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    db: Db,
    clock: SharedClock,
    channel: ServiceChannel,
    leases: Leases,
    telegram: TelegramServiceClient<ServiceChannel>,
    running: Arc<Running>,
    /// Names this process in claims; new with each start.
    owner: Uuid,
}

impl Engine {
    /// Over a channel to the integration service.
    pub fn new(
        config: EngineConfig,
        db: Db,
        channel: ServiceChannel,
        clock: SharedClock,
        running: Arc<Running>,
    ) -> Self {
        Self {
            config,
            db,
            leases: Leases::new(channel.clone(), clock.clone()),
            telegram: TelegramServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_BATCH),
            channel,
            running,
            owner: new_id(&*clock),
            clock,
        }
    }

    /// Runs tasks until shutdown: running ones stop after the batch they store,
    /// and give their leases back. The hard step drops them.
    ///
    /// # Errors
    /// When a runner panics.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let engine = Arc::new(self);
        let mut runners = JoinSet::new();
        // In a task of its own: held up by a look for work it would hold up the
        // database's writers, and let the claims run out.
        let mut watch = JoinSet::new();
        watch.spawn(engine.clone().watch());
        loop {
            engine.take(&mut runners, &shutdown).await;
            tokio::select! {
                () = engine.running.woken() => {}
                () = engine.clock.sleep(LOOK) => {}
                Some(ended) = watch.join_next() => ended.context("the watch over claims died")?,
                Some(ended) = runners.join_next() => ended.context("a task's runner died")?,
                () = shutdown.begun() => break,
            }
        }
        loop {
            tokio::select! {
                ended = runners.join_next() => match ended {
                    Some(ended) => ended.context("a task's runner died")?,
                    None => return Ok(()),
                },
                // Claims must outlast the batches under way.
                Some(ended) = watch.join_next() => ended.context("the watch over claims died")?,
                () = shutdown.forced() => return Ok(()),
            }
        }
    }

    /// Takes as many tasks as there is room for.
    async fn take(self: &Arc<Self>, runners: &mut JoinSet<()>, shutdown: &Shutdown) {
        let here = self.running.ids();
        let free = self.config.max_running_tasks.saturating_sub(here.len());
        if free == 0 {
            return;
        }
        let (now, ttl) = (self.clock.now(), self.config.claim_ttl());
        match store::claim(&self.db, self.owner, &here, now, ttl, free as u64).await {
            Ok(tasks) => {
                for task in tasks {
                    let place = self.running.enter(task.id);
                    runners.spawn(Runner::new(self.clone(), task, place, shutdown.clone()).run());
                }
                self.running.poke();
            }
            Err(error) => tracing::warn!(database = self.db.name(), %error, "no tasks can be taken"),
        }
    }

    /// Keeps the claims, and stops tasks that are not ours to run any more.
    async fn watch(self: Arc<Self>) {
        let third = self.config.claim_ttl() / 3;
        let mut renewed_at = self.clock.monotonic();
        loop {
            self.clock.sleep(WATCH.min(third)).await;
            // Taken before the look: a task that is claimed during it is not missed in it.
            let here = self.running.ids();
            if here.is_empty() {
                continue;
            }
            match store::held(&self.db, self.owner).await {
                Ok(held) => here.iter().filter(|id| !held.contains(id)).for_each(|id| self.running.stop(*id)),
                Err(error) => tracing::warn!(database = self.db.name(), %error, "claims cannot be looked at"),
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(renewed_at) >= third {
                match store::renew(&self.db, self.owner, self.clock.now() + self.config.claim_ttl()).await {
                    Ok(()) => renewed_at = now,
                    Err(error) => tracing::warn!(database = self.db.name(), %error, "claims cannot be renewed"),
                }
            }
        }
    }
}
