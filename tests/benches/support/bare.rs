//! A bare Telegram client: grammers' low level sender, a key that the emulator knows, and nothing else.
//!
//! A baseline must not use the code that is measured against it; this is the one place outside the integration
//! service that names grammers (`tests/tests/house.rs`).

use std::net::SocketAddrV4;

use anyhow::{Context as _, bail};
use grammers_mtproto::{mtp, transport};
use grammers_mtsender::{Sender, ServerAddr};
use grammers_tl_types::{self as tl, RemoteCall, enums, functions, types};
use service_kit::identity::random_seed;
use telegram_emulator::Handle;

/// Members on a page, at most.
const PAGE: i32 = 200;

/// A chat, as calls name it.
pub type Chat = enums::InputChannel;

/// One connection of one user.
pub struct Bare {
    wire: Sender<transport::Full, mtp::Encrypted>,
}

impl Bare {
    /// Connects a user of the emulator's world.
    pub async fn connect(emulator: &Handle, dc: &telegram_emulator::DcAddress, user: i64) -> anyhow::Result<Self> {
        let mut key = [0; 256];
        for part in key.chunks_mut(32) {
            part.copy_from_slice(&random_seed());
        }
        emulator.add_key(key, dc.id, Some(user));
        Self::with_key(dc.address, key).await
    }

    /// Connects whoever a key is known to be of.
    pub async fn with_key(address: SocketAddrV4, key: [u8; 256]) -> anyhow::Result<Self> {
        let mtp = mtp::Encrypted::build().finish(key);
        let address = ServerAddr::Tcp { address: address.into() };
        let mut wire = Sender::connect(transport::Full::new(), mtp, address).await?;
        let hello = functions::InvokeWithLayer {
            layer: tl::LAYER,
            query: functions::InitConnection {
                api_id: 7,
                device_model: "bench".to_owned(),
                system_version: "bench".to_owned(),
                app_version: "1".to_owned(),
                system_lang_code: "en".to_owned(),
                lang_pack: String::new(),
                lang_code: "en".to_owned(),
                proxy: None,
                params: None,
                query: functions::help::GetConfig {},
            },
        };
        wire.invoke(&hello).await?;
        Ok(Self { wire })
    }

    /// Calls a method.
    pub async fn invoke<R: RemoteCall>(&mut self, request: &R) -> anyhow::Result<R::Return> {
        Ok(self.wire.invoke(request).await?)
    }

    /// A public chat, ready to be named in calls.
    pub async fn chat(&mut self, username: &str) -> anyhow::Result<Chat> {
        let request = functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
        let enums::contacts::ResolvedPeer::Peer(found) = self.invoke(&request).await?;
        match found.chats.first() {
            Some(enums::Chat::Channel(channel)) => Ok(types::InputChannel {
                channel_id: channel.id,
                access_hash: channel.access_hash.context("no access hash")?,
            }
            .into()),
            _ => bail!("{username} is no supergroup"),
        }
    }

    /// A page of the members of a chat.
    async fn page(&mut self, chat: &Chat, offset: i32) -> anyhow::Result<types::channels::ChannelParticipants> {
        let request = functions::channels::GetParticipants {
            channel: chat.clone(),
            filter: enums::ChannelParticipantsFilter::ChannelParticipantsRecent,
            offset,
            limit: PAGE,
            hash: 0,
        };
        match self.invoke(&request).await? {
            enums::channels::ChannelParticipants::Participants(found) => Ok(found),
            enums::channels::ChannelParticipants::NotModified => bail!("the members are said not to have changed"),
        }
    }

    /// Counts the members of a chat, page by page.
    pub async fn count_members(&mut self, chat: &Chat) -> anyhow::Result<usize> {
        let mut counted = 0;
        loop {
            let read = self.page(chat, i32::try_from(counted)?).await?.participants.len();
            if read == 0 {
                return Ok(counted);
            }
            counted += read;
        }
    }

    /// Somebody with a public name, ready to be named in calls.
    pub async fn user(&mut self, username: &str) -> anyhow::Result<enums::InputUser> {
        let request = functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
        let enums::contacts::ResolvedPeer::Peer(found) = self.invoke(&request).await?;
        match found.users.first() {
            Some(enums::User::User(user)) => {
                Ok(types::InputUser { user_id: user.id, access_hash: user.access_hash.context("no access hash")? }
                    .into())
            }
            _ => bail!("{username} is no user"),
        }
    }

    /// Invites one person.
    pub async fn invite(&mut self, chat: &Chat, user: &enums::InputUser) -> anyhow::Result<()> {
        let request = functions::channels::InviteToChannel { channel: chat.clone(), users: vec![user.clone()] };
        self.invoke(&request).await?;
        Ok(())
    }
}
