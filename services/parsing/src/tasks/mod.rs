//! Parse tasks: what may be asked of them, and what becomes of them.

pub mod completeness;
pub mod entity;
pub mod filter;
pub mod preview;
pub mod progress;
pub mod state;
pub mod store;

use std::sync::Arc;

use prost::Message;
use service_kit::address::parse_chat;
use service_kit::clock::new_id;
use service_kit::db::Db;
use service_kit::requests::{Claim, Requests};
use service_kit::unserved::Unserved;
use service_kit::{Identity, SharedClock};
use tgmesh_proto::WithRequestId;
use tgmesh_proto::lease::v1::Priority;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::{ParseFilter, ParseKind};
use tgmesh_proto::telegram::v1::{Chat, SpeedProfile};
use uuid::Uuid;

use crate::engine::Running;
use crate::error::Error;
use crate::person::clean;
use entity::Model;
use state::Event;

/// What is to be collected.
#[derive(Debug, Clone)]
pub struct Order {
    /// The sources, as they were given.
    pub sources: Vec<String>,
    /// What to collect from each.
    pub kind: ParseKind,
    /// Whom to keep.
    pub filter: ParseFilter,
    /// How fast.
    pub speed: SpeedProfile,
    /// How urgent.
    pub priority: Priority,
}

impl Order {
    /// Refuses what breaks a rule, naming each field, and what is not served yet.
    pub fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            if let Err(error) = parse_chat(source) {
                wrong.push((format!("sources[{index}]"), error.to_string()));
            }
        }
        wrong.extend(filter::check(&self.filter, self.kind));
        if !wrong.is_empty() {
            return Err(Error::FieldsInvalid(wrong));
        }
        if !is_served(self.kind) {
            let kind = self.kind.as_str_name().trim_start_matches("PARSE_KIND_");
            return Err(Unserved::value("CreateParseTasks", "kind", kind).into());
        }
        Ok(())
    }
}

/// Whether tasks of this kind can be run.
pub fn is_served(kind: ParseKind) -> bool {
    matches!(kind, ParseKind::Members | ParseKind::MessageAuthors)
}

/// What users do with tasks.
#[derive(Debug, Clone)]
pub struct Tasks {
    db: Db,
    requests: Requests,
    clock: SharedClock,
    running: Arc<Running>,
}

impl Tasks {
    /// Over the service's database.
    pub fn new(db: Db, requests: Requests, clock: SharedClock, running: Arc<Running>) -> Self {
        Self { db, requests, clock, running }
    }

    /// Creates a task for each source, or none.
    pub async fn create<Q, R>(
        &self,
        who: &Identity,
        request: &Q,
        order: &Order,
        answer: impl Fn(&[Model]) -> R,
    ) -> Result<R, Error>
    where
        Q: Message + WithRequestId,
        R: Message + Default,
    {
        order.check()?;
        let now = self.clock.now();
        let tasks: Vec<Model> = order
            .sources
            .iter()
            .map(|source| Model {
                id: new_id(&*self.clock),
                workspace_id: who.workspace_id,
                user_id: who.user_id,
                source: clean(source.trim().to_owned()),
                kind: order.kind as i32,
                filter: order.filter.encode_to_vec(),
                speed: order.speed as i32,
                priority: order.priority as i32,
                state: State::Pending as i32,
                chat: None,
                cursor: None,
                read_to_end: false,
                total: None,
                read_count: 0,
                unique_count: 0,
                new_count: 0,
                media_count: 0,
                request_count: 0,
                result_count: 0,
                skipped: "{}".to_owned(),
                work_ms: 0,
                cap_reached: 0,
                waiting_reason: 0,
                waiting_until: None,
                waiting_detail: String::new(),
                failure_reason: String::new(),
                failure_detail: String::new(),
                claim_owner: None,
                claim_epoch: 0,
                claim_until: None,
                run_after: 0,
                strikes: 0,
                version: 1,
                created_at: now.millis(),
                started_at: None,
                ended_at: None,
                updated_at: now.millis(),
            })
            .collect();
        let tx = self.db.begin().await?;
        let slot = match self.requests.claim(&*tx, who, "CreateParseTasks", request).await? {
            Claim::Repeat(answer) => return Ok(answer),
            Claim::New(slot) => slot,
        };
        store::insert(&*tx, &tasks).await?;
        let answer = answer(&tasks);
        slot.answer(&*tx, &answer).await?;
        tx.commit().await?;
        self.running.wake();
        Ok(answer)
    }

    /// Makes an event happen to a task.
    pub async fn change<Q, R>(
        &self,
        who: &Identity,
        method: &'static str,
        request: &Q,
        id: Uuid,
        event: Event,
        answer: impl Fn(&Model) -> R,
    ) -> Result<R, Error>
    where
        Q: Message + WithRequestId,
        R: Message + Default,
    {
        let tx = self.db.begin().await?;
        let slot = match self.requests.claim(&*tx, who, method, request).await? {
            Claim::Repeat(answer) => return Ok(answer),
            Claim::New(slot) => slot,
        };
        let task = store::transition(&*tx, who.workspace_id, id, event, self.clock.now()).await?;
        let answer = answer(&task);
        slot.answer(&*tx, &answer).await?;
        tx.commit().await?;
        // Only after the commit: who looks now must see it.
        self.running.stop(id);
        self.running.wake();
        self.running.poke();
        Ok(answer)
    }

    /// Deletes a task.
    pub async fn delete<Q, R>(&self, who: &Identity, request: &Q, id: Uuid) -> Result<R, Error>
    where
        Q: Message + WithRequestId,
        R: Message + Default,
    {
        let tx = self.db.begin().await?;
        let slot = match self.requests.claim(&*tx, who, "DeleteParseTask", request).await? {
            Claim::Repeat(answer) => return Ok(answer),
            Claim::New(slot) => slot,
        };
        store::delete(&*tx, who.workspace_id, id).await?;
        let answer = R::default();
        slot.answer(&*tx, &answer).await?;
        tx.commit().await?;
        self.running.poke();
        Ok(answer)
    }

    /// A task of the caller's workspace.
    pub async fn get(&self, who: &Identity, id: Uuid) -> Result<Model, Error> {
        store::find(self.db.conn(), who.workspace_id, id).await
    }
}

impl Model {
    /// Whom to keep.
    pub fn parse_filter(&self) -> ParseFilter {
        // Written by this service; an empty filter is what an empty row means.
        ParseFilter::decode(self.filter.as_slice()).unwrap_or_default()
    }

    /// The chat behind the source, once known.
    pub fn chat(&self) -> Option<Chat> {
        self.chat.as_deref().and_then(|chat| Chat::decode(chat).ok())
    }

    /// Its state.
    pub fn task_state(&self) -> State {
        State::try_from(self.state).unwrap_or_default()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A task on which tests build.
    pub fn task() -> Model {
        Model {
            id: Uuid::from_u128(1),
            workspace_id: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            source: "@rustberlin".to_owned(),
            kind: ParseKind::Members as i32,
            filter: Vec::new(),
            speed: SpeedProfile::Medium as i32,
            priority: Priority::Normal as i32,
            state: State::Pending as i32,
            chat: None,
            cursor: None,
            read_to_end: false,
            total: None,
            read_count: 0,
            unique_count: 0,
            new_count: 0,
            media_count: 0,
            request_count: 0,
            result_count: 0,
            skipped: "{}".to_owned(),
            work_ms: 0,
            cap_reached: 0,
            waiting_reason: 0,
            waiting_until: None,
            waiting_detail: String::new(),
            failure_reason: String::new(),
            failure_detail: String::new(),
            claim_owner: None,
            claim_epoch: 0,
            claim_until: None,
            run_after: 0,
            strikes: 0,
            version: 1,
            created_at: 0,
            started_at: None,
            ended_at: None,
            updated_at: 0,
        }
    }

    fn order(kind: ParseKind, sources: &[&str]) -> Order {
        Order {
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
            kind,
            filter: ParseFilter::default(),
            speed: SpeedProfile::Medium,
            priority: Priority::Normal,
        }
    }

    #[test]
    fn every_bad_source_is_named() {
        let order = order(ParseKind::Members, &["@rustberlin", "not a chat", "t.me/+AbC", "https://example.com/x"]);
        let Err(Error::FieldsInvalid(wrong)) = order.check() else { panic!("it is refused") };
        let paths: Vec<&str> = wrong.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["sources[1]", "sources[3]"]);
    }

    #[test]
    fn kinds_that_are_not_served_say_so() {
        for kind in [ParseKind::Commenters, ParseKind::Reactors, ParseKind::Messages] {
            assert!(matches!(order(kind, &["@rustberlin"]).check(), Err(Error::NotImplemented(_))), "{kind:?}");
        }
        assert!(order(ParseKind::MessageAuthors, &["@rustberlin"]).check().is_ok());
    }
}
