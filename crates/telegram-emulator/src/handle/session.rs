//! Sessions as strings of other client libraries.

use std::net::SocketAddrV4;

use base64::Engine as _;

use super::{BASE64, ControlError, Handle};
use crate::error::RpcError;
use crate::wire::crypto::{AuthKey, random};
use crate::world::parse_phone;

/// What a session string says of the application; any does here.
const API_ID: i32 = 1;

/// How a session is written as a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionFormat {
    /// Telethon's `StringSession`.
    #[default]
    Telethon,
    /// Pyrogram's, which its successors read too.
    Pyrogram,
}

/// What a session string holds.
struct Content<'a> {
    dc: i32,
    address: SocketAddrV4,
    key: &'a AuthKey,
    user: i64,
    bot: bool,
}

impl SessionFormat {
    /// Telethon: "1", then base64 of data centre (1 byte), address (4), port (2), key (256). Pyrogram: base64 of
    /// data centre (1), api id (4), test mode (1), key (256), user id (8), is bot (1). Numbers are big-endian.
    fn write(self, content: &Content<'_>) -> String {
        let Content { dc, address, key, user, bot } = content;
        // Telegram counts five of them.
        let dc = u8::try_from(*dc).unwrap_or(u8::MAX);
        match self {
            Self::Telethon => {
                let address = [&address.ip().octets()[..], &address.port().to_be_bytes()].concat();
                format!("1{}", BASE64.encode([&[dc][..], &address, &key[..]].concat()))
            }
            Self::Pyrogram => {
                let head = [&[dc][..], &API_ID.to_be_bytes(), &[0]].concat();
                let bytes = [&head[..], &key[..], &user.to_be_bytes(), &[u8::from(*bot)]].concat();
                BASE64.encode(bytes).trim_end_matches('=').to_owned()
            }
        }
    }
}

impl Handle {
    /// The user with a phone number.
    pub fn user_by_phone(&self, phone: &str) -> Result<i64, ControlError> {
        let number = parse_phone(phone).ok_or_else(|| ControlError::Invalid("no phone number".into()))?;
        let user = self.kernel().lock().world.users.by_phone(number).map(|user| user.id);
        user.ok_or_else(|| ControlError::NotFound("user with this phone number".into()))
    }

    /// Logs a user in with a new key, in the user's home data centre, and answers the session as a string.
    pub fn create_session(&self, user: i64, format: SessionFormat) -> Result<String, ControlError> {
        let key = random::<256>();
        let mut state = self.kernel().lock();
        let found = state.world.user(user).filter(|user| !user.deleted);
        let found = found.ok_or_else(|| ControlError::NotFound(format!("user {user}")))?;
        if found.banned {
            return Err(RpcError::USER_DEACTIVATED_BAN.into());
        }
        let (home, bot) = (i32::from(found.dc), found.bot);
        let dcs = &self.kernel().dcs;
        let dc = dcs.iter().find(|(dc, _)| *dc == home).or_else(|| dcs.first());
        let (dc, address) = *dc.ok_or_else(|| ControlError::NotFound("data centre".into()))?;
        let id = state.keys.add(key, dc);
        state.keys.sign_in(id, user);
        Ok(format.write(&Content { dc, address, key: &key, user, bot }))
    }
}
