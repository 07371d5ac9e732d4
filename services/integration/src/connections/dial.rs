//! Opens connections, and makes sure whose they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use grammers_mtproto::{mtp, transport};
use grammers_mtsender::{InvocationError, Sender, ServerAddr};
use grammers_tl_types::{self as tl, Deserializable, RemoteCall, Serializable, enums, functions};
use secrecy::ExposeSecret as _;

use super::config::{TelegramConfig, TelegramNetwork};
use super::handshake::{self, ServerKey};
use super::{CallError, Expect, LineSession, RpcError, SessionKey};
use crate::error::Error;

/// A connection whose session is verified.
pub(super) type Wire = Sender<transport::Full, mtp::Encrypted>;

/// Opens connections.
pub struct Dialer {
    config: TelegramConfig,
    api_id: i32,
    addresses: BTreeMap<i32, SocketAddr>,
    default_dc: i32,
    keys: Vec<ServerKey>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Dialer {
    /// For this network.
    ///
    /// # Errors
    /// When a value of it cannot be used.
    pub fn new(config: TelegramConfig, network: &TelegramNetwork) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        anyhow::ensure!(network.api_id > 0, "telegram.api_id is not set");
        anyhow::ensure!(!network.api_hash.expose_secret().is_empty(), "telegram.api_hash is not set");
        let addresses: BTreeMap<i32, SocketAddr> = network
            .data_centres
            .iter()
            .map(|(id, address)| {
                let id = id.parse().with_context(|| format!("telegram.data_centres: {id} is no number"))?;
                Ok((id, *address))
            })
            .collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(
            addresses.contains_key(&network.default_data_centre),
            "telegram.default_data_centre {} is not among telegram.data_centres",
            network.default_data_centre
        );
        let keys = network.rsa_keys.iter().map(ServerKey::new).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!keys.is_empty(), "telegram.rsa_keys is empty");
        Ok(Self { config, api_id: network.api_id, addresses, default_dc: network.default_data_centre, keys })
    }

    pub(super) fn config(&self) -> &TelegramConfig {
        &self.config
    }

    pub(super) fn default_dc(&self) -> i32 {
        self.default_dc
    }

    fn address(&self, dc_id: i32) -> Result<SocketAddr, CallError> {
        self.addresses
            .get(&dc_id)
            .copied()
            .ok_or_else(|| CallError::NotSent(format!("the address of data centre {dc_id} is not configured")))
    }

    /// Makes a new key with a data centre.
    pub(super) async fn exchange(&self, dc_id: i32) -> Result<SessionKey, CallError> {
        let address = self.address(dc_id)?;
        let exchange = async {
            let plain = Sender::connect(transport::Full::new(), mtp::Plain::new(), ServerAddr::Tcp { address })
                .await
                .map_err(|error| CallError::NotSent(error.to_string()))?;
            handshake::exchange(plain, &self.keys, dc_id)
                .await
                .map_err(|error| CallError::NotSent(format!("the key exchange failed: {error}")))
        };
        let key = within(self.config.connect_timeout(), exchange).await.map_err(|error| at(dc_id, address, error))?;
        Ok(SessionKey::new(dc_id, key))
    }

    /// Opens a connection and verifies whose session it is, before anything
    /// else is called.
    pub(super) async fn dial(&self, session: &LineSession) -> Result<Wire, CallError> {
        let address = self.address(session.key.dc_id)?;
        let dial = async {
            let mtp = mtp::Encrypted::build().finish(*session.key.expose());
            let mut wire = Sender::connect(transport::Full::new(), mtp, ServerAddr::Tcp { address })
                .await
                .map_err(|error| CallError::NotSent(error.to_string()))?;
            match session.expect {
                Expect::Nobody => {
                    self.first(&mut wire, functions::help::GetConfig {}).await?;
                }
                Expect::User(expected) => {
                    let me = functions::users::GetUsers { id: vec![enums::InputUser::UserSelf] };
                    let users = self.first(&mut wire, me).await?;
                    let found = users.first().map_or(0, enums::User::id);
                    if found != expected {
                        return Err(CallError::WrongUser(found));
                    }
                }
            }
            // Arms the server's timer from the start: if this process stops
            // without closing the socket, the server closes it.
            let ping = functions::PingDelayDisconnect { ping_id: i64::from(session.key.dc_id), disconnect_delay: 75 };
            wire.invoke(&ping).await.map_err(|error| not_sent(&error))?;
            Ok(wire)
        };
        within(self.config.connect_timeout(), dial).await.map_err(|error| at(session.key.dc_id, address, error))
    }

    /// The first call of a connection, which also says who the client is.
    async fn first<R: RemoteCall>(&self, wire: &mut Wire, query: R) -> Result<R::Return, CallError> {
        let request = functions::InvokeWithLayer {
            layer: tl::LAYER,
            query: functions::InitConnection {
                api_id: self.api_id,
                device_model: self.config.device_model.clone(),
                system_version: self.config.system_version.clone(),
                app_version: env!("CARGO_PKG_VERSION").to_owned(),
                system_lang_code: "en".to_owned(),
                lang_pack: String::new(),
                lang_code: "en".to_owned(),
                proxy: None,
                params: None,
                query,
            },
        };
        // Whatever happens here, no call of anybody was sent.
        wire.invoke(&request).await.map_err(|error| not_sent(&error))
    }
}

/// Says where it was that nobody could be reached.
fn at(dc_id: i32, address: SocketAddr, error: CallError) -> CallError {
    match error {
        CallError::NotSent(what) => CallError::NotSent(format!("data centre {dc_id} at {address}: {what}")),
        other => other,
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(CallError::NotSent(format!("no connection within {} s", limit.as_secs()))),
    }
}

/// An error before any call of anybody: answers of Telegram keep their name.
fn not_sent(error: &InvocationError) -> CallError {
    match classify(error) {
        CallError::Unanswered(what) => CallError::NotSent(what),
        other => other,
    }
}

/// What an error of the library means for a request that was handed over.
pub(super) fn classify(error: &InvocationError) -> CallError {
    match error {
        InvocationError::Rpc(rpc) => {
            CallError::Rpc(RpcError { code: rpc.code, name: rpc.name.clone(), value: rpc.value })
        }
        InvocationError::Transport(transport::Error::BadStatus { status: 404 }) => CallError::KeyUnknown,
        other => CallError::Unanswered(other.to_string()),
    }
}

/// A request whose bytes are made already, and an answer that is read later.
pub(super) struct Raw(pub(super) Vec<u8>);

impl Serializable for Raw {
    fn serialize(&self, buf: &mut impl Extend<u8>) {
        buf.extend(self.0.iter().copied());
    }
}

impl RemoteCall for Raw {
    type Return = RawAnswer;
}

/// The bytes of an answer.
pub(super) struct RawAnswer(pub(super) Vec<u8>);

impl Deserializable for RawAnswer {
    fn deserialize(buf: &mut tl::Cursor) -> tl::deserialize::Result<Self> {
        let mut bytes = Vec::new();
        buf.read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::NotSent(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_centre_that_cannot_be_reached_is_named_with_its_address() {
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = TelegramConfig {
            connect_timeout_s: 5,
            call_timeout_s: 5,
            idle_close_s: 60,
            device_model: String::new(),
            system_version: String::new(),
        };
        let addresses = BTreeMap::from([(2, nobody)]);
        let dialer = Dialer { config, api_id: 1, addresses, default_dc: 2, keys: Vec::new() };
        let Err(CallError::NotSent(what)) = dialer.exchange(2).await else { panic!("nobody is there") };
        assert!(what.starts_with(&format!("data centre 2 at {nobody}: ")), "{what}");
    }
}
