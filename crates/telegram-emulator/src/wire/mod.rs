//! The server side of MTProto 2.0 over TCP.
//!
//! From the socket inwards: `transport` (framing), `handshake` (auth keys), `crypto` (the envelope),
//! `message` (containers and gzip), `session` (ids, numbers, salts), `request` (typed, bounded decoding),
//! `connection` (one socket), `server` (the listeners). The API behind it is in `crate::methods`.
//!
//! Sources: <https://core.telegram.org/mtproto> and its sub-pages on transports, auth keys, descriptions and
//! service messages.

pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod crypto;
pub(crate) mod handshake;
pub(crate) mod message;
pub(crate) mod request;
pub(crate) mod rsa;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod srp;
pub(crate) mod transport;

/// Longest packet and longest unpacked message that the emulator takes, in bytes.
///
/// Telegram closes the connection above 1 MiB; anything larger would only serve to exhaust the emulator.
pub(crate) const MAX_PACKET: usize = 1 << 20;

/// What a peer did wrong on the wire; each ends the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("unknown transport: first bytes {0:02x?}")]
    UnknownTransport([u8; 4]),
    #[error("packet of {0} bytes is outside the bounds")]
    PacketLength(usize),
    #[error("bad frame: {0}")]
    Frame(#[from] grammers_mtproto::transport::Error),
    #[error("message key does not match")]
    MessageKey,
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    #[error("handshake refused: {0}")]
    Handshake(&'static str),
    #[error("undecodable: {0}")]
    Decode(#[from] grammers_tl_types::deserialize::Error),
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
}
