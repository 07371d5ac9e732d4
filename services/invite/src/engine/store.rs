//! The engine's statements: what is claimed, sent, and left behind.
//!
//! This and `record` are the engine's own door, and the only one without an owner
//! filter: the engine works for every workspace. Its ids come from `running` and
//! from targets that it has claimed, never from a caller; what a caller names goes
//! through the doors of `campaigns`, `targets` and `reports`, which ask for the owner.

use sea_orm::{ConnectionTrait, DbErr, EntityTrait as _, FromQueryResult, Value};
use tgmesh_proto::invite::v1::campaign::State as CampaignState;
use tgmesh_proto::invite::v1::execution::Result as Ended;
use tgmesh_proto::invite::v1::target::State;
use tgmesh_proto::telegram::v1::Outcome;
use uuid::Uuid;

use super::hands::Hand;
use crate::app::{App, execute, sql};
use crate::audience::import::listed;
use crate::campaigns::entity as campaigns;
use crate::campaigns::progress::{PENDING, UNDER_WAY};
use crate::campaigns::store as counters;
use crate::targets::Person;
use crate::targets::entity::{Entity, Model};
use crate::targets::store::person_of;

const RUNNING: i32 = CampaignState::Running as i32;
const WAITS: i32 = State::Pending as i32;
const CLAIMED: i32 = State::Claimed as i32;
const SENDING: i32 = State::Sending as i32;
const DONE: i32 = State::Done as i32;

/// The campaigns under way, of all workspaces.
///
/// # Errors
/// When the database fails.
pub async fn running(conn: &impl ConnectionTrait) -> Result<Vec<campaigns::Model>, DbErr> {
    let values: [Value; 1] = [RUNNING.into()];
    let statement = sql(conn, "SELECT * FROM campaigns WHERE state = $1", values);
    campaigns::Entity::find().from_raw_sql(statement).all(conn).await
}

/// What a campaign has to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Targets that any account can address.
    Any,
    /// Targets that only these accounts can address.
    Only(Vec<Uuid>),
    /// Nothing, until the time given if there is one.
    None(Option<i64>),
}

/// Looks what a campaign has to do.
///
/// # Errors
/// When the database fails.
pub async fn work(conn: &impl ConnectionTrait, campaign_id: Uuid, now: i64) -> Result<Work, DbErr> {
    #[derive(FromQueryResult)]
    struct Account {
        account_id: Uuid,
    }
    #[derive(FromQueryResult)]
    struct Next {
        at: Option<i64>,
    }
    let values: [Value; 3] = [campaign_id.into(), WAITS.into(), now.into()];
    let open = "SELECT id FROM targets WHERE campaign_id = $1 AND state = $2 AND open = TRUE \
                AND not_before_at <= $3 LIMIT 1";
    if conn.query_one_raw(sql(conn, open, values.clone())).await?.is_some() {
        return Ok(Work::Any);
    }
    let known = "SELECT DISTINCT p.account_id FROM targets t JOIN target_peers p ON p.target_id = t.id \
                 WHERE t.campaign_id = $1 AND t.state = $2 AND t.open = FALSE AND t.not_before_at <= $3 LIMIT 1000";
    let accounts = Account::find_by_statement(sql(conn, known, values.clone())).all(conn).await?;
    if !accounts.is_empty() {
        return Ok(Work::Only(accounts.into_iter().map(|row| row.account_id).collect()));
    }
    let next = "SELECT MIN(not_before_at) AS at FROM targets WHERE campaign_id = $1 AND state = $2 \
                AND not_before_at > $3";
    let next = Next::find_by_statement(sql(conn, next, values)).one(conn).await?;
    Ok(Work::None(next.and_then(|row| row.at)))
}

/// Claims the best target that the account can address: first those that only
/// few accounts can, then by their place. One conditional UPDATE, which finds
/// nothing when the campaign does not run. It is in hand before others see it
/// as claimed: an owned target that nobody has in hand is an orphan.
///
/// # Errors
/// When the database fails.
pub async fn claim(app: &App, campaign_id: Uuid, account_id: Uuid) -> Result<Option<(Model, Hand)>, DbErr> {
    const BY_PEER: &str = "SELECT t.id FROM targets t JOIN target_peers p ON p.target_id = t.id \
        WHERE p.campaign_id = $1 AND p.account_id = $2 AND t.state = $3 AND t.open = FALSE \
        AND t.not_before_at <= $4 ORDER BY t.seq LIMIT 1";
    const OPEN: &str = "SELECT t.id FROM targets t WHERE t.campaign_id = $1 AND t.state = $3 AND t.open = TRUE \
        AND t.not_before_at <= $4 AND (NOT EXISTS (SELECT 1 FROM target_refusals r WHERE r.target_id = t.id \
        AND r.account_id = $2) OR EXISTS (SELECT 1 FROM target_peers p WHERE p.target_id = t.id \
        AND p.account_id = $2)) ORDER BY t.seq LIMIT 1";
    let lock = if app.db.is_sqlite() { "" } else { " FOR UPDATE OF t SKIP LOCKED" };
    let tx = app.db.begin().await?;
    for best in [BY_PEER, OPEN] {
        let text = format!(
            "UPDATE targets SET state = {CLAIMED}, owner = $5 WHERE id = ({best}{lock}) AND state = $3 \
             AND EXISTS (SELECT 1 FROM campaigns WHERE id = $1 AND state = {RUNNING}) RETURNING *"
        );
        let values: [Value; 5] =
            [campaign_id.into(), account_id.into(), WAITS.into(), app.now().into(), app.process.into()];
        if let Some(target) = Entity::find().from_raw_sql(sql(&*tx, text, values)).one(&*tx).await? {
            // Somebody here is about to let it go.
            let Some(hand) = app.hands.take(target.id) else { break };
            counters::shift(&*tx, campaign_id, PENDING, UNDER_WAY, 1).await?;
            tx.commit().await?;
            return Ok(Some((target, hand)));
        }
    }
    Ok(None)
}

/// What addresses a target at an account.
///
/// # Errors
/// When the database fails.
pub async fn peer(conn: &impl ConnectionTrait, target_id: Uuid, account_id: Uuid) -> Result<Option<Vec<u8>>, DbErr> {
    use crate::targets::entity::peer::Entity;
    Ok(Entity::find_by_id((target_id, account_id)).one(conn).await?.map(|row| row.sealed))
}

/// Accounts that have a reference to a target.
///
/// # Errors
/// When the database fails.
pub async fn peer_accounts(conn: &impl ConnectionTrait, target_id: Uuid) -> Result<Vec<Uuid>, DbErr> {
    use crate::targets::entity::peer::{Column, Entity};
    use sea_orm::{ColumnTrait as _, QueryFilter as _, QuerySelect as _};
    let found = Entity::find().filter(Column::TargetId.eq(target_id)).limit(1000).all(conn).await?;
    Ok(found.into_iter().map(|row| row.account_id).collect())
}

/// An attempt about to be made, or made.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The `request_id` of its call.
    pub id: Uuid,
    /// The target as it was claimed.
    pub target: Model,
    /// The account.
    pub account_id: Uuid,
    /// Whether the account addresses the target by a reference.
    pub by_peer: bool,
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is written down: now it may be made.
    Yes,
    /// The person is on the do-not-contact list; the target has that outcome.
    Listed,
    /// The campaign does not run any more, or the target is not ours.
    No,
}

/// Whether a target is on the do-not-contact list, under any key that some row
/// of the audience had for him, or that is known of the person by now.
///
/// # Errors
/// When the database fails.
pub async fn must_not(conn: &impl ConnectionTrait, target: &Model, person: &Person) -> Result<bool, DbErr> {
    let text = "SELECT d.id FROM person_keys k JOIN do_not_contact d ON d.person_key = k.person_key \
                WHERE k.list_id = $1 AND k.member_id = $2 AND d.workspace_id = $3 LIMIT 1";
    let values: [Value; 3] = [target.campaign_id.into(), target.id.into(), target.workspace_id.into()];
    if conn.query_one_raw(sql(conn, text, values)).await?.is_some() {
        return Ok(true);
    }
    Ok(!listed(conn, target.workspace_id, &person.keys()).await?.is_empty())
}

/// Writes an attempt down, before it is made. Only while the campaign runs.
///
/// # Errors
/// When the database fails.
pub async fn begin(app: &App, attempt: &Attempt, lease_id: Uuid, trace_id: &str) -> Result<Begun, DbErr> {
    let (target, now) = (&attempt.target, app.now());
    let tx = app.db.begin().await?;
    let is_listed = must_not(&*tx, target, &person_of(target)).await?;
    let own = format!(
        "WHERE id = $1 AND state = {CLAIMED} AND owner = $2 \
         AND EXISTS (SELECT 1 FROM campaigns WHERE id = $3 AND state = {RUNNING})"
    );
    if is_listed {
        let text = format!(
            "UPDATE targets SET state = {DONE}, outcome = {}, owner = NULL, done_at = $4 {own}",
            Outcome::DoNotContact as i32
        );
        let values: [Value; 4] = [target.id.into(), app.process.into(), target.campaign_id.into(), now.into()];
        if execute(&*tx, text, values).await? == 0 {
            return Ok(Begun::No);
        }
        ended(app, &*tx, target.campaign_id, Outcome::DoNotContact as i32).await?;
        tx.commit().await?;
        return Ok(Begun::Listed);
    }
    let text = format!(
        "UPDATE targets SET state = {SENDING}, attempt_id = $4, account_id = $5, attempts = attempts + 1 {own}"
    );
    let values: [Value; 5] =
        [target.id.into(), app.process.into(), target.campaign_id.into(), attempt.id.into(), attempt.account_id.into()];
    if execute(&*tx, text, values).await? == 0 {
        return Ok(Begun::No);
    }
    let values: [Value; 8] = [
        attempt.id.into(),
        target.campaign_id.into(),
        target.id.into(),
        attempt.account_id.into(),
        lease_id.into(),
        (Ended::UnderWay as i32).into(),
        now.into(),
        trace_id.into(),
    ];
    let text = "INSERT INTO executions (id, campaign_id, target_id, account_id, lease_id, result, outcome, \
                telegram_error, began_at, trace_id, version) VALUES ($1, $2, $3, $4, $5, $6, 0, '', $7, $8, 0)";
    execute(&*tx, text, values).await?;
    let values: [Value; 2] = [target.campaign_id.into(), now.into()];
    let text = "UPDATE campaigns SET waiting = NULL, version = version + 1, updated_at = $2 \
                WHERE id = $1 AND waiting IS NOT NULL";
    execute(&*tx, text, values).await?;
    tx.commit().await?;
    Ok(Begun::Yes)
}

/// Counters, progress and completion after a target got its outcome. Answers
/// the campaign's version.
///
/// # Errors
/// When the database fails.
pub async fn ended(app: &App, conn: &impl ConnectionTrait, campaign_id: Uuid, outcome: i32) -> Result<i64, DbErr> {
    counters::shift(conn, campaign_id, UNDER_WAY, outcome, 1).await?;
    let touched = counters::touch(conn, campaign_id, app.now()).await?;
    let (version, progress) = touched.unwrap_or((0, 0));
    if progress >= 1_000_000 && counters::complete(conn, campaign_id, app.now()).await? {
        check(conn, campaign_id).await?;
    }
    Ok(version)
}

/// Gives a claimed target back, before anything was sent.
///
/// # Errors
/// When the database fails.
pub async fn unclaim(app: &App, target: &Model, owner: Option<Uuid>) -> Result<bool, DbErr> {
    let tx = app.db.begin().await?;
    let same = if owner.is_some() { "owner = $2" } else { "owner IS NULL AND $2 IS NULL" };
    let text =
        format!("UPDATE targets SET state = {WAITS}, owner = NULL WHERE id = $1 AND state = {CLAIMED} AND {same}");
    let values: [Value; 2] = [target.id.into(), owner.into()];
    if execute(&*tx, text, values).await? == 0 {
        return Ok(false);
    }
    counters::shift(&*tx, target.campaign_id, UNDER_WAY, PENDING, 1).await?;
    // A watch that saw the target under way must see it wait again.
    counters::touch(&*tx, target.campaign_id, app.now()).await?;
    tx.commit().await?;
    app.poke.poke();
    Ok(true)
}

/// Says why a running campaign does nothing, unless somebody works for it.
///
/// # Errors
/// When the database fails.
pub async fn set_waiting(app: &App, campaign_id: Uuid, waiting: Vec<u8>) -> Result<bool, DbErr> {
    let text = format!(
        "UPDATE campaigns SET waiting = $2, version = version + 1, updated_at = $3 WHERE id = $1 \
         AND state = {RUNNING} AND (waiting IS NULL OR waiting <> $2) AND NOT EXISTS (SELECT 1 FROM targets \
         WHERE campaign_id = $1 AND state IN ({CLAIMED}, {SENDING}) AND owner IS NOT NULL)"
    );
    let values: [Value; 3] = [campaign_id.into(), waiting.into(), app.now().into()];
    Ok(execute(app.db.conn(), text, values).await? > 0)
}

/// Whether there may be targets that no account can address: some that only
/// certain accounts know, or that an account failed to address.
///
/// # Errors
/// When the database fails.
pub async fn has_suspects(conn: &impl ConnectionTrait, campaign_id: Uuid) -> Result<bool, DbErr> {
    let values: [Value; 2] = [campaign_id.into(), WAITS.into()];
    let text = "SELECT id FROM targets t WHERE t.campaign_id = $1 AND t.state = $2 AND (t.open = FALSE \
                OR EXISTS (SELECT 1 FROM target_refusals r WHERE r.target_id = t.id)) LIMIT 1";
    Ok(conn.query_one_raw(sql(conn, text, values)).await?.is_some())
}

/// Ends targets that no account of the workspace can address. Answers how many.
///
/// # Errors
/// When the database fails.
pub async fn settle_unaddressable(app: &App, campaign_id: Uuid, accounts: &[Uuid]) -> Result<u64, DbErr> {
    #[derive(FromQueryResult)]
    struct Found {
        id: Uuid,
    }
    let mut values: Vec<Value> = vec![campaign_id.into(), WAITS.into()];
    let first = values.len() + 1;
    values.extend(accounts.iter().map(|id| Value::from(*id)));
    let places: Vec<String> = (first..first + accounts.len()).map(|at| format!("${at}")).collect();
    // Without any account the list would be no SQL; NULL is nobody.
    let places = if places.is_empty() { "NULL".to_owned() } else { places.join(", ") };
    let text = format!(
        "SELECT t.id FROM targets t WHERE t.campaign_id = $1 AND t.state = $2 AND NOT EXISTS (SELECT 1 \
         FROM target_peers p WHERE p.target_id = t.id AND p.account_id IN ({places})) AND (t.open = FALSE OR (\
         SELECT COUNT(*) FROM target_refusals r WHERE r.target_id = t.id AND r.account_id IN ({places})) >= {}) \
         LIMIT 500",
        accounts.len().max(1)
    );
    let found = Found::find_by_statement(sql(app.db.conn(), text, values)).all(app.db.conn()).await?;
    let mut settled = 0;
    for row in found {
        let tx = app.db.begin().await?;
        let text = format!(
            "UPDATE targets SET state = {DONE}, outcome = {}, done_at = $2 WHERE id = $1 AND state = {WAITS}",
            Outcome::NotAddressable as i32
        );
        let values: [Value; 2] = [row.id.into(), app.now().into()];
        if execute(&*tx, text, values).await? > 0 {
            // The counters know it as waiting: it passes through "under way" to its outcome.
            counters::shift(&*tx, campaign_id, PENDING, UNDER_WAY, 1).await?;
            ended(app, &*tx, campaign_id, Outcome::NotAddressable as i32).await?;
            tx.commit().await?;
            settled += 1;
        }
    }
    Ok(settled)
}

/// Says so when counters and rows differ.
async fn check(conn: &impl ConnectionTrait, campaign_id: Uuid) -> Result<(), DbErr> {
    let drift = drift(conn, campaign_id).await?;
    service_kit::invariants::COUNT_1
        .check(drift.is_empty(), || format!("counters of campaign {campaign_id} differ from the rows: {drift:?}"));
    Ok(())
}

/// Compares the counters with the rows; answers the buckets that differ, with
/// the counter and the rows.
///
/// # Errors
/// When the database fails.
pub async fn drift(conn: &impl ConnectionTrait, campaign_id: Uuid) -> Result<Vec<(i32, i64, i64)>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        bucket: i32,
        counted: i64,
        found: i64,
    }
    // One statement, so that PostgreSQL answers from one snapshot.
    let text = format!(
        "SELECT bucket, CAST(SUM(counted) AS BIGINT) AS counted, CAST(SUM(found) AS BIGINT) AS found FROM (\
         SELECT bucket, targets AS counted, 0 AS found FROM campaign_counters WHERE campaign_id = $1 \
         UNION ALL SELECT CASE WHEN state = {WAITS} THEN {PENDING} WHEN state = {DONE} THEN outcome \
         ELSE {UNDER_WAY} END AS bucket, 0 AS counted, COUNT(*) AS found FROM targets WHERE campaign_id = $1 \
         GROUP BY 1) AS both_sides GROUP BY bucket HAVING SUM(counted) <> SUM(found)"
    );
    let values: [Value; 1] = [campaign_id.into()];
    let rows = Row::find_by_statement(sql(conn, text, values)).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.bucket, row.counted, row.found)).collect())
}
