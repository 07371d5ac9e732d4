//! From bytes to a typed request, under bounds.
//!
//! Two things a generated decoder does not do: it follows nesting as deep as the bytes ask (a stack overflow ends
//! the whole process), and it refuses `InputPeer` where the schema says `InputUser` or `InputChannel`, although
//! Pyrogram and kurigram send exactly that and live off real servers taking it.

use grammers_tl_types::{Cursor, Deserializable, Identifiable, deserialize, functions as f};

use super::WireError;
use super::message::{GZIP_PACKED, gunzip};
use crate::error::RpcError;

/// The layers whose types the emulator speaks: they differ in nothing that it sends.
pub(crate) const LAYERS: std::ops::RangeInclusive<i32> = 229..=grammers_tl_types::LAYER;

/// Constructors of recursive types that a request may carry: `InputPeer…FromMessage`, `JSONValue`, `RichText`,
/// `PageBlock` and its lists. Counted per request, as nesting cannot be deeper than there are constructors.
const RECURSIVE: [u32; 48] = [
    0xa87b_0a1c,
    0xbd2a_0840,
    0x1da4_48e2,
    0x5b93_4f9d,
    0xc0de_1bd9,
    0xf744_4763,
    0x99c1_d49d,
    0xe4e8_8011,
    0x39f2_3300,
    0xf259_a80b,
    0x65a0_fa4d,
    0x031f_9590,
    0x1fd6_f6c1,
    0x7676_8bed,
    0x0e6e_47c4,
    0x63ca_67aa,
    0x8ff2_d5f0,
    0x6724_abc4,
    0xd912_a59c,
    0xc126_22c4,
    0x9bf8_bb95,
    0x6c3f_19b9,
    0x3c28_84c1,
    0xde5a_0dd6,
    0x7e62_60d7,
    0xed6a_8504,
    0xc7fb_5e01,
    0x034b_8621,
    0x1ccb_966a,
    0x3555_3762,
    0x4c2a_5d62,
    0xcd24_cf44,
    0x5195_24ea,
    0x02ff_29d3,
    0x7b9e_1801,
    0xac6a_83aa,
    0xc556_a45d,
    0x24c2_6789,
    0xb956_812d,
    0x01a9_fbfc,
    0xa5b4_5e2b,
    0x9686_cb50,
    0xafc7_9cd6,
    0x3cd2_a36a,
    0xda9b_0d0d,
    0xc1cd_5ea9,
    0xbf94_59b7,
    0xcb9f_372d,
];

/// Most constructors of recursive types in one request; real clients use a handful.
const MAX_RECURSIVE: usize = 64;
/// Most wrappers (`invokeWithLayer`, `initConnection` …) around one request.
const MAX_WRAPPERS: usize = 8;

/// The constructor id that a body begins with.
pub(crate) fn constructor(body: &[u8]) -> Option<u32> {
    body.first_chunk::<4>().map(|id| u32::from_le_bytes(*id))
}

/// "The rest of the buffer", as which the argument of a wrapper is taken.
pub(crate) struct Rest(pub(crate) Vec<u8>);

impl Deserializable for Rest {
    fn deserialize(cursor: &mut Cursor) -> deserialize::Result<Self> {
        let mut bytes = Vec::new();
        cursor.read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// A request without its wrappers, and what the wrappers said.
#[derive(Debug)]
pub(crate) struct Unwrapped {
    pub(crate) layer: Option<i32>,
    pub(crate) without_updates: bool,
    pub(crate) body: Vec<u8>,
}

/// Takes off `invokeWithLayer`, `initConnection`, `invokeWithoutUpdates`, `invokeAfterMsg(s)` in any nesting.
///
/// Requests of one connection run in order anyway, so "after" needs no further care.
pub(crate) fn unwrap(body: Vec<u8>) -> Result<Unwrapped, RpcError> {
    let mut out = Unwrapped { layer: None, without_updates: false, body };
    for _ in 0..MAX_WRAPPERS {
        if nested_too_deeply(&out.body) {
            return Err(RpcError::INPUT_FETCH_ERROR);
        }
        let arguments = out.body.get(4..).unwrap_or_default();
        out.body = match constructor(&out.body) {
            Some(f::InvokeWithLayer::<Rest>::CONSTRUCTOR_ID) => {
                let wrapper: f::InvokeWithLayer<Rest> = read(arguments)?;
                if !LAYERS.contains(&wrapper.layer) {
                    tracing::warn!(layer = wrapper.layer, "a client speaks a layer that is not emulated");
                    return Err(RpcError::CONNECTION_LAYER_INVALID);
                }
                out.layer = Some(wrapper.layer);
                wrapper.query.0
            }
            Some(f::InitConnection::<Rest>::CONSTRUCTOR_ID) => read::<f::InitConnection<Rest>>(arguments)?.query.0,
            Some(f::InvokeWithoutUpdates::<Rest>::CONSTRUCTOR_ID) => {
                out.without_updates = true;
                read::<f::InvokeWithoutUpdates<Rest>>(arguments)?.query.0
            }
            Some(f::InvokeAfterMsg::<Rest>::CONSTRUCTOR_ID) => read::<f::InvokeAfterMsg<Rest>>(arguments)?.query.0,
            Some(f::InvokeAfterMsgs::<Rest>::CONSTRUCTOR_ID) => read::<f::InvokeAfterMsgs<Rest>>(arguments)?.query.0,
            Some(GZIP_PACKED) => gunzip(arguments).map_err(|_| RpcError::INPUT_FETCH_ERROR)?,
            _ => return Ok(out),
        };
    }
    Err(RpcError::INPUT_FETCH_ERROR)
}

fn read<T: Deserializable>(arguments: &[u8]) -> Result<T, RpcError> {
    T::from_bytes(arguments).map_err(|_| RpcError::INPUT_FETCH_ERROR)
}

fn nested_too_deeply(body: &[u8]) -> bool {
    let (words, _) = body.as_chunks::<4>();
    words.iter().filter(|word| RECURSIVE.contains(&u32::from_le_bytes(**word))).count() > MAX_RECURSIVE
}

/// The beginning of a method's arguments, as far as needed to find the fields where clients send an `InputPeer`.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    /// So many bytes of no interest: `#` and `int` are 4, `long` is 8.
    Skip(usize),
    /// One `InputChannel`.
    Channel,
    /// One `InputUser`.
    User,
    /// `Vector<InputUser>`.
    Users,
    /// `Vector<InputChannel>`.
    Channels,
}

/// Decodes a request of a known method.
///
/// A body that does not fit the schema is tried once more with the constructors of `InputPeer` replaced by those
/// of `InputUser` and `InputChannel`, only at the places named by `fields`: their contents are the same.
pub(crate) fn decode<T: Identifiable + Deserializable>(body: &[u8], fields: &[Field]) -> Result<T, WireError> {
    let arguments = body.get(4..).unwrap_or_default();
    let first = match T::from_bytes(arguments) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    let mut lenient = arguments.to_vec();
    if rewrite(&mut lenient, fields)
        && let Ok(request) = T::from_bytes(&lenient)
    {
        return Ok(request);
    }
    Err(first.into())
}

const INPUT_PEER_SELF: u32 = 0x7da0_7ec9;
const INPUT_PEER_USER: u32 = 0xdde8_a54c;
const INPUT_PEER_CHANNEL: u32 = 0x27bc_bbfc;
const INPUT_USER_SELF: u32 = 0xf7c1_b13f;
const INPUT_USER: u32 = 0xf211_58c6;
const INPUT_CHANNEL: u32 = 0xf35a_ec28;
const VECTOR: u32 = 0x1cb5_c415;

/// Replaces the constructors in place; false when nothing was replaced.
fn rewrite(arguments: &mut [u8], fields: &[Field]) -> bool {
    let mut walker = Walker { bytes: arguments, at: 0, changed: false };
    for field in fields {
        if walker.pass(*field).is_none() {
            break;
        }
    }
    walker.changed
}

struct Walker<'a> {
    bytes: &'a mut [u8],
    at: usize,
    changed: bool,
}

impl Walker<'_> {
    /// Steps over a field; `None` when the walk cannot go on.
    fn pass(&mut self, field: Field) -> Option<()> {
        match field {
            Field::Skip(bytes) => self.at += bytes,
            Field::Channel => self.entity(INPUT_CHANNEL)?,
            Field::User => self.entity(INPUT_USER)?,
            Field::Users => self.vector(INPUT_USER)?,
            Field::Channels => self.vector(INPUT_CHANNEL)?,
        }
        Some(())
    }

    fn vector(&mut self, wanted: u32) -> Option<()> {
        if self.word(0)? != VECTOR {
            return None;
        }
        let count = self.word(4)?;
        self.at += 8;
        (0..count).try_for_each(|_| self.entity(wanted))
    }

    fn entity(&mut self, wanted: u32) -> Option<()> {
        let (replacement, length) = match (self.word(0)?, wanted) {
            (INPUT_PEER_CHANNEL, INPUT_CHANNEL) => (Some(INPUT_CHANNEL), 20),
            (INPUT_PEER_USER, INPUT_USER) => (Some(INPUT_USER), 20),
            (INPUT_PEER_SELF, INPUT_USER) => (Some(INPUT_USER_SELF), 4),
            (INPUT_CHANNEL, _) | (INPUT_USER, _) => (None, 20),
            (INPUT_USER_SELF, _) => (None, 4),
            _ => return None,
        };
        if let Some(id) = replacement {
            self.bytes[self.at..self.at + 4].copy_from_slice(&id.to_le_bytes());
            self.changed = true;
        }
        self.at += length;
        Some(())
    }

    fn word(&self, offset: usize) -> Option<u32> {
        let at = self.at + offset;
        let bytes = self.bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::crypto::random;
    use grammers_tl_types::{Serializable as _, enums, types as t};

    #[test]
    fn wrappers_come_off_in_any_order() {
        let inner = f::help::GetConfig {}.to_bytes();
        let mut body = 0xda9b_0d0du32.to_bytes();
        body.extend(229i32.to_bytes());
        body.extend(0xbf94_59b7u32.to_bytes());
        body.extend(&inner);
        let unwrapped = unwrap(body.clone()).unwrap();
        assert_eq!((unwrapped.layer, unwrapped.without_updates), (Some(229), true));
        assert_eq!(unwrapped.body, inner);

        body[4..8].copy_from_slice(&228i32.to_le_bytes());
        assert_eq!(unwrap(body).unwrap_err(), RpcError::CONNECTION_LAYER_INVALID);
    }

    #[test]
    fn endless_wrapping_and_nesting_are_refused() {
        let mut body = Vec::new();
        for _ in 0..20 {
            body.extend(0xbf94_59b7u32.to_bytes());
        }
        assert_eq!(unwrap(body).unwrap_err(), RpcError::INPUT_FETCH_ERROR);
        let mut deep = f::users::GetFullUser::CONSTRUCTOR_ID.to_bytes();
        deep.extend(0x1da4_48e2u32.to_bytes());
        for _ in 0..100_000 {
            deep.extend(0xa87b_0a1cu32.to_bytes());
        }
        assert_eq!(unwrap(deep).unwrap_err(), RpcError::INPUT_FETCH_ERROR);
    }

    #[test]
    fn peers_are_taken_for_channels_and_users_at_their_fields_only() {
        let channel: enums::InputPeer = t::InputPeerChannel { channel_id: 5, access_hash: 6 }.into();
        let user: enums::InputPeer = t::InputPeerUser { user_id: 7, access_hash: i64::from(INPUT_PEER_SELF) }.into();
        let mut body = f::channels::InviteToChannel::CONSTRUCTOR_ID.to_bytes();
        body.extend(channel.to_bytes());
        body.extend(vec![user, enums::InputPeer::PeerSelf].to_bytes());
        let plan = [Field::Channel, Field::Users];
        let request: f::channels::InviteToChannel = decode(&body, &plan).unwrap();
        assert_eq!(request.channel, t::InputChannel { channel_id: 5, access_hash: 6 }.into());
        // The access hash happens to look like a constructor and must survive.
        let expected = t::InputUser { user_id: 7, access_hash: i64::from(INPUT_PEER_SELF) };
        assert_eq!(request.users, [expected.into(), enums::InputUser::UserSelf]);
        assert!(decode::<f::channels::InviteToChannel>(&body, &[]).is_err());
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic() {
        let plan = [Field::Channel, Field::Users];
        for _ in 0..5000 {
            let noise: [u8; 80] = random();
            let mut body = f::channels::InviteToChannel::CONSTRUCTOR_ID.to_bytes();
            body.extend(INPUT_PEER_CHANNEL.to_bytes());
            body.extend(&noise[..16]);
            body.extend(VECTOR.to_bytes());
            body.extend(u32::MAX.to_bytes());
            body.extend(INPUT_PEER_USER.to_bytes());
            body.extend(&noise[..usize::from(noise[0]) % 80]);
            assert!(decode::<f::channels::InviteToChannel>(&body, &plan).is_err());
            let _ = unwrap(body);
            let _ = unwrap(noise.to_vec());
        }
    }
}
