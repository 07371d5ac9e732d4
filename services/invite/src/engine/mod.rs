//! Works on the campaigns under way.
//!
//! An account is leased first, then the best target for it is claimed:
//! PENDING → CLAIMED → SENDING → an outcome, or back to PENDING. Each arrow is
//! one transaction. The arrow to SENDING is taken only while the campaign runs,
//! and stores the attempt's `request_id` before the call is made, so that after
//! a crash anywhere the attempt can be asked about instead of repeated.

pub mod drift;
pub mod hands;
pub mod outcome;
pub mod owner;
pub mod plan;
pub mod reconcile;
pub mod record;
pub mod store;
pub mod waiting;
pub mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use prost::Message as _;
use tgmesh_proto::invite::v1::Waiting;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::plan::Candidate;
use self::worker::{End, Ended, Turn};
use crate::app::App;
use crate::campaigns::entity::Model as Campaign;
use crate::campaigns::store as campaigns;

/// Shortest time between two refusals for one campaign.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Shortest time between two looks for targets that nobody can address, in ticks.
const SETTLE_AGAIN: u32 = 20;
/// Longest pause after turns that brought nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the workers share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Workspaces in which a campaign waits for an account that others hold.
    contended: RwLock<HashSet<Uuid>>,
    /// When the process last told that it lives, in milliseconds of the monotonic clock.
    last_sign: AtomicU64,
}

impl Shared {
    /// Whether other campaigns of the workspace wait for an account.
    pub fn contended(&self, workspace_id: Uuid) -> bool {
        self.contended.read().is_ok_and(|contended| contended.contains(&workspace_id))
    }

    /// Whether others still see this process as alive. Nothing new is sent
    /// otherwise: its targets may have been taken over.
    pub fn alive(&self, app: &App) -> bool {
        let now = u64::try_from(app.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let ttl = u64::try_from(app.config.engine.owner_ttl().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.last_sign.load(Ordering::Relaxed)) < ttl * 2 / 3
    }

    fn sign(&self, at: Duration) {
        self.last_sign.store(u64::try_from(at.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// One campaign under way.
#[derive(Debug)]
struct Runner {
    campaign: Campaign,
    stop: CancellationToken,
    /// Turns under way, those that wait for an account included.
    workers: usize,
    /// A turn waits for an account; one at a time does.
    acquiring: bool,
    /// The last request was refused: the next one waits.
    denied: bool,
    /// Turns in a row that brought nothing.
    fruitless: u32,
    /// No turn before this moment of the monotonic clock.
    idle_until: Duration,
    /// When targets that nobody can address may be looked for again.
    settle_at: Duration,
    /// When it was served last.
    served: u64,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    app: Arc<App>,
    shared: Arc<Shared>,
    runners: HashMap<Uuid, Runner>,
    turns: JoinSet<(Uuid, Ended)>,
    acquired: mpsc::UnboundedSender<Uuid>,
    served: u64,
}

/// Works until shutdown begins; then lets the attempts under way end, and
/// gives the accounts back.
///
/// # Errors
/// When a turn panics.
pub async fn run(app: Arc<App>, shared: Arc<Shared>) -> anyhow::Result<()> {
    let (sender, mut acquired) = mpsc::unbounded_channel();
    let mut engine = Engine {
        app: app.clone(),
        shared,
        runners: HashMap::new(),
        turns: JoinSet::new(),
        acquired: sender,
        served: 0,
    };
    while !app.shutdown.has_begun() {
        if let Err(error) = engine.look().await {
            tracing::error!(%error, "the campaigns under way cannot be read");
        }
        engine.serve();
        tokio::select! {
            () = app.clock.sleep(app.config.engine.tick()) => {}
            () = app.work.notified() => {}
            () = app.shutdown.begun() => {}
            Some(id) = acquired.recv() => engine.acquired(id),
            Some(ended) = engine.turns.join_next() => {
                let (id, end) = ended.map_err(|error| anyhow::anyhow!("a worker died: {error}"))?;
                engine.ended(id, end).await;
            }
        }
    }
    for runner in engine.runners.values() {
        runner.stop.cancel();
    }
    while let Some(ended) = engine.turns.join_next().await {
        ended.map_err(|error| anyhow::anyhow!("a worker died: {error}"))?;
    }
    Ok(())
}

impl Engine {
    /// Takes in which campaigns run now.
    async fn look(&mut self) -> Result<(), sea_orm::DbErr> {
        let running = store::running(self.app.db.conn()).await?;
        let ids: HashSet<Uuid> = running.iter().map(|campaign| campaign.id).collect();
        for (id, runner) in &self.runners {
            if !ids.contains(id) {
                runner.stop.cancel();
            }
        }
        let over = self.runners.extract_if(|id, runner| !ids.contains(id) && runner.workers == 0);
        let over: Vec<Uuid> = over.map(|(id, _)| id).collect();
        for id in over {
            // However it came to rest: completed, failed, cancelled or paused.
            if let Err(error) = drift::check(self.app.db.conn(), id).await {
                tracing::warn!(%error, campaign_id = %id, "counters were not compared with the rows");
            }
        }
        for campaign in running {
            match self.runners.get_mut(&campaign.id) {
                // Resumed before the last turn of before the pause has ended.
                Some(runner) if runner.stop.is_cancelled() => {
                    runner.stop = CancellationToken::new();
                    runner.campaign = campaign;
                    (runner.idle_until, runner.fruitless) = (Duration::ZERO, 0);
                }
                Some(runner) => runner.campaign = campaign,
                None => {
                    let runner = Runner {
                        campaign,
                        stop: CancellationToken::new(),
                        workers: 0,
                        acquiring: false,
                        denied: false,
                        fruitless: 0,
                        idle_until: Duration::ZERO,
                        settle_at: Duration::ZERO,
                        served: 0,
                    };
                    self.runners.insert(runner.campaign.id, runner);
                }
            }
        }
        Ok(())
    }

    /// Starts turns for those whose turn it is.
    fn serve(&mut self) {
        let config = &self.app.config.engine;
        let now = self.app.clock.monotonic();
        let mut workers: HashMap<Uuid, usize> = HashMap::new();
        let mut candidates = Vec::new();
        for (id, runner) in &self.runners {
            *workers.entry(runner.campaign.workspace_id).or_default() += runner.workers;
            let hungry = !runner.acquiring
                && !runner.stop.is_cancelled()
                && runner.workers < config.max_workers_per_campaign
                && runner.idle_until <= now;
            if hungry {
                candidates.push(Candidate {
                    id: *id,
                    workspace_id: runner.campaign.workspace_id,
                    priority: runner.campaign.priority,
                    workers: runner.workers,
                    served: runner.served,
                });
            }
        }
        let room = config.max_workers.saturating_sub(workers.values().sum());
        for id in plan::pick(&candidates, &workers, room) {
            let Some(runner) = self.runners.get_mut(&id) else { continue };
            self.served += 1;
            runner.served = self.served;
            runner.workers += 1;
            runner.acquiring = true;
            let turn = Turn {
                app: self.app.clone(),
                shared: self.shared.clone(),
                campaign: runner.campaign.clone(),
                wait: if runner.denied { config.acquire_wait() } else { Duration::ZERO },
                settle: runner.settle_at <= now,
                stop: runner.stop.clone(),
                acquired: self.acquired.clone(),
            };
            self.turns.spawn(async move { (id, turn.run().await) });
        }
    }

    /// A turn has its account: the next one may ask.
    fn acquired(&mut self, id: Uuid) {
        if let Some(runner) = self.runners.get_mut(&id) {
            (runner.acquiring, runner.denied) = (false, false);
            let workspace_id = runner.campaign.workspace_id;
            self.set_contended(workspace_id, false);
        }
    }

    fn set_contended(&self, workspace_id: Uuid, contended: bool) {
        if let Ok(mut set) = self.shared.contended.write() {
            if contended {
                set.insert(workspace_id);
            } else {
                set.remove(&workspace_id);
            }
        }
    }

    async fn ended(&mut self, id: Uuid, end: Ended) {
        let now = self.app.clock.monotonic();
        let tick = self.app.config.engine.tick();
        let Some(runner) = self.runners.get_mut(&id) else { return };
        runner.workers = runner.workers.saturating_sub(1);
        let campaign = runner.campaign.clone();
        let Ended { end, settled } = end;
        if settled {
            runner.settle_at = now + tick * SETTLE_AGAIN;
        }
        match end {
            End::Stopped => runner.acquiring = false,
            End::GaveBack { tried } => {
                runner.fruitless = if tried > 0 { 0 } else { runner.fruitless + 1 };
                if runner.fruitless > 0 {
                    let pause = Duration::from_millis(125) * 2_u32.pow(runner.fruitless.min(8));
                    runner.idle_until = now + pause.min(LONGEST_PAUSE);
                }
            }
            End::NoWork(until) => {
                runner.acquiring = false;
                runner.idle_until = now + tick;
                if runner.workers == 0 {
                    self.nothing_to_do(&campaign, until).await;
                }
            }
            End::Denied(denial) => {
                runner.acquiring = false;
                // Asked without waiting, the first refusal tells why; the next
                // request waits at the integration service.
                runner.idle_until = if runner.denied { now + ASK_AGAIN } else { now };
                runner.denied = true;
                let idle = runner.workers == 0;
                self.set_contended(campaign.workspace_id, denial.contended);
                if idle {
                    self.wait(&campaign, denial.waiting).await;
                }
            }
            End::Failed(error) => {
                tracing::error!(%error, campaign_id = %id, "a campaign cannot be worked on");
                runner.acquiring = false;
                runner.idle_until = now + ASK_AGAIN;
            }
        }
    }

    /// No target can be tried now: the campaign is done, or its targets wait.
    async fn nothing_to_do(&self, campaign: &Campaign, until: Option<service_kit::Time>) {
        match campaigns::complete(self.app.db.conn(), campaign.id, self.app.now()).await {
            Ok(true) => self.app.poke.poke(),
            Ok(false) => self.wait(campaign, waiting::targets(until)).await,
            Err(error) => tracing::error!(%error, "a campaign cannot be completed"),
        }
    }

    async fn wait(&self, campaign: &Campaign, waiting: Waiting) {
        match store::set_waiting(&self.app, campaign.id, waiting.encode_to_vec()).await {
            Ok(true) => self.app.poke.poke(),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the reason of a wait cannot be written"),
        }
    }
}
