//! One TCP connection: packets in, service messages answered here, API calls handed to the kernel.

use std::sync::Arc;
use std::time::Duration;

use grammers_tl_types::{
    self as tl, Deserializable as _, Identifiable as _, Serializable as _, enums, functions as f, types as t,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connections::{Handle, Parcel, is_live};
use super::crypto::{AuthKey, Direction, decrypt, random};
use super::handshake::{Handshake, Progress};
use super::message::{Envelope, Message, flatten};
use super::request::constructor;
use super::session::{Outgoing, current_salt, future_salts, plain_message_id, salt_is_valid};
use super::transport::Transport;
use super::{MAX_PACKET, WireError};
use crate::kernel::{Kernel, Origin, Outcome};
use crate::recorder::{ConnectionEnd, Overlap};

/// Transport error for a key that this data centre does not know.
const UNKNOWN_KEY: i32 = -404;
/// Most messages and bytes sealed into one packet.
const CONTAINER: (usize, usize) = (100, MAX_PACKET / 2);

/// Serves a connection until it ends, and records how.
pub(crate) async fn serve(kernel: Arc<Kernel>, dc: i32, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off delays on a socket");
    }
    let stream = Arc::new(stream);
    let (handle, inbox) = kernel.connections.open(dc, Arc::clone(&stream));
    let id = handle.id;
    kernel.recorder.connection_opened(id, dc, kernel.clock.now());
    let mut connection = Connection {
        kernel: Arc::clone(&kernel),
        handle: handle.clone(),
        transport: Transport::new(),
        handshake: Handshake::new(dc),
        key: None,
        known_account: None,
        deadline: None,
        outbox: Vec::new(),
    };
    let outcome = connection.run(inbox).await;
    let end = handle.end().unwrap_or(match outcome {
        Ok(end) => end,
        Err(WireError::Closed | WireError::Io(_)) => ConnectionEnd::ByClient,
        Err(error) => {
            tracing::warn!(connection = id, %error, "a client broke the protocol");
            ConnectionEnd::ByProtocolError
        }
    });
    connection.abandon_outbox();
    handle.closing().cancel();
    // The socket closes with its last holder; the recorder must not be later than the client's next connection.
    kernel.recorder.connection_closed(id, end, kernel.clock.now());
    kernel.connections.forget(id);
    let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Both);
}

struct Connection {
    kernel: Arc<Kernel>,
    handle: Handle,
    transport: Transport,
    handshake: Handshake,
    /// The key of the last encrypted packet.
    key: Option<(i64, AuthKey)>,
    known_account: Option<i64>,
    /// When to close, unless another `ping_delay_disconnect` comes.
    deadline: Option<Instant>,
    outbox: Vec<Parcel>,
}

impl Connection {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Parcel>) -> Result<ConnectionEnd, WireError> {
        let mut buffer = vec![0; 16 * 1024];
        let closing = self.handle.closing().clone();
        let shutdown = self.kernel.shutdown.clone();
        let stream = Arc::clone(&self.handle.stream);
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => return Ok(self.handle.end().unwrap_or(ConnectionEnd::ByFault)),
                () = shutdown.cancelled() => return Ok(ConnectionEnd::ByShutdown),
                () = sleep_until(self.deadline) => return Ok(ConnectionEnd::BySilence),
                Some(parcel) = inbox.recv() => {
                    self.outbox.push(parcel);
                    while let Ok(parcel) = inbox.try_recv() {
                        self.outbox.push(parcel);
                    }
                    self.flush().await?;
                }
                ready = stream.readable() => {
                    ready?;
                    let read = match stream.try_read(&mut buffer) {
                        Ok(0) => return Err(WireError::Closed),
                        Ok(read) => read,
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                        Err(error) => return Err(error.into()),
                    };
                    self.transport.feed(&buffer[..read]);
                    while let Some(packet) = self.transport.next_packet()? {
                        if !self.take(&packet).await? {
                            return Ok(ConnectionEnd::ByFault);
                        }
                        self.flush().await?;
                    }
                }
            }
        }
    }

    /// Handles one packet; false when the connection is to be closed.
    async fn take(&mut self, packet: &[u8]) -> Result<bool, WireError> {
        let key_id = packet.first_chunk::<8>().map(|id| i64::from_le_bytes(*id));
        let key_id = key_id.ok_or(WireError::PacketLength(packet.len()))?;
        if self.kernel.faults.is_silent(self.account(), self.handle.dc, self.kernel.clock.now()) {
            return Ok(true);
        }
        if key_id == 0 {
            self.take_plain(packet).await?;
            return Ok(true);
        }
        let Some(key) = self.find_key(key_id) else {
            let error = self.transport.pack_error(UNKNOWN_KEY);
            self.write(&error).await?;
            return Ok(true);
        };
        let envelope = Envelope::read(&decrypt(packet, &key, Direction::FromClient)?)?;
        self.key = Some((key_id, key));
        self.go_live(key_id, envelope.session).await;
        // An account may have become silent only now that the key says which one it is.
        if self.kernel.faults.is_silent(self.account(), self.handle.dc, self.kernel.clock.now()) {
            return Ok(true);
        }
        self.take_encrypted(key_id, &key, envelope)
    }

    async fn take_plain(&mut self, packet: &[u8]) -> Result<(), WireError> {
        let length = packet.get(16..20).and_then(<[u8]>::first_chunk::<4>).map(|length| u32::from_le_bytes(*length));
        let length = length.ok_or(WireError::PacketLength(packet.len()))? as usize;
        let body = packet[20..].get(..length).ok_or(WireError::Malformed("plain message cut short"))?;
        let reply = match self.handshake.handle(body, self.kernel.clock.unix())? {
            Progress::Reply(reply) => reply,
            Progress::Done { reply, key } => {
                self.kernel.lock().keys.add(*key, self.handle.dc);
                reply
            }
        };
        let mut out = vec![0; 8];
        out.extend_from_slice(&plain_message_id(&self.kernel.clock).to_le_bytes());
        out.extend_from_slice(&(reply.len() as u32).to_le_bytes());
        out.extend(reply);
        let framed = self.transport.pack(&out);
        self.write(&framed).await
    }

    fn find_key(&self, id: i64) -> Option<AuthKey> {
        let state = self.kernel.lock();
        state.keys.get(id).filter(|record| record.dc == self.handle.dc).map(|record| record.key)
    }

    fn account(&self) -> Option<i64> {
        let (id, _) = self.key.as_ref()?;
        self.kernel.lock().keys.get(*id)?.user
    }

    /// Notes that this connection is live with a key, and convicts the key when another one is.
    async fn go_live(&mut self, key_id: i64, session: i64) {
        let rivals = self.kernel.connections.packet(self.handle.id, key_id, session);
        if self.handle.key != Some(key_id) {
            self.handle.key = Some(key_id);
            self.kernel.recorder.connection_live(
                self.handle.id,
                key_id,
                self.transport.name(),
                self.kernel.clock.now(),
            );
        }
        for rival in rivals {
            if !is_live(&rival).await {
                continue;
            }
            let account = self.account();
            let overlap = Overlap {
                auth_key_id: key_id,
                account,
                earlier: rival.id,
                later: self.handle.id,
                at: self.kernel.clock.now(),
            };
            tracing::warn!(?account, earlier = rival.id, later = self.handle.id, "one key on two live connections");
            self.kernel.recorder.overlap(overlap);
            if self.kernel.strict {
                self.kernel.destroy_duplicated(key_id);
            }
        }
        let account = self.account();
        if account != self.known_account {
            self.known_account = account;
            if let Some(account) = account {
                self.kernel.recorder.connection_account(self.handle.id, account);
            }
        }
    }

    fn take_encrypted(&mut self, key_id: i64, key: &AuthKey, envelope: Envelope) -> Result<bool, WireError> {
        let clock = &self.kernel.clock;
        let session = envelope.session;
        if !salt_is_valid(clock, key, envelope.salt) {
            let notice: enums::BadMsgNotification = t::BadServerSalt {
                bad_msg_id: envelope.message.id,
                bad_msg_seqno: envelope.message.seq_no,
                error_code: 48,
                new_server_salt: current_salt(clock, key),
            }
            .into();
            self.queue(session, Outgoing::service(notice.to_bytes()));
            return Ok(true);
        }
        let created = self.kernel.lock().keys.get_mut(key_id).is_some_and(|record| record.session(session).1);
        if created {
            let notice: enums::NewSession = t::NewSessionCreated {
                first_msg_id: envelope.message.id,
                unique_id: i64::from_le_bytes(random()),
                server_salt: current_salt(clock, key),
            }
            .into();
            self.queue(session, Outgoing::update(notice.to_bytes()));
        }
        for message in flatten(envelope.message)? {
            if !self.take_message(key_id, key, session, message)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_message(&mut self, key_id: i64, key: &AuthKey, session: i64, message: Message) -> Result<bool, WireError> {
        let arguments = message.body.get(4..).unwrap_or_default();
        match constructor(&message.body).unwrap_or_default() {
            t::MsgsAck::CONSTRUCTOR_ID
            | t::MsgsStateReq::CONSTRUCTOR_ID
            | t::MsgsStateInfo::CONSTRUCTOR_ID
            | t::MsgsAllInfo::CONSTRUCTOR_ID
            | t::MsgResendReq::CONSTRUCTOR_ID
            | t::HttpWait::CONSTRUCTOR_ID => {}
            f::Ping::CONSTRUCTOR_ID => self.pong(session, message.id, f::Ping::from_bytes(arguments)?.ping_id),
            f::PingDelayDisconnect::CONSTRUCTOR_ID => {
                let ping = f::PingDelayDisconnect::from_bytes(arguments)?;
                let delay = Duration::from_secs(u64::from(ping.disconnect_delay.clamp(0, 3600).unsigned_abs()));
                self.deadline = Some(self.kernel.clock.instant_after(delay));
                self.pong(session, message.id, ping.ping_id);
            }
            f::GetFutureSalts::CONSTRUCTOR_ID => {
                let wanted = f::GetFutureSalts::from_bytes(arguments)?.num;
                self.tell_salts(key, session, message.id, wanted);
            }
            f::DestroySession::CONSTRUCTOR_ID => {
                let session_id = f::DestroySession::from_bytes(arguments)?.session_id;
                let known =
                    self.kernel.lock().keys.get_mut(key_id).is_some_and(|record| record.destroy_session(session_id));
                let answer: enums::DestroySessionRes = if known {
                    t::DestroySessionOk { session_id }.into()
                } else {
                    t::DestroySessionNone { session_id }.into()
                };
                self.queue(session, Outgoing::service(answer.to_bytes()));
            }
            f::RpcDropAnswer::CONSTRUCTOR_ID => {
                let answer = enums::RpcDropAnswer::RpcAnswerUnknown.to_bytes();
                let body = super::message::rpc_result(message.id, &answer);
                self.queue(session, Outgoing { content: true, ..Outgoing::service(body) });
            }
            _ => {
                let mut state = self.kernel.lock();
                if state.keys.get_mut(key_id).is_some_and(|record| !record.session(session).0.is_new(message.id)) {
                    return Ok(true);
                }
                drop(state);
                let origin = Origin { connection: self.handle.id, key: key_id, session, dc: self.handle.dc };
                match self.kernel.submit(origin, message.id, message.body) {
                    Outcome::Reply(reply) => self.queue(session, reply),
                    Outcome::Later => {
                        let ack: enums::MsgsAck = t::MsgsAck { msg_ids: vec![message.id] }.into();
                        self.queue(session, Outgoing::service(ack.to_bytes()));
                    }
                    Outcome::Never => {}
                    Outcome::Close => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// Pongs and salts stand alone, never inside an `rpc_result`.
    fn pong(&mut self, session: i64, msg_id: i64, ping_id: i64) {
        let pong: enums::Pong = t::Pong { msg_id, ping_id }.into();
        self.queue(session, Outgoing::service(pong.to_bytes()));
    }

    fn tell_salts(&mut self, key: &AuthKey, session: i64, req_msg_id: i64, wanted: i32) {
        let salts = future_salts(&self.kernel.clock, key, wanted)
            .into_iter()
            .map(|salt| t::FutureSalt { valid_since: salt.since, valid_until: salt.until, salt: salt.value })
            .collect();
        let answer: enums::FutureSalts =
            t::FutureSalts { req_msg_id, now: self.kernel.clock.unix(), salts: tl::RawVec(salts) }.into();
        self.queue(session, Outgoing::service(answer.to_bytes()));
    }

    fn queue(&mut self, session: i64, message: Outgoing) {
        self.outbox.push(Parcel { session, message });
    }

    /// Seals and writes what is queued, in order; neighbours of one session share a packet.
    async fn flush(&mut self) -> Result<(), WireError> {
        while let Some(first) = self.outbox.first() {
            let session = first.session;
            let mut bytes = 0;
            let fitting = self.outbox.iter().take(CONTAINER.0).take_while(|parcel| {
                let first = bytes == 0;
                bytes += parcel.message.body.len();
                parcel.session == session && (first || bytes <= CONTAINER.1)
            });
            let count = fitting.count();
            let messages: Vec<Outgoing> = self.outbox.drain(..count).map(|parcel| parcel.message).collect();
            let calls: Vec<u64> = messages.iter().filter_map(|message| message.call).collect();
            if let Err(error) = self.send(session, &messages).await {
                calls.into_iter().for_each(|call| self.kernel.recorder.unanswered(call));
                return Err(error);
            }
            let now = self.kernel.clock.now();
            calls.into_iter().for_each(|call| self.kernel.recorder.answered(call, now));
        }
        Ok(())
    }

    async fn send(&mut self, session: i64, messages: &[Outgoing]) -> Result<(), WireError> {
        let Some((id, key)) = self.key else { return Ok(()) };
        let packet = {
            let mut state = self.kernel.lock();
            let Some(record) = state.keys.get_mut(id) else { return Err(WireError::Closed) };
            record.session(session).0.seal(&self.kernel.clock, &key, session, messages)
        };
        let framed = self.transport.pack(&packet);
        self.write(&framed).await
    }

    /// Writes all bytes, unless the connection is closed meanwhile: a client may never read.
    async fn write(&self, mut bytes: &[u8]) -> Result<(), WireError> {
        let stream = &self.handle.stream;
        while !bytes.is_empty() {
            tokio::select! {
                biased;
                () = self.handle.closing().cancelled() => return Err(WireError::Closed),
                () = self.kernel.shutdown.cancelled() => return Err(WireError::Closed),
                ready = stream.writable() => ready?,
            }
            match stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn abandon_outbox(&mut self) {
        for call in self.outbox.drain(..).filter_map(|parcel| parcel.message.call) {
            self.kernel.recorder.unanswered(call);
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
