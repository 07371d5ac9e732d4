//! What a batch changes, in one transaction: results, contacts, counters, cursor.

use std::time::Duration;

use sea_orm::sea_query::Expr;
use service_kit::SharedClock;
use service_kit::db::Db;
use tgmesh_proto::parsing::v1::ParseFilter;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::skip_count::Reason;

use super::batch::Batch;
use super::store::{Lost, apply, changed, ended, fenced, waiting_columns};
use crate::contacts;
use crate::results::store::{Place, decide, record, undecided};
use crate::tasks::entity::{Column, Model};
use crate::tasks::filter::decides_at_end;
use crate::tasks::progress::Skipped;
use crate::tasks::state::Event;

/// People decided on in one transaction.
const DECIDED_AT_ONCE: u64 = 500;

/// Stores a batch. The task is as it is stored afterwards; after an error it is
/// as it was, and must be read again before it is used: the commit of a
/// connection that was cut may have happened.
pub async fn batch(
    db: &Db,
    clock: &SharedClock,
    task: &mut Model,
    filter: &ParseFilter,
    batch: &Batch,
    took: Duration,
) -> Result<(), Lost> {
    let undecided = decides_at_end(filter);
    let mut next = task.clone();
    let tx = db.begin().await?;
    let place = Place { workspace_id: task.workspace_id, task_id: task.id, found: task.unique_count, undecided };
    let recorded = record(&*tx, place, &batch.people, clock).await?;
    let mut skipped = Skipped::parse(&task.skipped);
    skipped.merge(&batch.skipped);
    for reason in &recorded.skipped {
        skipped.add(*reason, 1);
    }
    let kept = count(recorded.new.len());
    next.unique_count += kept + count(recorded.skipped.len());
    if !undecided {
        next.result_count += kept;
        next.new_count += contacts::store::record(&*tx, task.workspace_id, &recorded.new, clock).await?;
        contacts::store::record_accounts(&*tx, task.workspace_id, &recorded.seen_anew, clock).await?;
    }
    next.skipped = skipped.to_json();
    next.cursor = Some(batch.cursor.clone());
    next.read_count += batch.read;
    next.media_count += batch.media;
    next.request_count += batch.requests;
    next.total = batch.total.or(task.total);
    next.cap_reached = batch.cap_reached.max(task.cap_reached);
    next.work_ms += i64::try_from(took.as_millis()).unwrap_or(0);
    next.read_to_end = batch.done;
    let next = store(&tx, clock, task, next, batch.done && !undecided).await?;
    tx.commit().await?;
    *task = next;
    Ok(())
}

/// Decides on the next of those found whom to keep, by their activity over all
/// that was read; the task is completed with the last of them.
pub async fn settle(db: &Db, clock: &SharedClock, task: &mut Model, filter: &ParseFilter) -> Result<(), Lost> {
    let mut next = task.clone();
    let tx = db.begin().await?;
    let people = undecided(&*tx, task.workspace_id, task.id, DECIDED_AT_ONCE).await?;
    let (kept, left_out): (Vec<_>, Vec<_>) = people.iter().partition(|person| person.activity >= filter.min_activity);
    let ids =
        |people: &[&crate::results::entity::Model]| people.iter().map(|person| person.user_id).collect::<Vec<_>>();
    decide(&*tx, task.workspace_id, task.id, &ids(&kept), &ids(&left_out)).await?;
    let persons: Vec<_> = kept.iter().map(|person| person.person()).collect();
    next.new_count += contacts::store::record(&*tx, task.workspace_id, &persons, clock).await?;
    next.result_count += count(kept.len());
    let mut skipped = Skipped::parse(&task.skipped);
    skipped.add(Reason::Activity, count(left_out.len()));
    next.skipped = skipped.to_json();
    let last = (people.len() as u64) < DECIDED_AT_ONCE;
    let next = store(&tx, clock, task, next, last).await?;
    tx.commit().await?;
    *task = next;
    Ok(())
}

/// Writes the counters, fenced by the claim.
async fn store(
    tx: &service_kit::db::Tx,
    clock: &SharedClock,
    task: &Model,
    mut next: Model,
    completed: bool,
) -> Result<Model, Lost> {
    let now = clock.now();
    (next.waiting_reason, next.waiting_until, next.waiting_detail, next.strikes) = (0, None, String::new(), 0);
    let mut update = changed(fenced(task), now)
        .col_expr(Column::Cursor, Expr::value(next.cursor.clone()))
        .col_expr(Column::ReadToEnd, Expr::value(next.read_to_end))
        .col_expr(Column::Total, Expr::value(next.total))
        .col_expr(Column::ReadCount, Expr::value(next.read_count))
        .col_expr(Column::UniqueCount, Expr::value(next.unique_count))
        .col_expr(Column::NewCount, Expr::value(next.new_count))
        .col_expr(Column::MediaCount, Expr::value(next.media_count))
        .col_expr(Column::RequestCount, Expr::value(next.request_count))
        .col_expr(Column::ResultCount, Expr::value(next.result_count))
        .col_expr(Column::Skipped, Expr::value(next.skipped.clone()))
        .col_expr(Column::WorkMs, Expr::value(next.work_ms))
        .col_expr(Column::CapReached, Expr::value(next.cap_reached))
        .col_expr(Column::Strikes, Expr::value(0));
    if completed {
        next.state = State::Completed as i32;
        update = ended(update, Event::Complete, now);
    } else {
        update = waiting_columns(update, None);
    }
    apply(&**tx, update).await?;
    Ok(next)
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
