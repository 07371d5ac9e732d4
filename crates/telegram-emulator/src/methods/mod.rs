//! The API's methods: one file per namespace, each method a small implementation of [`Method`].

mod account;
mod auth;
mod channels;
mod channels_members;
mod contacts;
mod context;
mod events;
mod help;
mod messages;
mod messages_chats;
mod messages_read;
mod page;
mod peers;
mod render;
mod tl;
mod updates;
mod users;
mod view;

use grammers_tl_types::{Deserializable, Identifiable, Serializable, functions as f, name_for_id};

pub(crate) use context::Context;
pub(crate) use events::{Event, render_events};

use crate::error::RpcError;
use crate::recorder::Subject;
use crate::wire::WireError;
use crate::wire::request::{Field, constructor, decode as decode_request};

/// The bytes of an answer, or the error in its place.
pub(crate) type Answer = Result<Vec<u8>, RpcError>;

/// A method of the API.
pub(crate) trait Method: Identifiable + Deserializable + Send + 'static {
    /// Where clients may send an `InputPeer` in place of what the schema says.
    const FIELDS: &'static [Field] = &[];
    /// Whether only a key with an account may call it.
    const NEEDS_LOGIN: bool = true;

    /// What the call is about, for faults and the flight recorder.
    fn subject(&self) -> Subject {
        Subject::default()
    }

    fn run(self, context: &mut Context<'_>) -> Answer;
}

/// A decoded call of any method.
pub(crate) trait Call: Send {
    fn subject(&self) -> Subject;
    fn needs_login(&self) -> bool;
    fn run(self: Box<Self>, context: &mut Context<'_>) -> Answer;
}

impl<M: Method> Call for M {
    fn subject(&self) -> Subject {
        Method::subject(self)
    }

    fn needs_login(&self) -> bool {
        M::NEEDS_LOGIN
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Answer {
        Method::run(*self, context)
    }
}

/// An answer made of a TL object.
fn ok(object: impl Serializable) -> Answer {
    Ok(object.to_bytes())
}

macro_rules! methods {
    ($($method:ty,)+) => {
        fn decode_known(id: u32, body: &[u8]) -> Option<Result<Box<dyn Call>, WireError>> {
            match id {
                $(<$method as Identifiable>::CONSTRUCTOR_ID => Some(
                    decode_request::<$method>(body, <$method as Method>::FIELDS)
                        .map(|request| Box::new(request) as Box<dyn Call>),
                ),)+
                _ => None,
            }
        }
    };
}

methods! {
    f::account::GetPassword,
    f::account::UpdateStatus,
    f::auth::AcceptLoginToken,
    f::auth::CancelCode,
    f::auth::CheckPassword,
    f::auth::ExportAuthorization,
    f::auth::ExportLoginToken,
    f::auth::ImportAuthorization,
    f::auth::ImportBotAuthorization,
    f::auth::ImportLoginToken,
    f::auth::LogOut,
    f::auth::ResendCode,
    f::auth::SendCode,
    f::auth::SignIn,
    f::channels::CheckSearchPostsFlood,
    f::channels::GetChannelRecommendations,
    f::channels::GetChannels,
    f::channels::GetFullChannel,
    f::channels::GetMessages,
    f::channels::GetParticipant,
    f::channels::GetParticipants,
    f::channels::InviteToChannel,
    f::channels::JoinChannel,
    f::channels::LeaveChannel,
    f::channels::ReadHistory,
    f::channels::SearchPosts,
    f::contacts::AddContact,
    f::contacts::Block,
    f::contacts::DeleteContacts,
    f::contacts::GetContacts,
    f::contacts::ImportContacts,
    f::contacts::ResolvePhone,
    f::contacts::ResolveUsername,
    f::contacts::Search,
    f::contacts::Unblock,
    f::help::GetAppConfig,
    f::help::GetConfig,
    f::help::GetNearestDc,
    f::messages::AddChatUser,
    f::messages::CheckChatInvite,
    f::messages::DeleteChatUser,
    f::messages::ExportChatInvite,
    f::messages::GetChats,
    f::messages::GetDialogs,
    f::messages::GetDiscussionMessage,
    f::messages::GetFullChat,
    f::messages::GetHistory,
    f::messages::GetMessageReactionsList,
    f::messages::GetMessages,
    f::messages::GetPeerDialogs,
    f::messages::GetReplies,
    f::messages::ImportChatInvite,
    f::messages::ReadHistory,
    f::messages::Search,
    f::messages::SearchGlobal,
    f::messages::SendMessage,
    f::messages::SendReaction,
    f::updates::GetChannelDifference,
    f::updates::GetDifference,
    f::updates::GetState,
    f::users::GetFullUser,
    f::users::GetUsers,
}

/// Name of what no layer of the emulator knows.
const UNKNOWN: &str = "unknown";

/// A request as far as it could be understood.
pub(crate) struct Decoded {
    pub(crate) name: &'static str,
    pub(crate) call: Result<Box<dyn Call>, RpcError>,
}

/// Decodes a request without wrappers.
///
/// Three ways to fail are told apart, in the log with the constructor: a method of the API that is not emulated, an
/// id that is no method at all, and arguments that do not fit a known method.
pub(crate) fn decode(body: &[u8]) -> Decoded {
    let id = constructor(body).unwrap_or_default();
    let name = name_for_id(id);
    match decode_known(id, body) {
        Some(Ok(call)) => Decoded { name, call: Ok(call) },
        Some(Err(error)) => {
            tracing::warn!(constructor = format_args!("{id:08x}"), method = name, %error, "undecodable arguments");
            Decoded { name, call: Err(RpcError::INPUT_FETCH_ERROR) }
        }
        None if name.contains('.') => {
            tracing::warn!(constructor = format_args!("{id:08x}"), method = name, "a method that is not emulated");
            Decoded { name, call: Err(RpcError::METHOD_NOT_EMULATED) }
        }
        None => {
            tracing::warn!(constructor = format_args!("{id:08x}"), "an unknown constructor in place of a method");
            Decoded { name: UNKNOWN, call: Err(RpcError::INPUT_METHOD_INVALID) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(body: &[u8]) -> RpcError {
        decode(body).call.err().unwrap()
    }

    #[test]
    fn three_kinds_of_failure_are_told_apart() {
        assert_eq!(error_of(&f::messages::GetDialogFilters {}.to_bytes()), RpcError::METHOD_NOT_EMULATED);
        assert_eq!(error_of(&[1, 2, 3, 4]), RpcError::INPUT_METHOD_INVALID);
        assert_eq!(error_of(&[]), RpcError::INPUT_METHOD_INVALID);
        assert_eq!(error_of(&f::users::GetUsers::CONSTRUCTOR_ID.to_bytes()), RpcError::INPUT_FETCH_ERROR);
        assert_eq!(decode(&f::help::GetConfig {}.to_bytes()).name, "help.getConfig");
    }

    #[test]
    fn noise_behind_any_method_is_no_panic() {
        let ids = [
            f::messages::SendMessage::CONSTRUCTOR_ID,
            f::messages::Search::CONSTRUCTOR_ID,
            f::channels::GetParticipants::CONSTRUCTOR_ID,
            f::contacts::ImportContacts::CONSTRUCTOR_ID,
            f::auth::SendCode::CONSTRUCTOR_ID,
        ];
        for round in 0..3000usize {
            let noise: [u8; 128] = crate::wire::crypto::random();
            let mut body = ids[round % ids.len()].to_bytes();
            body.extend(&noise[..round % 128]);
            let _ = decode(&body);
        }
    }
}
