//! The parsing service of the test world: one task with the results it was given.

use std::pin::Pin;

use tgmesh_proto::ErrorReason;
use tgmesh_proto::parsing::v1::parsing_service_server::ParsingService;
use tgmesh_proto::parsing::v1::*;
use tgmesh_proto::status::status;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::stub::never;
use super::world::{None_, World};

#[tonic::async_trait]
impl ParsingService for World {
    type SearchCommunitiesStream = None_<SearchCommunitiesResponse>;
    type WatchParseTaskStream = None_<WatchParseTaskResponse>;
    type StreamResultsStream = Pin<Box<dyn Stream<Item = Result<StreamResultsResponse, Status>> + Send>>;
    type ExportResultsStream = None_<ExportResultsResponse>;

    async fn get_parse_task(
        &self,
        request: Request<GetParseTaskRequest>,
    ) -> Result<Response<GetParseTaskResponse>, Status> {
        let completed = ParseTask { state: parse_task::State::Completed as i32, ..Default::default() };
        let task = self.state().task.clone().unwrap_or(completed);
        let task = ParseTask { id: request.get_ref().parse_task_id.clone(), ..task };
        Ok(Response::new(GetParseTaskResponse { parse_task: Some(task) }))
    }

    /// Breaks once in the middle, so that every reader has to go on from the cursor.
    async fn stream_results(
        &self,
        request: Request<StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        let from: usize = String::from_utf8(request.into_inner().cursor).unwrap().parse().unwrap_or(0);
        let results = self.state().results.clone();
        let mut out = Vec::new();
        for (number, chunk) in results.chunks(7).enumerate() {
            let end = number * 7 + chunk.len();
            if end <= from {
                continue;
            }
            let cursor = end.to_string().into_bytes();
            out.push(Ok(StreamResultsResponse { results: chunk.to_vec(), cursor }));
            if from == 0 && number == 1 && !self.state().results_hang {
                out.push(Err(status(ErrorReason::ShuttingDown, "go on elsewhere").build()));
                break;
            }
        }
        let hangs = self.state().results_hang;
        let sent = tokio_stream::iter(out);
        Ok(Response::new(if hangs { Box::pin(sent.chain(tokio_stream::pending())) } else { Box::pin(sent) }))
    }

    async fn search_communities(
        &self,
        _: Request<SearchCommunitiesRequest>,
    ) -> Result<Response<Self::SearchCommunitiesStream>, Status> {
        never()
    }
    async fn create_parse_tasks(
        &self,
        _: Request<CreateParseTasksRequest>,
    ) -> Result<Response<CreateParseTasksResponse>, Status> {
        never()
    }
    async fn list_parse_tasks(
        &self,
        _: Request<ListParseTasksRequest>,
    ) -> Result<Response<ListParseTasksResponse>, Status> {
        never()
    }
    async fn pause_parse_task(
        &self,
        _: Request<PauseParseTaskRequest>,
    ) -> Result<Response<PauseParseTaskResponse>, Status> {
        never()
    }
    async fn resume_parse_task(
        &self,
        _: Request<ResumeParseTaskRequest>,
    ) -> Result<Response<ResumeParseTaskResponse>, Status> {
        never()
    }
    async fn cancel_parse_task(
        &self,
        _: Request<CancelParseTaskRequest>,
    ) -> Result<Response<CancelParseTaskResponse>, Status> {
        never()
    }
    async fn delete_parse_task(
        &self,
        _: Request<DeleteParseTaskRequest>,
    ) -> Result<Response<DeleteParseTaskResponse>, Status> {
        never()
    }
    async fn watch_parse_task(
        &self,
        _: Request<WatchParseTaskRequest>,
    ) -> Result<Response<Self::WatchParseTaskStream>, Status> {
        never()
    }
    async fn list_results(&self, _: Request<ListResultsRequest>) -> Result<Response<ListResultsResponse>, Status> {
        never()
    }
    async fn export_results(
        &self,
        _: Request<ExportResultsRequest>,
    ) -> Result<Response<Self::ExportResultsStream>, Status> {
        never()
    }
    async fn get_result_stats(
        &self,
        _: Request<GetResultStatsRequest>,
    ) -> Result<Response<GetResultStatsResponse>, Status> {
        never()
    }
    async fn list_contacts(&self, _: Request<ListContactsRequest>) -> Result<Response<ListContactsResponse>, Status> {
        never()
    }
    async fn get_contact(&self, _: Request<GetContactRequest>) -> Result<Response<GetContactResponse>, Status> {
        never()
    }
    async fn erase_contact(&self, _: Request<EraseContactRequest>) -> Result<Response<EraseContactResponse>, Status> {
        never()
    }
}
