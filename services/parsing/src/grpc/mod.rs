//! ParsingService on the wire: reads requests, calls the rules, writes answers.

mod convert;
mod lists;
mod streams;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use service_kit::Identity;
use service_kit::client::ServiceChannel;
use service_kit::clock::new_id;
use service_kit::db::Db;
use service_kit::paging::Tokens;
use service_kit::requests::Requests;
use service_kit::service::Dependencies;
use service_kit::unserved::Unserved;
use service_kit::watch::WatchStream;
use tgmesh_proto::lease::v1::Priority;
use tgmesh_proto::parsing::v1 as wire;
use tgmesh_proto::parsing::v1::parsing_service_server::ParsingService;
use tgmesh_proto::telegram::v1::SpeedProfile;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::engine::Running;
use crate::error::{Error, Failure};
use crate::tasks::preview::Previews;
use crate::tasks::state::Event;
use crate::tasks::{Order, Tasks};

/// An answer that is a stream.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug)]
pub struct Parsing {
    db: Db,
    clock: service_kit::SharedClock,
    tokens: Tokens,
    tasks: Tasks,
    previews: Previews,
    running: Arc<Running>,
}

impl Parsing {
    /// With what the service needs.
    pub fn new(deps: &Dependencies, requests: Requests, channel: ServiceChannel, running: Arc<Running>) -> Self {
        let holder = format!("parsing {}", new_id(&*deps.clock));
        Self {
            db: deps.db.clone(),
            clock: deps.clock.clone(),
            tokens: Tokens::new(deps.sealer.clone()),
            tasks: Tasks::new(deps.db.clone(), requests, deps.clock.clone(), running.clone()),
            previews: Previews::new(channel, deps.clock.clone(), holder),
            running,
        }
    }

    /// The answer, or what the caller learns of the error.
    fn answer<T>(&self, answer: Result<T, impl Into<Error>>) -> Result<Response<T>, Status> {
        answer.map(Response::new).map_err(|error| self.status(error))
    }

    fn status(&self, error: impl Into<Error>) -> Status {
        Failure { db: &self.db, error: error.into() }.into()
    }
}

fn not_served<T>(method: &'static str) -> Result<T, Status> {
    Err(Unserved::method(method).into())
}

/// An id; the contract's rules have shown that it is one.
fn id(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_default()
}

fn order(request: &wire::CreateParseTasksRequest) -> Order {
    let speed = match request.speed() {
        SpeedProfile::Unspecified => SpeedProfile::Medium,
        speed => speed,
    };
    let priority = match request.priority() {
        Priority::Unspecified => Priority::Normal,
        priority => priority,
    };
    Order {
        sources: request.sources.clone(),
        kind: request.kind(),
        filter: request.filter.unwrap_or_default(),
        speed,
        priority,
    }
}

#[tonic::async_trait]
impl ParsingService for Parsing {
    type SearchCommunitiesStream = Answers<wire::SearchCommunitiesResponse>;
    type WatchParseTaskStream = WatchStream<wire::WatchParseTaskResponse>;
    type StreamResultsStream = Answers<wire::StreamResultsResponse>;
    type ExportResultsStream = Answers<wire::ExportResultsResponse>;

    async fn search_communities(
        &self,
        _: Request<wire::SearchCommunitiesRequest>,
    ) -> Result<Response<Self::SearchCommunitiesStream>, Status> {
        not_served("SearchCommunities")
    }

    async fn create_parse_tasks(
        &self,
        request: Request<wire::CreateParseTasksRequest>,
    ) -> Result<Response<wire::CreateParseTasksResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.into_inner();
        let order = order(&request);
        if request.validate_only {
            let previews = self.previews.of(who.acting(), &order).await;
            return self
                .answer(previews.map(|previews| wire::CreateParseTasksResponse { previews, ..Default::default() }));
        }
        let answer = self.tasks.create(&who, &request, &order, |tasks| wire::CreateParseTasksResponse {
            parse_tasks: tasks.iter().map(convert::task).collect(),
            previews: Vec::new(),
        });
        self.answer(answer.await)
    }

    async fn get_parse_task(
        &self,
        request: Request<wire::GetParseTaskRequest>,
    ) -> Result<Response<wire::GetParseTaskResponse>, Status> {
        let who = Identity::of(&request)?;
        let task = self.tasks.get(&who, id(&request.get_ref().parse_task_id)).await;
        self.answer(task.map(|task| wire::GetParseTaskResponse { parse_task: Some(convert::task(&task)) }))
    }

    async fn list_parse_tasks(
        &self,
        request: Request<wire::ListParseTasksRequest>,
    ) -> Result<Response<wire::ListParseTasksResponse>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.tasks_page(&who, request.get_ref()).await)
    }

    async fn pause_parse_task(
        &self,
        request: Request<wire::PauseParseTaskRequest>,
    ) -> Result<Response<wire::PauseParseTaskResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.get_ref();
        let task = id(&request.parse_task_id);
        let answer = self.tasks.change(&who, "PauseParseTask", request, task, Event::Pause, |task| {
            wire::PauseParseTaskResponse { parse_task: Some(convert::task(task)) }
        });
        self.answer(answer.await)
    }

    async fn resume_parse_task(
        &self,
        request: Request<wire::ResumeParseTaskRequest>,
    ) -> Result<Response<wire::ResumeParseTaskResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.get_ref();
        let task = id(&request.parse_task_id);
        let answer = self.tasks.change(&who, "ResumeParseTask", request, task, Event::Resume, |task| {
            wire::ResumeParseTaskResponse { parse_task: Some(convert::task(task)) }
        });
        self.answer(answer.await)
    }

    async fn cancel_parse_task(
        &self,
        request: Request<wire::CancelParseTaskRequest>,
    ) -> Result<Response<wire::CancelParseTaskResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.get_ref();
        let task = id(&request.parse_task_id);
        let answer = self.tasks.change(&who, "CancelParseTask", request, task, Event::Cancel, |task| {
            wire::CancelParseTaskResponse { parse_task: Some(convert::task(task)) }
        });
        self.answer(answer.await)
    }

    async fn delete_parse_task(
        &self,
        request: Request<wire::DeleteParseTaskRequest>,
    ) -> Result<Response<wire::DeleteParseTaskResponse>, Status> {
        let who = Identity::of(&request)?;
        let request = request.get_ref();
        self.answer(self.tasks.delete(&who, request, id(&request.parse_task_id)).await)
    }

    async fn watch_parse_task(
        &self,
        request: Request<wire::WatchParseTaskRequest>,
    ) -> Result<Response<Self::WatchParseTaskStream>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.watch(&who, request.get_ref()).await)
    }

    async fn list_results(
        &self,
        request: Request<wire::ListResultsRequest>,
    ) -> Result<Response<wire::ListResultsResponse>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.results_page(&who, request.get_ref()).await)
    }

    async fn stream_results(
        &self,
        request: Request<wire::StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.results_stream(&who, request.get_ref()).await)
    }

    async fn export_results(
        &self,
        request: Request<wire::ExportResultsRequest>,
    ) -> Result<Response<Self::ExportResultsStream>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.export(&who, request.get_ref()).await)
    }

    async fn get_result_stats(
        &self,
        request: Request<wire::GetResultStatsRequest>,
    ) -> Result<Response<wire::GetResultStatsResponse>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.stats(&who, request.get_ref()).await)
    }

    async fn list_contacts(
        &self,
        request: Request<wire::ListContactsRequest>,
    ) -> Result<Response<wire::ListContactsResponse>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.contacts_page(&who, request.get_ref()).await)
    }

    async fn get_contact(
        &self,
        request: Request<wire::GetContactRequest>,
    ) -> Result<Response<wire::GetContactResponse>, Status> {
        let who = Identity::of(&request)?;
        self.answer(self.contact(&who, request.get_ref()).await)
    }

    async fn erase_contact(
        &self,
        _: Request<wire::EraseContactRequest>,
    ) -> Result<Response<wire::EraseContactResponse>, Status> {
        not_served("EraseContact")
    }
}
