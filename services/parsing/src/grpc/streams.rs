//! Answers that are streams.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use service_kit::Identity;
use service_kit::watch::{WatchStream, watch};
use tgmesh_proto::parsing::v1 as wire;
use tgmesh_proto::parsing::v1::parse_task::State;

use super::{Answers, Parsing, convert, id};
use crate::error::{Error, Failure};
use crate::results::stream::pages;
use crate::tasks::state::has_ended;
use crate::{export, tasks};

impl Parsing {
    /// A task now, then at each change of its version.
    pub(super) async fn watch(
        &self,
        who: &Identity,
        request: &wire::WatchParseTaskRequest,
    ) -> Result<WatchStream<wire::WatchParseTaskResponse>, Error> {
        let owner = who.workspace_id;
        // A task that is not there is refused at once, not in the stream.
        let task = self.tasks.get(who, id(&request.parse_task_id)).await?;
        let what = (owner, task.id);
        let seen: Option<i64> = self.tokens.position("watch_parse_task", &what, &request.resume_token)?;
        let (db, tokens, seen) = (self.db.clone(), self.tokens.clone(), Arc::new(Mutex::new(seen)));
        Ok(watch(self.clock.clone(), self.running.watches(), move || {
            let (db, tokens, seen) = (db.clone(), tokens.clone(), seen.clone());
            async move {
                let found = tasks::store::find(db.conn(), owner, what.1).await;
                let task = found.map_err(|error| tonic::Status::from(Failure { db: &db, error }))?;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.replace(task.version) == Some(task.version) {
                    return Ok(None);
                }
                let resume_token = tokens.resume("watch_parse_task", &what, &task.version);
                Ok(Some(wire::WatchParseTaskResponse { parse_task: Some(convert::task(&task)), resume_token }))
            }
        }))
    }

    /// All results of a task that does not run.
    pub(super) async fn results_stream(
        &self,
        who: &Identity,
        request: &wire::StreamResultsRequest,
    ) -> Result<Answers<wire::StreamResultsResponse>, Error> {
        let task = self.tasks.get(who, id(&request.parse_task_id)).await?;
        let what = (who.workspace_id, task.id);
        let cursor = std::str::from_utf8(&request.cursor).map_err(|_| Error::Cursor)?;
        let after: Option<i64> = self.tokens.position("stream_results", &what, cursor).map_err(|_| Error::Cursor)?;
        // Results of a task under way would be a part that nobody can tell the size of.
        let rests = has_ended(task.task_state()) || task.task_state() == State::Paused;
        if !rests {
            return Err(Error::StateWrong(task.task_state()));
        }
        let (db, tokens) = (self.db.clone(), self.tokens.clone());
        let batches = pages(self.db.clone(), who.workspace_id, task.id, after.unwrap_or(0));
        let batches = batches.map_ok(move |page| {
            let last = page.last().and_then(|row| row.seq).unwrap_or(0);
            wire::StreamResultsResponse {
                results: page.iter().map(convert::result).collect(),
                cursor: tokens.resume("stream_results", &what, &last).into_bytes(),
            }
        });
        Ok(batches.map_err(move |error| Failure { db: &db, error }.into()).boxed())
    }

    /// A file of what a task has found by now.
    pub(super) async fn export(
        &self,
        who: &Identity,
        request: &wire::ExportResultsRequest,
    ) -> Result<Answers<wire::ExportResultsResponse>, Error> {
        let kind = export::Kind::of(request.format())?;
        let task = self.tasks.get(who, id(&request.parse_task_id)).await?;
        let db = self.db.clone();
        let pieces = export::export(self.db.clone(), &task, kind, self.clock.now());
        Ok(pieces.map_err(move |error| Failure { db: &db, error }.into()).boxed())
    }
}
