//! Results read page by page, in constant memory, as fast as they are taken.

use futures_util::Stream;
use futures_util::stream::try_unfold;
use service_kit::db::Db;
use uuid::Uuid;

use super::entity::Model;
use super::store;
use crate::error::Error;

/// Results of one page.
pub const PAGE: u64 = 500;

/// Pages of a task's results after a place, none of them empty.
pub fn pages(db: Db, owner: Uuid, task_id: Uuid, after: i64) -> impl Stream<Item = Result<Vec<Model>, Error>> + Send {
    try_unfold(Some(after), move |after| {
        let db = db.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = store::after(db.conn(), owner, task_id, after, "", PAGE).await?;
            let Some(last) = page.last().and_then(|last| last.seq) else { return Ok(None) };
            // A short page is the last.
            let next = (page.len() as u64 == PAGE).then_some(last);
            Ok(Some((page, next)))
        }
    })
}
