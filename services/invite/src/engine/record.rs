//! Writes down what became of an attempt: target, attempt, counters and
//! campaign in one transaction.

use sea_orm::{ConnectionTrait, DbErr, Value};
use tgmesh_proto::invite::v1::execution::Result as Ended;
use tgmesh_proto::invite::v1::target::State;
use tgmesh_proto::telegram::v1::Outcome;
use uuid::Uuid;

use super::outcome::{Verdict, counts_as_contact};
use super::store::{Attempt, ended};
use crate::app::{App, execute};
use crate::campaigns::progress::{PENDING, UNDER_WAY};
use crate::campaigns::store as campaigns;
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
    let tx = app.db.begin().await?;
    let now = app.now();
    let written = match verdict {
        Verdict::Done { outcome, telegram_error, user_id } => {
            let result = if by == By::Answer { Ended::Outcome } else { Ended::Reconciled };
            finish(app, &*tx, attempt, *outcome, telegram_error, *user_id, result).await?
        }
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
                campaigns::fail(&*tx, attempt.target.campaign_id, reason.as_reason(), &detail, now).await?;
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
        app.poke.poke();
    } else {
        service_kit::invariants::WORK_1.broken(format_args!(
            "an answer came after its target had gone on: target {}, attempt {}, {verdict:?}",
            attempt.target.id, attempt.id
        ));
    }
    Ok(written)
}

/// Gives the target its outcome.
async fn finish(
    app: &App,
    tx: &impl ConnectionTrait,
    attempt: &Attempt,
    outcome: Outcome,
    telegram_error: &str,
    user_id: i64,
    result: Ended,
) -> Result<bool, DbErr> {
    let (target, now) = (&attempt.target, app.now());
    let text = format!(
        "UPDATE targets SET state = {DONE}, outcome = $3, telegram_error = $4, done_at = $5, owner = NULL, \
         user_id = CASE WHEN user_id = 0 THEN $6 ELSE user_id END \
         WHERE id = $1 AND state = {SENDING} AND attempt_id = $2"
    );
    let values: [Value; 6] = [
        target.id.into(),
        attempt.id.into(),
        (outcome as i32).into(),
        telegram_error.into(),
        now.into(),
        user_id.into(),
    ];
    if execute(tx, text, values).await? == 0 {
        return Ok(false);
    }
    let version = ended(app, tx, target.campaign_id, outcome as i32).await?;
    end_execution(app, tx, attempt.id, result, outcome, telegram_error, version).await?;
    if counts_as_contact(outcome) {
        let mut known = person_of(target);
        if known.user_id == 0 {
            known.user_id = user_id;
        }
        campaigns::contacted(tx, target.workspace_id, target.campaign_id, &known.keys()).await?;
    }
    Ok(true)
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
    campaigns::shift(tx, campaign_id, UNDER_WAY, PENDING, 1).await?;
    let version = campaigns::touch(tx, campaign_id, app.now()).await?.map_or(0, |(version, _)| version);
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
    campaigns::shift(tx, target.campaign_id, UNDER_WAY, PENDING, 1).await?;
    let values: [Value; 1] = [attempt.id.into()];
    execute(tx, "DELETE FROM executions WHERE id = $1", values).await?;
    campaigns::touch(tx, target.campaign_id, app.now()).await?;
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
    if !target.open && super::store::peer_accounts(tx, target.id).await?.is_empty() {
        return finish(app, tx, attempt, Outcome::NotAddressable, "", 0, Ended::Outcome).await;
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
