//! API calls and what they did.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::SystemTime;

use super::Summary;

/// What a call did to the world, or noted about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The user was made a member of the chat.
    Invited { chat: i64, user: i64 },
    /// The user was a member of the chat before.
    AlreadyMember { chat: i64, user: i64 },
    /// The user was left out and reported among `missing_invitees`.
    NotInvited { chat: i64, user: i64, premium_would_allow: bool, premium_required: bool },
    /// The calling account became a member of the chat.
    Joined { chat: i64 },
    /// The calling account asked to become a member of the chat.
    JoinRequested { chat: i64 },
    /// The calling account left the chat.
    Left { chat: i64 },
    /// A message was sent to a user.
    MessageSentToUser { user: i64, message: i32 },
    /// A message was sent to a chat.
    MessageSentToChat { chat: i64, message: i32 },
    /// The user was made a contact of the calling account.
    ContactAdded { user: i64 },
    /// An invite link to the chat was made or shown.
    InviteLinkExported { chat: i64 },
    /// The key now belongs to the user.
    SignedIn { user: i64 },
    /// The key belongs to nobody any more.
    SignedOut { user: i64 },
}

impl Effect {
    /// The effect's name in summaries.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invited { .. } => "invited",
            Self::AlreadyMember { .. } => "already_member",
            Self::NotInvited { .. } => "not_invited",
            Self::Joined { .. } => "joined",
            Self::JoinRequested { .. } => "join_requested",
            Self::Left { .. } => "left",
            Self::MessageSentToUser { .. } => "message_sent_to_user",
            Self::MessageSentToChat { .. } => "message_sent_to_chat",
            Self::ContactAdded { .. } => "contact_added",
            Self::InviteLinkExported { .. } => "invite_link_exported",
            Self::SignedIn { .. } => "signed_in",
            Self::SignedOut { .. } => "signed_out",
        }
    }
}

/// What a call is about, as far as its arguments say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Chat, group or channel addressed.
    pub chat: Option<i64>,
    /// Users addressed.
    pub users: Vec<i64>,
    /// The caller's random id for a message.
    pub random_id: Option<i64>,
}

/// How far a call has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Arrived; being executed, delayed or held.
    Pending,
    /// The answer was handed to the socket.
    Answered,
    /// The connection ended, or a fault was injected, before the answer went out. It may have had its effect.
    Unanswered,
}

/// One API call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Number in order of arrival, from 1. Zero before it is recorded.
    pub number: u64,
    /// When it arrived.
    pub requested: SystemTime,
    /// When its answer was handed to the socket.
    pub answered: Option<SystemTime>,
    /// How far it has got.
    pub state: CallState,
    /// The account of the key, as a user id. For a login, the account that it led to.
    pub account: Option<i64>,
    /// The low 64 bits of the key's hash.
    pub auth_key_id: i64,
    /// Number of the connection.
    pub connection: u64,
    /// Data centre.
    pub dc: i32,
    /// `channels.inviteToChannel` and the like.
    pub method: &'static str,
    /// What it was about.
    pub subject: Subject,
    /// What it did.
    pub effects: Vec<Effect>,
    /// Name of the error that it was answered with.
    pub error: Option<String>,
}

/// Which calls to read.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Of this account only.
    pub account: Option<i64>,
    /// Of this method only.
    pub method: Option<String>,
    /// Only those that had an effect.
    pub with_effect: bool,
}

impl CallFilter {
    fn takes(&self, call: &Call) -> bool {
        self.account.is_none_or(|account| call.account == Some(account))
            && self.method.as_deref().is_none_or(|method| method == call.method)
            && !(self.with_effect && call.effects.is_empty())
    }
}

/// The store of calls.
#[derive(Debug)]
pub(super) struct Calls {
    limit: usize,
    begun: u64,
    /// Not finished, by number.
    pending: BTreeMap<u64, Call>,
    /// Finished, by the position in which they finished, from 1.
    finished: BTreeMap<u64, Call>,
    position: u64,
    /// Positions of finished calls without an effect, oldest first: the ones to be dropped.
    droppable: VecDeque<u64>,
    dropped: u64,
    counts: Summary,
    invited: HashMap<(i64, i64), u64>,
}

impl Calls {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            begun: 0,
            pending: BTreeMap::new(),
            finished: BTreeMap::new(),
            position: 0,
            droppable: VecDeque::new(),
            dropped: 0,
            counts: Summary::default(),
            invited: HashMap::new(),
        }
    }

    pub(super) fn begin(&mut self, mut call: Call) -> u64 {
        self.begun += 1;
        call.number = self.begun;
        *self.counts.calls_by_account.entry(call.account.unwrap_or(0)).or_default() += 1;
        *self.counts.calls_by_method.entry(call.method.to_owned()).or_default() += 1;
        self.pending.insert(self.begun, call);
        self.begun
    }

    pub(super) fn executed(&mut self, number: u64, effects: Vec<Effect>, error: Option<String>, account: Option<i64>) {
        let Some(call) = self.pending.get_mut(&number) else { return };
        for effect in &effects {
            *self.counts.effects.entry(effect.kind()).or_default() += 1;
            if let Effect::Invited { chat, user } = effect {
                *self.invited.entry((*chat, *user)).or_default() += 1;
            }
        }
        if let Some(error) = &error {
            *self.counts.errors.entry(error.clone()).or_default() += 1;
        }
        call.account = call.account.or(account);
        call.effects.extend(effects);
        call.error = error;
    }

    pub(super) fn finish(&mut self, number: u64, state: CallState, at: Option<SystemTime>) {
        let Some(mut call) = self.pending.remove(&number) else { return };
        call.state = state;
        call.answered = at;
        self.position += 1;
        if call.effects.is_empty() {
            self.droppable.push_back(self.position);
        }
        self.finished.insert(self.position, call);
        while self.finished.len() > self.limit {
            let Some(oldest) = self.droppable.pop_front() else { break };
            self.finished.remove(&oldest);
            self.dropped += 1;
        }
    }

    pub(super) fn list(&self, filter: &CallFilter, after: u64, limit: usize) -> Vec<Call> {
        let mut calls: Vec<&Call> = self
            .finished
            .values()
            .chain(self.pending.values())
            .filter(|call| call.number > after && filter.takes(call))
            .collect();
        calls.sort_by_key(|call| call.number);
        calls.into_iter().take(limit).cloned().collect()
    }

    pub(super) fn finished_after(&self, filter: &CallFilter, after: u64, limit: usize) -> (Vec<Call>, u64) {
        let mut next = after;
        let mut calls = Vec::new();
        for (position, call) in self.finished.range(after.saturating_add(1)..) {
            if calls.len() == limit {
                break;
            }
            next = *position;
            if filter.takes(call) {
                calls.push(call.clone());
            }
        }
        (calls, next)
    }

    pub(super) fn summary(&self) -> Summary {
        let mut summary = self.counts.clone();
        summary.calls = self.begun;
        summary.dropped_calls = self.dropped;
        summary.invited_more_than_once = self
            .invited
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|((chat, user), times)| (*chat, *user, *times))
            .collect();
        summary.invited_more_than_once.sort_unstable();
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(account: i64, method: &'static str) -> Call {
        Call {
            number: 0,
            requested: SystemTime::UNIX_EPOCH,
            answered: None,
            state: CallState::Pending,
            account: Some(account),
            auth_key_id: 1,
            connection: 1,
            dc: 2,
            method,
            subject: Subject::default(),
            effects: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn reads_are_dropped_first_and_effects_never() {
        let mut calls = Calls::new(10);
        for round in 0..100 {
            let number = calls.begin(call(7, "channels.inviteToChannel"));
            if round % 5 == 0 {
                calls.executed(number, vec![Effect::Invited { chat: 1, user: round }], None, None);
            }
            calls.finish(number, CallState::Answered, None);
        }
        let kept = calls.list(&CallFilter::default(), 0, usize::MAX);
        assert_eq!(kept.iter().filter(|call| !call.effects.is_empty()).count(), 20);
        assert_eq!(kept.len(), 20, "every read gave way");
        let summary = calls.summary();
        assert_eq!((summary.calls, summary.dropped_calls), (100, 80));
        assert_eq!(summary.effects["invited"], 20);
    }

    #[test]
    fn twice_invited_users_are_named() {
        let mut calls = Calls::new(100);
        for user in [1, 2, 1] {
            let number = calls.begin(call(7, "channels.inviteToChannel"));
            calls.executed(number, vec![Effect::Invited { chat: 5, user }], None, None);
            calls.finish(number, CallState::Unanswered, None);
        }
        assert_eq!(calls.summary().invited_more_than_once, [(5, 1, 2)]);
    }

    #[test]
    fn a_stream_sees_each_call_once_when_it_is_finished() {
        let mut calls = Calls::new(100);
        let (first, second) = (calls.begin(call(1, "a")), calls.begin(call(2, "b")));
        calls.finish(second, CallState::Answered, None);
        let (seen, position) = calls.finished_after(&CallFilter::default(), 0, 10);
        assert_eq!(seen.iter().map(|call| call.number).collect::<Vec<_>>(), [second]);
        calls.finish(first, CallState::Answered, None);
        let (seen, _) = calls.finished_after(&CallFilter::default(), position, 10);
        assert_eq!(seen.iter().map(|call| call.number).collect::<Vec<_>>(), [first]);
        let only = CallFilter { account: Some(2), ..CallFilter::default() };
        assert_eq!(calls.list(&only, 0, 10).len(), 1);
    }
}
