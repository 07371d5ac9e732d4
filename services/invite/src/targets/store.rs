//! The door to the table `targets`, and to the attempts at them.

use std::collections::HashSet;

use sea_orm::sea_query::{OnConflict, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, sea_query::LikeExpr,
};
use service_kit::paging::Page;
use tgmesh_proto::invite::v1::target::State;
use uuid::Uuid;

use super::Person;
use super::entity::{ActiveModel, Column, Entity, Model, execution, peer};
use crate::error::Error;

/// Rows that become targets of a campaign.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The campaign, visible or not.
    pub campaign_id: Uuid,
    /// Owner.
    pub workspace_id: Uuid,
    /// Where they come from.
    pub source: &'a str,
    /// The place of the first.
    pub seq: i64,
    /// Each with the id of its row: the member of the list.
    pub people: Vec<(Uuid, Person)>,
}

/// Writes a batch of people who are new to the campaign.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &impl ConnectionTrait, batch: Batch<'_>) -> Result<(), DbErr> {
    let (mut rows, mut peers) = (Vec::new(), Vec::new());
    for ((id, person), seq) in batch.people.into_iter().zip(batch.seq..) {
        let Some(key) = person.key() else { continue };
        let open = person.is_open();
        peers.extend(person.peers.into_iter().map(|(account_id, sealed)| (id, account_id, sealed)));
        rows.push(ActiveModel {
            id: Set(id),
            campaign_id: Set(batch.campaign_id),
            workspace_id: Set(batch.workspace_id),
            seq: Set(seq),
            person_key: Set(key),
            username: Set(person.username),
            phone: Set(person.phone),
            user_id: Set(person.user_id),
            display_name: Set(person.display_name),
            first_name: Set(person.first_name),
            last_name: Set(person.last_name),
            source: Set(batch.source.to_owned()),
            open: Set(open),
            state: Set(State::Pending as i32),
            outcome: Set(0),
            telegram_error: Set(String::new()),
            attempts: Set(0),
            not_before_at: Set(0),
            owner: Set(None),
            account_id: Set(None),
            attempt_id: Set(None),
            done_at: Set(None),
        });
    }
    if rows.is_empty() {
        return Ok(());
    }
    Entity::insert_many(rows).exec_without_returning(conn).await?;
    insert_peers(conn, batch.campaign_id, peers).await
}

async fn insert_peers(
    conn: &impl ConnectionTrait,
    campaign_id: Uuid,
    peers: Vec<(Uuid, Uuid, Vec<u8>)>,
) -> Result<(), DbErr> {
    let mut seen = HashSet::new();
    let rows: Vec<peer::ActiveModel> = peers
        .into_iter()
        .filter(|(target_id, account_id, _)| seen.insert((*target_id, *account_id)))
        .map(|(target_id, account_id, sealed)| peer::ActiveModel {
            target_id: Set(target_id),
            account_id: Set(account_id),
            campaign_id: Set(campaign_id),
            sealed: Set(sealed),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let conflict = OnConflict::columns([peer::Column::TargetId, peer::Column::AccountId]).do_nothing().to_owned();
    match peer::Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(conn).await {
        Ok(_) | Err(DbErr::RecordNotInserted) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn find_staged(conn: &impl ConnectionTrait, campaign_id: Uuid, id: Uuid) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).filter(Column::CampaignId.eq(campaign_id)).one(conn).await
}

/// Adds to a target of an import under way what another row knows of him.
///
/// # Errors
/// When the database fails.
pub async fn learn(conn: &impl ConnectionTrait, campaign_id: Uuid, id: Uuid, person: Person) -> Result<(), DbErr> {
    // Whom nobody may contact is known, and no target.
    let Some(target) = find_staged(conn, campaign_id, id).await? else { return Ok(()) };
    let mut known = person_of(&target);
    known.learn(person);
    let open = known.is_open();
    let peers = known.peers.into_iter().map(|(account_id, sealed)| (id, account_id, sealed)).collect();
    let mut target = target.into_active_model();
    target.username = Set(known.username);
    target.phone = Set(known.phone);
    target.user_id = Set(known.user_id);
    target.display_name = Set(known.display_name);
    target.first_name = Set(known.first_name);
    target.last_name = Set(known.last_name);
    target.open = Set(open);
    Entity::update(target).exec(conn).await?;
    insert_peers(conn, campaign_id, peers).await
}

/// Makes two targets of an import under way one. Answers how many went.
///
/// # Errors
/// When the database fails.
pub async fn merge(conn: &impl ConnectionTrait, campaign_id: Uuid, gone: Uuid, into: Uuid) -> Result<i64, DbErr> {
    let Some(target) = find_staged(conn, campaign_id, gone).await? else { return Ok(0) };
    let mut person = person_of(&target);
    let peers = peer::Entity::find().filter(peer::Column::TargetId.eq(gone)).all(conn).await?;
    person.peers = peers.into_iter().map(|peer| (peer.account_id, peer.sealed)).collect();
    let removed = remove(conn, campaign_id, gone).await?;
    learn(conn, campaign_id, into, person).await?;
    Ok(removed)
}

/// Takes a target out of an import under way. Answers how many went.
///
/// # Errors
/// When the database fails.
pub async fn remove(conn: &impl ConnectionTrait, campaign_id: Uuid, id: Uuid) -> Result<i64, DbErr> {
    let peers = peer::Entity::delete_many().filter(peer::Column::CampaignId.eq(campaign_id));
    peers.filter(peer::Column::TargetId.eq(id)).exec(conn).await?;
    let target = Entity::delete_many().filter(Column::CampaignId.eq(campaign_id)).filter(Column::Id.eq(id));
    Ok(i64::try_from(target.exec(conn).await?.rows_affected).unwrap_or(0))
}

/// The person behind a target.
pub fn person_of(target: &Model) -> Person {
    Person {
        username: target.username.clone(),
        phone: target.phone.clone(),
        user_id: target.user_id,
        display_name: target.display_name.clone(),
        first_name: target.first_name.clone(),
        last_name: target.last_name.clone(),
        peers: Vec::new(),
    }
}

/// The workspace's target of this id, in this campaign.
///
/// # Errors
/// `TargetNotFound`, also for what belongs elsewhere.
pub async fn find(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
    id: Uuid,
) -> Result<Model, Error> {
    Entity::find_by_id(id)
        .filter(Column::WorkspaceId.eq(workspace_id))
        .filter(Column::CampaignId.eq(campaign_id))
        .one(conn)
        .await?
        .ok_or(Error::TargetNotFound)
}

/// Which targets a list shows.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only these states; all when empty.
    pub states: Vec<i32>,
    /// Only these outcomes; all when empty.
    pub outcomes: Vec<i32>,
    /// Beginning of name, username or phone number.
    pub search: String,
}

/// A page of a campaign's targets, in their order. The campaign was found
/// through its door; the workspace is asked for again all the same.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
    filter: &Filter,
    page: &Page<i64>,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find()
        .filter(Column::WorkspaceId.eq(workspace_id))
        .filter(Column::CampaignId.eq(campaign_id))
        .order_by_asc(Column::Seq)
        .limit(page.size + 1);
    if !filter.states.is_empty() {
        query = query.filter(Column::State.is_in(filter.states.iter().copied()));
    }
    if !filter.outcomes.is_empty() {
        query = query
            .filter(Column::State.eq(State::Done as i32))
            .filter(Column::Outcome.is_in(filter.outcomes.iter().copied()));
    }
    let search = filter.search.trim();
    if !search.is_empty() {
        query = query.filter(
            Condition::any()
                .add(Column::DisplayName.like(starts_with(search)))
                .add(Column::Username.like(starts_with(&search.trim_start_matches('@').to_lowercase())))
                .add(Column::Phone.like(starts_with(search))),
        );
    }
    if let Some(after) = page.after {
        query = query.filter(Column::Seq.gt(after));
    }
    query.all(conn).await
}

/// A LIKE pattern for texts that begin with this one, whatever is in it.
pub fn starts_with(text: &str) -> LikeExpr {
    LikeExpr::new(format!("{}%", escape(text))).escape('\\')
}

/// A LIKE pattern for texts that contain this one, whatever is in it.
pub fn contains(text: &str) -> LikeExpr {
    LikeExpr::new(format!("%{}%", escape(text))).escape('\\')
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // PostgreSQL refuses a NUL in a text, and no row has one.
    for c in text.chars().filter(|c| *c != '\0') {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The campaign, if it is the workspace's: attempts have no owner of their own.
fn owned(workspace_id: Uuid, campaign_id: Uuid) -> SelectStatement {
    use crate::campaigns::entity::{Column, Entity};
    let campaign = Entity::find_by_id(campaign_id).filter(Column::WorkspaceId.eq(workspace_id));
    campaign.select_only().column(Column::Id).into_query()
}

/// A page of a campaign's attempts, newest first.
///
/// # Errors
/// When the database fails.
pub async fn executions(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
    target_id: Option<Uuid>,
    page: &Page<Uuid>,
) -> Result<Vec<execution::Model>, DbErr> {
    let mut query = execution::Entity::find()
        .filter(execution::Column::CampaignId.in_subquery(owned(workspace_id, campaign_id)))
        .order_by_desc(execution::Column::Id)
        .limit(page.size + 1);
    if let Some(target_id) = target_id {
        query = query.filter(execution::Column::TargetId.eq(target_id));
    }
    if let Some(after) = page.after {
        query = query.filter(execution::Column::Id.lt(after));
    }
    query.all(conn).await
}

/// The attempts that ended after a version of the campaign: the newest, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn ended_since(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    campaign_id: Uuid,
    version: i64,
    most: u64,
) -> Result<Vec<execution::Model>, DbErr> {
    let mut found = execution::Entity::find()
        .filter(execution::Column::CampaignId.in_subquery(owned(workspace_id, campaign_id)))
        .filter(execution::Column::Version.gt(version))
        .order_by_desc(execution::Column::Version)
        .limit(most)
        .all(conn)
        .await?;
    found.reverse();
    Ok(found)
}
