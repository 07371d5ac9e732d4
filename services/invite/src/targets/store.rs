//! The door to the table `targets`, and to the attempts at them.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, sea_query::LikeExpr,
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
    /// Each with an id for its row.
    pub people: Vec<(Uuid, Person)>,
}

/// Writes a batch; answers how many became targets. A person who is one
/// already stays one, and keeps the references that are new.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &impl ConnectionTrait, batch: Batch<'_>) -> Result<u64, DbErr> {
    let mut seen: HashMap<String, Uuid> = HashMap::new();
    let (mut rows, mut peers) = (Vec::new(), Vec::new());
    for (id, person) in batch.people {
        let Some(key) = person.key() else { continue };
        let first = *seen.entry(key.clone()).or_insert(id);
        for (account_id, sealed) in &person.peers {
            peers.push((key.clone(), *account_id, sealed.clone()));
        }
        if first != id {
            continue;
        }
        let open = person.is_open();
        rows.push(ActiveModel {
            id: Set(id),
            campaign_id: Set(batch.campaign_id),
            workspace_id: Set(batch.workspace_id),
            seq: Set(batch.seq + i64::try_from(rows.len()).unwrap_or(i64::MAX)),
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
        return Ok(0);
    }
    let wanted = rows.len() as u64;
    let conflict = OnConflict::columns([Column::CampaignId, Column::PersonKey]).do_nothing().to_owned();
    let inserted = match Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(conn).await {
        Ok(inserted) => inserted,
        Err(DbErr::RecordNotInserted) => 0,
        Err(error) => return Err(error),
    };
    if !peers.is_empty() {
        if inserted < wanted {
            // Some are targets of an earlier batch: their references go to those.
            seen = ids(conn, batch.campaign_id, seen.into_keys().collect()).await?;
        }
        insert_peers(conn, batch.campaign_id, &seen, peers).await?;
    }
    Ok(inserted)
}

async fn ids(
    conn: &impl ConnectionTrait,
    campaign_id: Uuid,
    keys: Vec<String>,
) -> Result<HashMap<String, Uuid>, DbErr> {
    let found: Vec<(String, Uuid)> = Entity::find()
        .select_only()
        .column(Column::PersonKey)
        .column(Column::Id)
        .filter(Column::CampaignId.eq(campaign_id))
        .filter(Column::PersonKey.is_in(keys))
        .into_tuple()
        .all(conn)
        .await?;
    Ok(found.into_iter().collect())
}

async fn insert_peers(
    conn: &impl ConnectionTrait,
    campaign_id: Uuid,
    targets: &HashMap<String, Uuid>,
    peers: Vec<(String, Uuid, Vec<u8>)>,
) -> Result<(), DbErr> {
    let mut seen = HashSet::new();
    let rows: Vec<peer::ActiveModel> = peers
        .into_iter()
        .filter_map(|(key, account_id, sealed)| {
            let target_id = *targets.get(&key)?;
            let row = peer::ActiveModel {
                target_id: Set(target_id),
                account_id: Set(account_id),
                campaign_id: Set(campaign_id),
                sealed: Set(sealed),
            };
            seen.insert((target_id, account_id)).then_some(row)
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

/// A page of a campaign's attempts, newest first.
///
/// # Errors
/// When the database fails.
pub async fn executions(
    conn: &impl ConnectionTrait,
    campaign_id: Uuid,
    target_id: Option<Uuid>,
    page: &Page<Uuid>,
) -> Result<Vec<execution::Model>, DbErr> {
    let mut query = execution::Entity::find()
        .filter(execution::Column::CampaignId.eq(campaign_id))
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
    campaign_id: Uuid,
    version: i64,
    most: u64,
) -> Result<Vec<execution::Model>, DbErr> {
    let mut found = execution::Entity::find()
        .filter(execution::Column::CampaignId.eq(campaign_id))
        .filter(execution::Column::Version.gt(version))
        .order_by_desc(execution::Column::Version)
        .limit(most)
        .all(conn)
        .await?;
    found.reverse();
    Ok(found)
}
