//! Writes down what became of an attempt: target, attempt, counters and
//! campaign in one transaction.

use std::collections::{BTreeMap, HashSet};

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use tgmesh_proto::invite::v1::execution::Result as Ended;
use tgmesh_proto::invite::v1::target::State;
use tgmesh_proto::telegram::v1::Outcome;
use uuid::Uuid;

use super::outcome::{Verdict, counts_as_contact};
use super::store::{Attempt, ended, peer_accounts};
use crate::app::{App, execute, rows, sql};
use crate::campaigns::store;
use crate::targets::store::person_of;

const WAITS: i32 = State::Pending as i32;
const SENDING: i32 = State::Sending as i32;
const DONE: i32 = State::Done as i32;

/// Who found out: the call's own answer, or a later look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The answer.
    Answer,
    /// Reconciliation.
    Reconciliation,
}

/// Writes a verdict down. Answers whether the attempt was still the target's:
/// what comes too late changes nothing.
///
/// # Errors
/// When the database fails; nothing is written then.
pub async fn record(app: &App, attempt: &Attempt, verdict: &Verdict, by: By) -> Result<bool, DbErr> {
    if let Verdict::Done { outcome, telegram_error, user_id } = verdict {
        let result = if by == By::Answer { Ended::Outcome } else { Ended::Reconciled };
        let finished = Finished {
            attempt: attempt.clone(),
            outcome: *outcome,
            telegram_error: telegram_error.clone(),
            user_id: *user_id,
            result,
        };
        let written = finish_together(app, finished).await?;
        told(app, written, attempt, verdict);
        return Ok(written);
    }
    let tx = app.db.begin().await?;
    let now = app.now();
    let written = match verdict {
        Verdict::Done { .. } => false,
        Verdict::Limited { telegram_error } => {
            requeue(app, &*tx, attempt, now, Ended::AccountLimited, telegram_error).await?
        }
        Verdict::NotSent { reason, telegram_error, delay } => {
            let until = now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(0));
            // NOT_SENT tells it all, unless Telegram had a fault: the reason is the service's, not Telegram's.
            tracing::info!(target_id = %attempt.target.id, reason, telegram_error, "attempt was not sent");
            requeue(app, &*tx, attempt, until, Ended::NotSent, telegram_error).await?
        }
        Verdict::Quota { .. } => undo(app, &*tx, attempt).await?,
        Verdict::NotAddressable => not_addressable(app, &*tx, attempt).await?,
        Verdict::ChatFailed { reason, telegram_error } => {
            let written = requeue(app, &*tx, attempt, now, Ended::ChatUnavailable, telegram_error).await?;
            if written {
                let detail = if telegram_error.is_empty() {
                    "the chat cannot be worked with".to_owned()
                } else {
                    format!("Telegram said {telegram_error} about the chat")
                };
                store::fail(&*tx, attempt.target.campaign_id, reason.as_reason(), &detail, now).await?;
            }
            written
        }
        Verdict::Unknown => {
            // Left as it is, without owner: whoever comes first finds out.
            let text = format!(
                "UPDATE targets SET owner = NULL, not_before_at = $3 WHERE id = $1 AND state = {SENDING} AND attempt_id = $2"
            );
            let values: [Value; 3] = [attempt.target.id.into(), attempt.id.into(), now.into()];
            execute(&*tx, text, values).await? > 0
        }
    };
    if written {
        tx.commit().await?;
    }
    told(app, written, attempt, verdict);
    Ok(written)
}

/// Who watches sees it; what came too late should not have happened.
fn told(app: &App, written: bool, attempt: &Attempt, verdict: &Verdict) {
    if written {
        app.poke.poke();
    } else {
        service_kit::invariants::WORK_1.broken(format_args!(
            "an answer came after its target had gone on: target {}, attempt {}, {verdict:?}",
            attempt.target.id, attempt.id
        ));
    }
}

/// An attempt that gave its target an outcome.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The attempt.
    pub attempt: Attempt,
    /// The outcome.
    pub outcome: Outcome,
    /// Telegram's error behind it.
    pub telegram_error: String,
    /// Telegram's id of the target, once known; else 0.
    pub user_id: i64,
    /// How it was found out.
    pub result: Ended,
}

/// Gives a target its outcome, in one transaction with those of other workers.
async fn finish_together(app: &App, finished: Finished) -> Result<bool, DbErr> {
    let write = async |items: &[Finished]| {
        let tx = app.db.begin().await?;
        let written = finish(app, &*tx, items).await?;
        tx.commit().await?;
        Ok::<_, DbErr>(written)
    };
    let together = async |items: Vec<Finished>| {
        write(&items).await.unwrap_or_else(|error| {
            tracing::warn!(%error, outcomes = items.len(), "outcomes could not be written down together");
            Vec::new()
        })
    };
    if let Some(written) = app.outcomes.run(finished.clone(), together).await {
        return Ok(written);
    }
    // Nobody knows whether it was written down with the others.
    if is_finished(app, &finished).await? {
        return Ok(true);
    }
    Ok(write(std::slice::from_ref(&finished)).await?.first() == Some(&true))
}

/// Whether the attempt has given its target this outcome.
async fn is_finished(app: &App, finished: &Finished) -> Result<bool, DbErr> {
    let conn = app.db.conn();
    let values: [Value; 3] =
        [finished.attempt.target.id.into(), finished.attempt.id.into(), (finished.outcome as i32).into()];
    let text = format!("SELECT id FROM targets WHERE id = $1 AND attempt_id = $2 AND state = {DONE} AND outcome = $3");
    Ok(conn.query_one_raw(sql(conn, text, values)).await?.is_some())
}

/// Gives targets their outcomes. Answers of each whether the attempt was still
/// its target's.
async fn finish(app: &App, tx: &impl ConnectionTrait, items: &[Finished]) -> Result<Vec<bool>, DbErr> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let mut values: Vec<Value> = vec![app.now().into()];
    let outcomes = items.iter().map(|item| {
        let (target, attempt) = (item.attempt.target.id, item.attempt.id);
        let error = item.telegram_error.as_str();
        [target.into(), attempt.into(), (item.outcome as i32).into(), error.into(), item.user_id.into()]
    });
    let outcomes = rows(&mut values, outcomes);
    let text = format!(
        "UPDATE targets SET state = {DONE}, outcome = ended.column3, telegram_error = ended.column4, done_at = $1, \
         owner = NULL, user_id = CASE WHEN targets.user_id = 0 THEN ended.column5 ELSE targets.user_id END \
         FROM (VALUES {outcomes}) AS ended \
         WHERE targets.id = ended.column1 AND targets.state = {SENDING} AND targets.attempt_id = ended.column2 \
         RETURNING id"
    );
    let written = Row::find_by_statement(sql(tx, text, values)).all(tx).await?;
    let written: HashSet<Uuid> = written.into_iter().map(|row| row.id).collect();
    let mut contacted = Vec::new();
    // Always in the same order: two replicas that count for the same campaigns must not wait for each other.
    let mut campaigns: BTreeMap<Uuid, Vec<&Finished>> = BTreeMap::new();
    for item in items.iter().filter(|item| written.contains(&item.attempt.target.id)) {
        let target = &item.attempt.target;
        campaigns.entry(target.campaign_id).or_default().push(item);
        if counts_as_contact(item.outcome) {
            let mut known = person_of(target);
            if known.user_id == 0 {
                known.user_id = item.user_id;
            }
            contacted.extend(known.keys().into_iter().map(|key| (target.campaign_id, key)));
        }
    }
    store::contacted(tx, contacted).await?;
    for (campaign_id, items) in campaigns {
        let mut outcomes = BTreeMap::new();
        for item in &items {
            *outcomes.entry(item.outcome as i32).or_default() += 1;
        }
        let version = ended(app, tx, campaign_id, &outcomes).await?;
        end_executions(app, tx, &items, version).await?;
    }
    Ok(items.iter().map(|item| written.contains(&item.attempt.target.id)).collect())
}

/// Ends the rows of attempts that gave a campaign's targets their outcomes, the
/// last one with the campaign's version.
async fn end_executions(app: &App, tx: &impl ConnectionTrait, items: &[&Finished], version: i64) -> Result<(), DbErr> {
    let mut values: Vec<Value> = vec![app.now().into()];
    let versions = (1..=version).rev().take(items.len());
    let attempts = items.iter().rev().zip(versions).map(|(item, version)| {
        let error = item.telegram_error.as_str();
        [
            item.attempt.id.into(),
            (item.result as i32).into(),
            (item.outcome as i32).into(),
            error.into(),
            version.into(),
        ]
    });
    let attempts = rows(&mut values, attempts);
    let text = format!(
        "UPDATE executions SET result = ended.column2, outcome = ended.column3, telegram_error = ended.column4, \
         ended_at = $1, version = ended.column5 FROM (VALUES {attempts}) AS ended WHERE executions.id = ended.column1"
    );
    execute(tx, text, values).await?;
    Ok(())
}

/// Puts the target back for another account, or a later time.
async fn requeue(
    app: &App,
    tx: &impl ConnectionTrait,
    attempt: &Attempt,
    not_before: i64,
    result: Ended,
    telegram_error: &str,
) -> Result<bool, DbErr> {
    let text = format!(
        "UPDATE targets SET state = {WAITS}, owner = NULL, not_before_at = $3 \
         WHERE id = $1 AND state = {SENDING} AND attempt_id = $2"
    );
    let values: [Value; 3] = [attempt.target.id.into(), attempt.id.into(), not_before.into()];
    if execute(tx, text, values).await? == 0 {
        return Ok(false);
    }
    let campaign_id = attempt.target.campaign_id;
    let version = store::touch(tx, campaign_id, app.now()).await?;
    end_execution(app, tx, attempt.id, result, Outcome::Unspecified, telegram_error, version).await?;
    Ok(true)
}

/// Takes an attempt back that a limit of ours forbade: it never was one.
async fn undo(app: &App, tx: &impl ConnectionTrait, attempt: &Attempt) -> Result<bool, DbErr> {
    let target = &attempt.target;
    let text = format!(
        "UPDATE targets SET state = {WAITS}, owner = NULL, attempts = attempts - 1, attempt_id = $3, account_id = $4 \
         WHERE id = $1 AND state = {SENDING} AND attempt_id = $2"
    );
    let values: [Value; 4] = [target.id.into(), attempt.id.into(), target.attempt_id.into(), target.account_id.into()];
    if execute(tx, text, values).await? == 0 {
        return Ok(false);
    }
    let values: [Value; 1] = [attempt.id.into()];
    execute(tx, "DELETE FROM executions WHERE id = $1", values).await?;
    store::touch(tx, target.campaign_id, app.now()).await?;
    Ok(true)
}

/// Remembers that the account cannot address the target; without any other
/// way to address him, that is the target's outcome.
async fn not_addressable(app: &App, tx: &impl ConnectionTrait, attempt: &Attempt) -> Result<bool, DbErr> {
    let target = &attempt.target;
    let values: [Value; 2] = [target.id.into(), attempt.account_id.into()];
    if attempt.by_peer {
        execute(tx, "DELETE FROM target_peers WHERE target_id = $1 AND account_id = $2", values).await?;
    } else {
        let values: [Value; 3] = [target.id.into(), attempt.account_id.into(), target.campaign_id.into()];
        let text = "INSERT INTO target_refusals (target_id, account_id, campaign_id) VALUES ($1, $2, $3) \
                    ON CONFLICT (target_id, account_id) DO NOTHING";
        execute(tx, text, values).await?;
    }
    if !target.open && peer_accounts(tx, target.id).await?.is_empty() {
        let finished = Finished {
            attempt: attempt.clone(),
            outcome: Outcome::NotAddressable,
            telegram_error: String::new(),
            user_id: 0,
            result: Ended::Outcome,
        };
        return Ok(finish(app, tx, &[finished]).await?.first() == Some(&true));
    }
    requeue(app, tx, attempt, app.now(), Ended::AccountLimited, "PEER_NOT_ADDRESSABLE").await
}

/// Ends the row of an attempt.
async fn end_execution(
    app: &App,
    tx: &impl ConnectionTrait,
    id: Uuid,
    result: Ended,
    outcome: Outcome,
    telegram_error: &str,
    version: i64,
) -> Result<(), DbErr> {
    let values: [Value; 6] = [
        id.into(),
        (result as i32).into(),
        (outcome as i32).into(),
        telegram_error.into(),
        app.now().into(),
        version.into(),
    ];
    let text = "UPDATE executions SET result = $2, outcome = $3, telegram_error = $4, ended_at = $5, version = $6 \
                WHERE id = $1";
    execute(tx, text, values).await?;
    Ok(())
}

/// What a look at a lost invite found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The answer was kept, or the person is in the chat.
    Verdict(Verdict),
    /// Sent or not, it had no effect: the person is not in the chat. The next
    /// attempt is a second one, and counted.
    NoEffect,
}

/// Writes down what a look found.
///
/// # Errors
/// When the database fails.
pub async fn reconcile(app: &App, attempt: &Attempt, found: &Found) -> Result<bool, DbErr> {
    match found {
        Found::Verdict(verdict) => record(app, attempt, verdict, By::Reconciliation).await,
        Found::NoEffect => {
            let tx = app.db.begin().await?;
            let written = requeue(app, &*tx, attempt, app.now(), Ended::Reconciled, "").await?;
            tx.commit().await?;
            app.poke.poke();
            Ok(written)
        }
    }
}
