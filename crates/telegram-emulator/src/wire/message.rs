//! Messages inside the envelope: containers and gzip, unpacked under bounds.

use std::io::{Read as _, Write as _};

use grammers_tl_types::{Deserializable as _, Serializable as _};

use super::request::constructor;
use super::{MAX_PACKET, WireError};

pub(crate) const MSG_CONTAINER: u32 = 0x73f1_f8dc;
pub(crate) const GZIP_PACKED: u32 = 0x3072_cfa1;
pub(crate) const RPC_RESULT: u32 = 0xf35c_6d01;

/// Most messages in a container (<https://core.telegram.org/mtproto/service_messages#containers>).
const MAX_CONTAINED: u32 = 1020;
/// Answers at least this long are sent compressed.
const GZIP_FROM: usize = 2048;

/// One message of a client.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) seq_no: i32,
    pub(crate) body: Vec<u8>,
}

/// What a decrypted packet says.
pub(crate) struct Envelope {
    pub(crate) salt: i64,
    pub(crate) session: i64,
    pub(crate) message: Message,
}

impl Envelope {
    /// Reads a decrypted packet. The padding behind the message must be 12 to 1024 bytes.
    pub(crate) fn read(plain: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(plain);
        let (salt, session) = (reader.i64()?, reader.i64()?);
        let message = reader.message()?;
        if !(12..=1024).contains(&reader.0.len()) {
            return Err(WireError::Malformed("padding of a forbidden length"));
        }
        Ok(Self { salt, session, message })
    }
}

/// Unpacks containers and compressed bodies into the messages to be handled, in order.
///
/// A container may not lie in a container and a compressed body may not hold another, as the protocol says; so a
/// small packet cannot grow without bound.
pub(crate) fn flatten(message: Message) -> Result<Vec<Message>, WireError> {
    let mut out = Vec::new();
    if constructor(&message.body) == Some(MSG_CONTAINER) {
        let mut reader = Reader(&message.body[4..]);
        let count = reader.u32()?;
        if count > MAX_CONTAINED {
            return Err(WireError::Malformed("too many messages in a container"));
        }
        let mut budget = MAX_PACKET;
        for _ in 0..count {
            let inner = unzip(reader.message()?)?;
            budget = budget.checked_sub(inner.body.len()).ok_or(WireError::Malformed("container grows too large"))?;
            out.push(inner);
        }
    } else {
        out.push(unzip(message)?);
    }
    for message in &out {
        match constructor(&message.body) {
            None => return Err(WireError::Malformed("message without a constructor")),
            Some(MSG_CONTAINER) => return Err(WireError::Malformed("container inside another")),
            Some(_) => {}
        }
    }
    Ok(out)
}

fn unzip(mut message: Message) -> Result<Message, WireError> {
    if constructor(&message.body) == Some(GZIP_PACKED) {
        message.body = gunzip(&message.body[4..])?;
    }
    Ok(message)
}

/// Unpacks the argument of `gzip_packed`.
pub(crate) fn gunzip(packed: &[u8]) -> Result<Vec<u8>, WireError> {
    let packed = Vec::<u8>::from_bytes(packed)?;
    let mut body = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&packed[..]).take(MAX_PACKET as u64 + 1);
    decoder.read_to_end(&mut body).map_err(|_| WireError::Malformed("broken gzip"))?;
    if body.len() > MAX_PACKET {
        return Err(WireError::Malformed("compressed body unpacks too large"));
    }
    Ok(body)
}

/// Wraps an answer to a request, compressed when that is worth it.
pub(crate) fn rpc_result(request: i64, answer: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.len().min(GZIP_FROM) + 16);
    out.extend_from_slice(&RPC_RESULT.to_le_bytes());
    out.extend_from_slice(&request.to_le_bytes());
    match (answer.len() >= GZIP_FROM).then(|| gzip(answer)).flatten() {
        Some(packed) => out.extend(packed),
        None => out.extend_from_slice(answer),
    }
    out
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    let packed = encoder.finish().ok()?;
    let mut out = GZIP_PACKED.to_le_bytes().to_vec();
    packed.serialize(&mut out);
    (out.len() < body.len()).then_some(out)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Malformed("message cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn message(&mut self) -> Result<Message, WireError> {
        let id = self.i64()?;
        let seq_no = i32::from_le_bytes(self.array()?);
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(WireError::Malformed("message longer than its packet"));
        }
        let (body, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(Message { id, seq_no, body: body.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::crypto::random;

    fn contained(bodies: &[&[u8]]) -> Message {
        let mut body = MSG_CONTAINER.to_le_bytes().to_vec();
        body.extend((bodies.len() as u32).to_le_bytes());
        for (at, inner) in bodies.iter().enumerate() {
            body.extend((at as i64).to_le_bytes());
            body.extend(1i32.to_le_bytes());
            body.extend((inner.len() as u32).to_le_bytes());
            body.extend_from_slice(inner);
        }
        Message { id: 99, seq_no: 0, body }
    }

    #[test]
    fn containers_and_gzip_are_unpacked_in_order() {
        let large = vec![7u8; 5000];
        let packed = gzip(&large).unwrap();
        let messages = flatten(contained(&[&[1, 0, 0, 0], &packed, &[2, 0, 0, 0]])).unwrap();
        assert_eq!(messages.iter().map(|m| m.body.len()).collect::<Vec<_>>(), [4, 5000, 4]);
        assert_eq!(messages[2].id, 2);
    }

    #[test]
    fn bombs_and_nesting_are_refused() {
        let bomb = gzip(&vec![0u8; MAX_PACKET + 1]).unwrap();
        assert!(flatten(Message { id: 1, seq_no: 1, body: bomb }).is_err());
        let half = gzip(&vec![1u8; MAX_PACKET / 2 + 1]).unwrap();
        assert!(flatten(contained(&[&half, &half])).is_err());
        let inner = contained(&[&[1, 0, 0, 0]]).body;
        assert!(flatten(contained(&[&inner])).is_err());
        assert!(flatten(Message { id: 1, seq_no: 1, body: vec![1, 2] }).is_err());
    }

    #[test]
    fn noise_never_panics() {
        for _ in 0..2000 {
            let noise: [u8; 96] = random();
            for start in [None, Some(MSG_CONTAINER), Some(GZIP_PACKED)] {
                let mut body = start.map(|id| id.to_le_bytes().to_vec()).unwrap_or_default();
                body.extend(noise);
                let _ = flatten(Message { id: 1, seq_no: 1, body });
            }
            let _ = Envelope::read(&noise);
            let _ = Envelope::read(&noise[..20]);
        }
    }

    #[test]
    fn long_answers_are_compressed() {
        assert!(rpc_result(1, &vec![0; 4000]).len() < 200);
        assert_eq!(rpc_result(1, &[1, 2, 3, 4]).len(), 16);
    }
}
