//! The engine's statements: what is claimed, sent, and left behind.
//!
//! This, `record` and `drift` are the engine's own door, and the only one without an owner
//! filter: the engine works for every workspace. Its ids come from `running` and
//! from targets that it has claimed, never from a caller; what a caller names goes
//! through the doors of `campaigns`, `targets` and `reports`, which ask for the owner.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{ConnectionTrait, DbErr, EntityTrait as _, FromQueryResult, Value};
use tgmesh_proto::invite::v1::campaign::State as CampaignState;
use tgmesh_proto::invite::v1::execution::Result as Ended;
use tgmesh_proto::invite::v1::target::State;
use tgmesh_proto::telegram::v1::Outcome;
use uuid::Uuid;

use super::hands::Hand;
use crate::app::{App, execute, rows, sql};
use crate::audience::import::listed;
use crate::campaigns::entity as campaigns;
use crate::campaigns::store as counters;
use crate::targets::Person;
use crate::targets::entity::Model;
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

/// A target in hand.
#[derive(Debug)]
pub struct Claimed {
    /// The target.
    pub target: Model,
    /// What addresses it at the account, if the account has it.
    pub peer: Option<Vec<u8>>,
    /// Holds it.
    pub hand: Hand,
}

/// Which targets a turn still looks for: first those that only few accounts can
/// address. Once there are none of these, the turn does not ask for them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that only some accounts can address.
    Known,
    /// Those that any account can address.
    Open,
}

/// Claims the best target that the account can address, by reach and then by
/// its place. One conditional UPDATE, which finds nothing when the campaign does
/// not run.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    app: &App,
    campaign_id: Uuid,
    account_id: Uuid,
    reach: &mut Reach,
) -> Result<Option<Claimed>, DbErr> {
    const KNOWN: &str = "SELECT t.id FROM targets t JOIN target_peers p ON p.target_id = t.id \
        WHERE p.campaign_id = $1 AND p.account_id = $2 AND t.state = $3 AND t.open = FALSE \
        AND t.not_before_at <= $4 ORDER BY t.seq LIMIT 1";
    const OPEN: &str = "SELECT t.id FROM targets t WHERE t.campaign_id = $1 AND t.state = $3 AND t.open = TRUE \
        AND t.not_before_at <= $4 AND (NOT EXISTS (SELECT 1 FROM target_refusals r WHERE r.target_id = t.id \
        AND r.account_id = $2) OR EXISTS (SELECT 1 FROM target_peers p WHERE p.target_id = t.id \
        AND p.account_id = $2)) ORDER BY t.seq LIMIT 1";
    #[derive(FromQueryResult)]
    struct Row {
        #[sea_orm(nested)]
        target: Model,
        sealed: Option<Vec<u8>>,
    }
    let lock = if app.db.is_sqlite() { "" } else { " FOR UPDATE OF t SKIP LOCKED" };
    loop {
        let best = match reach {
            Reach::Known => KNOWN,
            Reach::Open => OPEN,
        };
        let text = format!(
            "UPDATE targets SET state = {CLAIMED}, owner = $5 WHERE id = ({best}{lock}) AND state = $3 \
             AND EXISTS (SELECT 1 FROM campaigns WHERE id = $1 AND state = {RUNNING}) RETURNING *, \
             (SELECT p.sealed FROM target_peers p WHERE p.target_id = targets.id AND p.account_id = $2) AS sealed"
        );
        let values: [Value; 5] =
            [campaign_id.into(), account_id.into(), WAITS.into(), app.now().into(), app.process.into()];
        let found = {
            let conn = app.db.writing().await;
            Row::find_by_statement(sql(&*conn, text, values)).one(&*conn).await?
        };
        match (found, *reach) {
            (Some(Row { target, sealed }), _) => match app.hands.take(target.id) {
                Some(hand) => return Ok(Some(Claimed { target, peer: sealed, hand })),
                // Whoever looks after orphans was quicker, or somebody is about to let go of it. Given back twice it
                // is given back once.
                None => {
                    unclaim(app, &target, Some(app.process)).await?;
                    return Ok(None);
                }
            },
            (None, Reach::Known) => *reach = Reach::Open,
            (None, Reach::Open) => return Ok(None),
        }
    }
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
    Yes {
        /// Whether the do-not-contact list has somebody who may go by a name
        /// that it does not have.
        ask_who: bool,
    },
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

/// What is written down of an attempt before it is made.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Its id.
    pub attempt_id: Uuid,
    /// The target, claimed by this process.
    pub target: Model,
    /// The account.
    pub account_id: Uuid,
    /// The account's lease.
    pub lease_id: Uuid,
    /// The trace that the attempt is.
    pub trace_id: String,
}

/// Writes an attempt down, before it is made. Only while the campaign runs.
///
/// # Errors
/// When the database fails.
pub async fn begin(app: &App, beginning: Beginning) -> Result<Begun, DbErr> {
    let together = async |items: Vec<Beginning>| {
        begin_all(app, &items).await.unwrap_or_else(|error| {
            tracing::warn!(%error, attempts = items.len(), "attempts could not be written down together");
            Vec::new()
        })
    };
    let begun = match app.begins.run(beginning.clone(), together).await {
        Some(begun) => begun,
        // Alone, an attempt that is written down already is not begun: its target is not claimed any more.
        None => begin_all(app, std::slice::from_ref(&beginning)).await?.pop().unwrap_or(Begun::No),
    };
    match begun {
        Begun::No => not_begun(app, &beginning.target).await,
        begun => Ok(begun),
    }
}

/// Writes attempts down, in one transaction. Nobody is begun with who is on the
/// do-not-contact list, under any key that some row of the audience had for him,
/// or that is known of him by now.
async fn begin_all(app: &App, items: &[Beginning]) -> Result<Vec<Begun>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        ask_who: bool,
    }
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let tx = app.db.begin().await?;
    let mut values: Vec<Value> = vec![app.process.into()];
    let attempts = items.iter().map(|item| [item.target.id.into(), item.attempt_id.into(), item.account_id.into()]);
    let attempts = rows(&mut values, attempts);
    let text = format!(
        "UPDATE targets SET state = {SENDING}, attempt_id = begun.column2, account_id = begun.column3, \
         attempts = attempts + 1 FROM (VALUES {attempts}) AS begun \
         WHERE targets.id = begun.column1 AND targets.state = {CLAIMED} AND targets.owner = $1 \
         AND EXISTS (SELECT 1 FROM campaigns c WHERE c.id = targets.campaign_id AND c.state = {RUNNING}) \
         AND NOT EXISTS (SELECT 1 FROM person_keys k JOIN do_not_contact d ON d.person_key = k.person_key \
         WHERE k.list_id = targets.campaign_id AND k.member_id = targets.id AND d.workspace_id = targets.workspace_id) \
         AND NOT EXISTS (SELECT 1 FROM do_not_contact d WHERE d.workspace_id = targets.workspace_id \
         AND d.person_key IN ('i:' || targets.user_id, 'u:' || targets.username, 'p:' || targets.phone)) \
         RETURNING id, EXISTS (SELECT 1 FROM do_not_contact d WHERE d.workspace_id = targets.workspace_id \
         AND (d.user_id <> 0 OR d.phone <> '')) AS ask_who"
    );
    let begun = Row::find_by_statement(sql(&*tx, text, values)).all(&*tx).await?;
    let begun: HashMap<Uuid, bool> = begun.into_iter().map(|row| (row.id, row.ask_who)).collect();
    if !begun.is_empty() {
        let mut values: Vec<Value> = vec![(Ended::UnderWay as i32).into(), app.now().into()];
        let places: Vec<String> = items
            .iter()
            .filter(|item| begun.contains_key(&item.target.id))
            .map(|item| {
                let first = values.len() + 1;
                values.extend([
                    Value::from(item.attempt_id),
                    item.target.campaign_id.into(),
                    item.target.id.into(),
                    item.account_id.into(),
                    item.lease_id.into(),
                    item.trace_id.as_str().into(),
                ]);
                let [id, campaign, target, account, lease, trace] = std::array::from_fn(|at| first + at);
                format!("(${id}, ${campaign}, ${target}, ${account}, ${lease}, $1, 0, '', $2, ${trace}, 0)")
            })
            .collect();
        let text = format!(
            "INSERT INTO executions (id, campaign_id, target_id, account_id, lease_id, result, outcome, \
             telegram_error, began_at, trace_id, version) VALUES {}",
            places.join(", ")
        );
        execute(&*tx, text, values).await?;
    }
    tx.commit().await?;
    let answer = |item: &Beginning| match begun.get(&item.target.id) {
        Some(ask_who) => Begun::Yes { ask_who: *ask_who },
        None => Begun::No,
    };
    Ok(items.iter().map(answer).collect())
}

/// Why an attempt was not begun. Whoever is listed is done with.
async fn not_begun(app: &App, target: &Model) -> Result<Begun, DbErr> {
    let tx = app.db.begin().await?;
    if !must_not(&*tx, target, &person_of(target)).await? {
        return Ok(Begun::No);
    }
    let text = format!(
        "UPDATE targets SET state = {DONE}, outcome = {}, owner = NULL, done_at = $4 \
         WHERE id = $1 AND state = {CLAIMED} AND owner = $2 \
         AND EXISTS (SELECT 1 FROM campaigns WHERE id = $3 AND state = {RUNNING})",
        Outcome::DoNotContact as i32
    );
    let values: [Value; 4] = [target.id.into(), app.process.into(), target.campaign_id.into(), app.now().into()];
    if execute(&*tx, text, values).await? == 0 {
        return Ok(Begun::No);
    }
    ended(app, &*tx, target.campaign_id, &[(Outcome::DoNotContact as i32, 1)].into()).await?;
    tx.commit().await?;
    Ok(Begun::Listed)
}

/// Somebody works for the campaign: it does not wait any more.
///
/// # Errors
/// When the database fails.
pub async fn awake(app: &App, campaign_id: Uuid) -> Result<(), DbErr> {
    let values: [Value; 2] = [campaign_id.into(), app.now().into()];
    let text = "UPDATE campaigns SET waiting = NULL, version = version + 1, updated_at = $2 \
                WHERE id = $1 AND waiting IS NOT NULL";
    execute(&*app.db.writing().await, text, values).await?;
    Ok(())
}

/// Counters, progress and completion after targets got their outcomes. Answers
/// the campaign's version.
///
/// # Errors
/// When the database fails.
pub async fn ended(
    app: &App,
    conn: &impl ConnectionTrait,
    campaign_id: Uuid,
    outcomes: &BTreeMap<i32, i64>,
) -> Result<i64, DbErr> {
    let counted = counters::count(conn, campaign_id, outcomes, app.now()).await?;
    if counted.all_done {
        counters::complete(conn, campaign_id, app.now()).await?;
    }
    Ok(counted.version)
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
            "UPDATE targets SET state = {DONE}, outcome = {}, done_at = $2 WHERE id = $1 AND state = {WAITS} \
             AND EXISTS (SELECT 1 FROM campaigns WHERE id = $3 AND state = {RUNNING})",
            Outcome::NotAddressable as i32
        );
        let values: [Value; 3] = [row.id.into(), app.now().into(), campaign_id.into()];
        if execute(&*tx, text, values).await? > 0 {
            ended(app, &*tx, campaign_id, &[(Outcome::NotAddressable as i32, 1)].into()).await?;
            tx.commit().await?;
            settled += 1;
        }
    }
    Ok(settled)
}
