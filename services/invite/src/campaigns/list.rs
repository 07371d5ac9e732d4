//! Serves `ListCampaigns`.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, Order as Direction, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Value,
};
use serde::{Deserialize, Serialize};
use service_kit::Time;
use service_kit::identity::Identity;
use service_kit::paging::Page;
use tgmesh_proto::invite::v1::list_campaigns_request::Order;
use tgmesh_proto::invite::v1::{ListCampaignsRequest, ListCampaignsResponse};
use uuid::Uuid;

use super::entity::{Column, Entity, Model};
use super::progress::Counts;
use super::{store, view};
use crate::app::App;
use crate::error::Error;
use crate::targets::store::contains;

/// Where a page begins: the value that the list is ordered by, and the id.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Key {
    Number(i64, Uuid),
    Text(String, Uuid),
}

/// By which column, and in which direction.
fn order(order: Order) -> (Column, Direction) {
    match order {
        Order::Unspecified | Order::CreateTime => (Column::CreatedAt, Direction::Desc),
        Order::UpdateTime => (Column::UpdatedAt, Direction::Desc),
        Order::Name => (Column::NameKey, Direction::Asc),
        // The contract numbers them from the most urgent.
        Order::Priority => (Column::Priority, Direction::Asc),
        Order::State => (Column::State, Direction::Asc),
        Order::Progress => (Column::Progress, Direction::Desc),
    }
}

fn key(column: Column, model: &Model) -> Key {
    match column {
        Column::UpdatedAt => Key::Number(model.updated_at, model.id),
        Column::NameKey => Key::Text(model.name_key.clone(), model.id),
        Column::Priority => Key::Number(model.priority.into(), model.id),
        Column::State => Key::Number(model.state.into(), model.id),
        Column::Progress => Key::Number(model.progress, model.id),
        _ => Key::Number(model.created_at, model.id),
    }
}

/// Serves `ListCampaigns`.
///
/// # Errors
/// `Token`, or when the database fails.
pub async fn list(app: &App, who: &Identity, request: &ListCampaignsRequest) -> Result<ListCampaignsResponse, Error> {
    use prost::Message as _;
    let (column, direction) = order(request.order());
    let mut filter = request.clone();
    (filter.page_size, filter.page_token) = (0, String::new());
    let binding = (who.workspace_id, filter.encode_to_vec());
    let page: Page<Key> = app.tokens.page("ListCampaigns", &binding, request.page_size, &request.page_token)?;

    let mut query = Entity::find()
        .filter(Column::WorkspaceId.eq(who.workspace_id))
        .order_by(column, direction.clone())
        .order_by(Column::Id, direction.clone())
        .limit(page.size + 1);
    for (column, values) in
        [(Column::State, &request.states), (Column::Kind, &request.kinds), (Column::Priority, &request.priorities)]
    {
        if !values.is_empty() {
            query = query.filter(column.is_in(values.iter().copied()));
        }
    }
    if let Some(since) = &request.created_since_time {
        query = query.filter(Column::CreatedAt.gte(Time::from_proto(since).millis()));
    }
    if let Some(until) = &request.created_until_time {
        query = query.filter(Column::CreatedAt.lt(Time::from_proto(until).millis()));
    }
    if !request.search.is_empty() {
        query = query.filter(Column::NameKey.like(contains(&request.search.to_lowercase())));
    }
    if let Some(after) = &page.after {
        let (value, id): (Value, Uuid) = match after {
            Key::Number(number, id) => ((*number).into(), *id),
            Key::Text(text, id) => (text.as_str().into(), *id),
        };
        let beyond = match direction {
            Direction::Desc => Condition::any()
                .add(column.lt(value.clone()))
                .add(Condition::all().add(column.eq(value)).add(Column::Id.lt(id))),
            _ => Condition::any()
                .add(column.gt(value.clone()))
                .add(Condition::all().add(column.eq(value)).add(Column::Id.gt(id))),
        };
        query = query.filter(beyond);
    }
    let found = query.all(app.db.conn()).await?;
    let (found, next_page_token) = app.tokens.finish(&page, found, |model| key(column, model));
    let ids: Vec<Uuid> = found.iter().map(|model| model.id).collect();
    let counts = store::counts(app.db.conn(), &ids).await?;
    let none = Counts::default();
    let campaigns = found.iter().map(|model| view(model, counts.get(&model.id).unwrap_or(&none))).collect();
    Ok(ListCampaignsResponse { campaigns, next_page_token })
}
