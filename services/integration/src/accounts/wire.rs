//! Accounts as the contract writes them.

use service_kit::Time;
use service_kit::address::mask_phone;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::lease::v1::Purpose;

use super::state;
use super::store::AccountRow;
use crate::connections::LineState;
use crate::entity::{account_event, restriction};

/// An account as the contract writes it.
pub fn account(row: &AccountRow, line: LineState, now: Time) -> pb::Account {
    let derived = state::derive(&row.account, &row.restrictions, now);
    let account = &row.account;
    pb::Account {
        id: account.id.to_string(),
        telegram_user_id: account.telegram_user_id,
        kind: account.kind,
        label: account.label.clone(),
        purposes: purposes(account.purposes).into_iter().map(Into::into).collect(),
        username: account.username.clone(),
        first_name: account.first_name.clone(),
        last_name: account.last_name.clone(),
        phone: mask_phone(&account.phone),
        premium: account.premium,
        state: derived.state.into(),
        state_detail: derived.detail,
        state_end_time: derived.until.map(Time::to_proto),
        session_state: account.session_state,
        restrictions: row.restrictions.iter().filter(|held| state::is_in_force(held, now)).map(restriction).collect(),
        connection_state: match line {
            LineState::Idle => pb::account::ConnectionState::Idle,
            LineState::Connecting => pb::account::ConnectionState::Connecting,
            LineState::Connected => pb::account::ConnectionState::Connected,
            LineState::Failing => pb::account::ConnectionState::Failing,
        }
        .into(),
        create_time: Some(Time::from_millis(account.created_at).to_proto()),
        update_time: Some(Time::from_millis(account.updated_at).to_proto()),
        check_time: account.checked_at.map(|at| Time::from_millis(at).to_proto()),
        etag: account.revision.to_string(),
    }
}

/// A restriction as the contract writes it.
pub fn restriction(held: &restriction::Model) -> pb::Restriction {
    pb::Restriction {
        cause: held.cause,
        actions: state::actions(held.actions).into_iter().map(Into::into).collect(),
        begin_time: Some(Time::from_millis(held.begin_at).to_proto()),
        end_time: held.end_at.map(|at| Time::from_millis(at).to_proto()),
        telegram_error: held.telegram_error.clone(),
        method: held.method.clone(),
    }
}

/// An entry of the journal as the contract writes it.
pub fn event(event: &account_event::Model, held: Option<&restriction::Model>) -> pb::AccountEvent {
    pb::AccountEvent {
        id: event.id.to_string(),
        event_time: Some(Time::from_millis(event.event_at).to_proto()),
        kind: event.kind,
        telegram_error: event.telegram_error.clone(),
        call: event.call.clone(),
        restriction: held.map(restriction),
        chat_id: event.chat_id,
        actor: event.actor.clone(),
    }
}

/// The purposes behind a bit mask.
pub fn purposes(mask: i32) -> Vec<Purpose> {
    (1..=3).filter(|bit| mask & (1 << bit) != 0).filter_map(|bit| Purpose::try_from(bit).ok()).collect()
}

/// The bit mask of some purposes.
pub fn purpose_mask(purposes: impl IntoIterator<Item = Purpose>) -> i32 {
    purposes.into_iter().fold(0, |mask, purpose| mask | 1 << (purpose as i32))
}
