//! A client small enough to be steered packet by packet, on the client library's own protocol code.

use std::time::Duration;

use grammers_crypto::DequeBuffer;
use grammers_mtproto::MsgId;
use grammers_mtproto::mtp::{
    Deserialization, ENCRYPTED_PACKET_HEADER_LEN, Encrypted, MAX_TRANSPORT_HEADER_LEN, MESSAGE_CONTAINER_HEADER_LEN,
    Mtp as _,
};
use grammers_mtproto::transport::{Error as FrameError, Full, Transport as _};
use grammers_tl_types::{Deserializable as _, RemoteCall, enums, functions as f, types as t};
use telegram_emulator::{Emulator, EmulatorConfig, Scenario};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest that anything here may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Waits for something that has to come.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it happens within its time")
}

/// An emulator of the scenario that all tests share.
pub async fn emulator(change: impl FnOnce(&mut EmulatorConfig)) -> Emulator {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/tests.toml");
    let mut config = EmulatorConfig::new(Scenario::load(&path).unwrap());
    change(&mut config);
    Emulator::start(config).await.unwrap()
}

/// An emulator of a scenario of its own.
pub async fn emulator_of(scenario: &str) -> Emulator {
    Emulator::start(EmulatorConfig::new(Scenario::parse(scenario).unwrap())).await.unwrap()
}

/// Why a call came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error of the API.
    Rpc(i32, String),
    /// An error of the transport.
    Transport(u32),
    /// The connection has ended.
    Closed,
}

/// A connection with a key.
pub struct Client {
    stream: TcpStream,
    frame: Full,
    mtp: Encrypted,
    received: Vec<u8>,
    /// Updates that came unasked.
    pub updates: Vec<enums::Updates>,
}

impl Client {
    /// Connects without a word.
    pub async fn open(emulator: &Emulator, dc: i32, key: [u8; 256]) -> Self {
        let dc = emulator.info().dcs.iter().find(|known| known.id == dc).unwrap();
        Self {
            stream: TcpStream::connect(dc.address).await.unwrap(),
            frame: Full::new(),
            mtp: Encrypted::build().finish(key),
            received: Vec::new(),
            updates: Vec::new(),
        }
    }

    /// Connects with a key that is logged in as an account, and announces the layer.
    pub async fn login(emulator: &Emulator, account: i64, key: [u8; 256]) -> Self {
        emulator.handle().add_key(key, 2, Some(account));
        let mut client = Self::open(emulator, 2, key).await;
        client.init().await.unwrap();
        client
    }

    /// Announces the layer.
    pub async fn init(&mut self) -> Result<enums::Config, Failure> {
        self.call(&with_layer(grammers_tl_types::LAYER, f::help::GetConfig {})).await
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: RemoteCall>(&mut self, request: &R) -> Result<R::Return, Failure> {
        soon(async {
            let mut id = self.send(request).await?;
            loop {
                for event in self.receive().await? {
                    match event {
                        Deserialization::RpcResult(result) if result.msg_id == id => {
                            return Ok(R::Return::from_bytes(&result.body).unwrap());
                        }
                        Deserialization::RpcError(result) if result.msg_id == id => {
                            return Err(Failure::Rpc(result.error.error_code, result.error.error_message));
                        }
                        Deserialization::BadMessage(bad) if bad.msg_id == id => id = self.send(request).await?,
                        Deserialization::Update(body) => self.keep(&body),
                        Deserialization::Failure(failure) => panic!("undecodable: {}", failure.error),
                        _ => {}
                    }
                }
            }
        })
        .await
    }

    /// Sends a request without waiting; the salts that the library asks for first are waited for.
    pub async fn send<R: RemoteCall>(&mut self, request: &R) -> Result<MsgId, Failure> {
        let body = request.to_bytes();
        loop {
            let front = MAX_TRANSPORT_HEADER_LEN + ENCRYPTED_PACKET_HEADER_LEN + MESSAGE_CONTAINER_HEADER_LEN;
            let mut buffer = DequeBuffer::with_capacity(1 << 16, front);
            let id = self.mtp.push(&mut buffer, &body);
            self.mtp.finalize(&mut buffer);
            if !buffer.is_empty() {
                self.frame.pack(&mut buffer);
                self.stream.write_all(&buffer[..]).await.map_err(|_| Failure::Closed)?;
            }
            match id {
                Some(id) => return Ok(id),
                None => {
                    self.receive().await?;
                }
            }
        }
    }

    /// Waits for a packet; asks for nothing.
    pub async fn receive(&mut self) -> Result<Vec<Deserialization>, Failure> {
        loop {
            match self.frame.unpack(&mut self.received) {
                Ok(found) => {
                    let events = self.mtp.deserialize(&mut self.received[found.data_range]).unwrap();
                    self.received.drain(..found.next_offset);
                    return Ok(events);
                }
                Err(FrameError::MissingBytes) => {}
                Err(FrameError::BadStatus { status }) => return Err(Failure::Transport(status)),
                Err(error) => panic!("bad frame: {error}"),
            }
            let mut buffer = [0; 8192];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Err(Failure::Closed),
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Waits until the server closes the connection.
    pub async fn closed(&mut self) {
        soon(async { while self.receive().await.is_ok() {} }).await;
    }

    /// Waits for an update that fits.
    pub async fn update(&mut self, fits: impl Fn(&enums::Updates) -> bool) {
        soon(async {
            while !self.updates.iter().any(&fits) {
                for event in self.receive().await.unwrap() {
                    if let Deserialization::Update(body) = event {
                        self.keep(&body);
                    }
                }
            }
        })
        .await;
    }

    fn keep(&mut self, body: &[u8]) {
        self.updates.extend(enums::Updates::from_bytes(body));
    }

    /// The access hash that this account has for a public name.
    pub async fn resolve(&mut self, username: &str) -> (Option<enums::User>, Option<enums::Chat>) {
        let request = f::contacts::ResolveUsername { username: username.into(), referer: None };
        let enums::contacts::ResolvedPeer::Peer(peer) = self.call(&request).await.unwrap();
        (peer.users.into_iter().next(), peer.chats.into_iter().next())
    }

    pub async fn input_user(&mut self, username: &str) -> enums::InputUser {
        let (Some(enums::User::User(user)), _) = self.resolve(username).await else { panic!("no user") };
        t::InputUser { user_id: user.id, access_hash: user.access_hash.unwrap() }.into()
    }

    pub async fn input_channel(&mut self, username: &str) -> enums::InputChannel {
        let (_, Some(enums::Chat::Channel(chat))) = self.resolve(username).await else { panic!("no channel") };
        t::InputChannel { channel_id: chat.id, access_hash: chat.access_hash.unwrap() }.into()
    }

    pub async fn invite(&mut self, chat: &str, user: &str) -> Result<enums::messages::InvitedUsers, Failure> {
        let (channel, user) = (self.input_channel(chat).await, self.input_user(user).await);
        self.call(&f::channels::InviteToChannel { channel, users: vec![user] }).await
    }
}

/// A request as the first of a session.
pub fn with_layer<X: RemoteCall>(layer: i32, query: X) -> f::InvokeWithLayer<f::InitConnection<X>> {
    f::InvokeWithLayer {
        layer,
        query: f::InitConnection {
            api_id: 1,
            device_model: "test".into(),
            system_version: "1".into(),
            app_version: "1".into(),
            system_lang_code: "en".into(),
            lang_pack: String::new(),
            lang_code: "en".into(),
            proxy: None,
            params: None,
            query,
        },
    }
}
