//! Framing: the client's first bytes choose the transport, everything after is packets.
//!
//! Offered are full, abridged, intermediate and padded intermediate, the last three also inside the obfuscation
//! ("obfuscated2"). See <https://core.telegram.org/mtproto/mtproto-transports>.

use grammers_crypto::{DequeBuffer, ObfuscatedCipher};
use grammers_mtproto::transport::{Error as FrameError, Full, Transport as _};

use super::{MAX_PACKET, WireError};

enum Framing {
    Undecided,
    Full(Full),
    Abridged,
    Intermediate,
    PaddedIntermediate,
}

/// One connection's transport: bytes in, packets out, and back.
pub(crate) struct Transport {
    framing: Framing,
    cipher: Option<ObfuscatedCipher>,
    received: Vec<u8>,
}

impl Transport {
    pub(crate) fn new() -> Self {
        Self { framing: Framing::Undecided, cipher: None, received: Vec::new() }
    }

    /// The transport's name, for logs and the flight recorder.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.framing, self.cipher.is_some()) {
            (Framing::Undecided, _) => "undecided",
            (Framing::Full(_), _) => "full",
            (Framing::Abridged, false) => "abridged",
            (Framing::Intermediate, false) => "intermediate",
            (Framing::PaddedIntermediate, false) => "padded intermediate",
            (Framing::Abridged, true) => "obfuscated abridged",
            (Framing::Intermediate, true) => "obfuscated intermediate",
            (Framing::PaddedIntermediate, true) => "obfuscated padded intermediate",
        }
    }

    /// Takes bytes from the socket.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        let at = self.received.len();
        self.received.extend_from_slice(data);
        if let Some(cipher) = &mut self.cipher {
            cipher.decrypt(&mut self.received[at..]);
        }
    }

    /// The next complete packet, if one has arrived.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        if matches!(self.framing, Framing::Undecided) && !self.decide()? {
            return Ok(None);
        }
        let Some(frame) = self.frame()? else { return Ok(None) };
        let mut packet = self.received[frame.start..frame.end].to_vec();
        self.received.drain(..frame.next);
        if matches!(self.framing, Framing::PaddedIntermediate) {
            strip_padding(&mut packet);
        }
        Ok(Some(packet))
    }

    /// Frames a packet for the client; its length must be a multiple of four.
    pub(crate) fn pack(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut out = match &mut self.framing {
            Framing::Full(full) => {
                let mut buffer = DequeBuffer::with_capacity(packet.len() + 16, 16);
                buffer.extend(packet.iter().copied());
                full.pack(&mut buffer);
                buffer[..].to_vec()
            }
            Framing::Abridged => {
                let words = packet.len() / 4;
                let mut out = Vec::with_capacity(packet.len() + 4);
                if words < 0x7f {
                    out.push(words as u8);
                } else {
                    out.push(0x7f);
                    out.extend_from_slice(&(words as u32).to_le_bytes()[..3]);
                }
                out.extend_from_slice(packet);
                out
            }
            Framing::Intermediate | Framing::PaddedIntermediate | Framing::Undecided => {
                let mut out = Vec::with_capacity(packet.len() + 4);
                out.extend_from_slice(&(packet.len() as u32).to_le_bytes());
                out.extend_from_slice(packet);
                out
            }
        };
        if let Some(cipher) = &mut self.cipher {
            cipher.encrypt(&mut out);
        }
        out
    }

    /// Frames a transport error such as -404.
    ///
    /// On "full" the code stands where length, number and body would: Telethon waits for eight bytes and hangs
    /// on a bare four, while grammers reads the first four only.
    pub(crate) fn pack_error(&mut self, code: i32) -> Vec<u8> {
        match self.framing {
            Framing::Full(_) => code.to_le_bytes().repeat(3),
            _ => self.pack(&code.to_le_bytes()),
        }
    }

    /// Looks at the first bytes; false when more of them are needed.
    fn decide(&mut self) -> Result<bool, WireError> {
        let bytes = &self.received;
        if bytes.first() == Some(&0xef) {
            self.framing = Framing::Abridged;
            self.received.drain(..1);
            return Ok(true);
        }
        let Some(head) = bytes.first_chunk::<8>() else { return Ok(false) };
        let (tag, number) = ([head[0], head[1], head[2], head[3]], &head[4..]);
        if let Some(framing @ (Framing::Intermediate | Framing::PaddedIntermediate)) = by_tag(tag) {
            self.framing = framing;
            self.received.drain(..4);
            return Ok(true);
        }
        if number == [0; 4] {
            // The first packet of "full" has number 0; an obfuscated beginning never has zeros here.
            self.framing = Framing::Full(Full::new());
            return Ok(true);
        }
        let Some(head) = bytes.first_chunk::<64>() else { return Ok(false) };
        self.decide_obfuscated(*head)?;
        Ok(true)
    }

    fn decide_obfuscated(&mut self, mut head: [u8; 64]) -> Result<(), WireError> {
        // The library's cipher is the client's. Mirroring key and vector swaps its two directions.
        let mut mirrored = head;
        mirrored[8..56].reverse();
        let mut cipher = ObfuscatedCipher::new(&mirrored);
        let first = [head[0], head[1], head[2], head[3]];
        cipher.decrypt(&mut head);
        let tag = [head[56], head[57], head[58], head[59]];
        self.framing = by_tag(tag).ok_or(WireError::UnknownTransport(first))?;
        self.received.drain(..64);
        cipher.decrypt(&mut self.received);
        self.cipher = Some(cipher);
        Ok(())
    }

    fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        let bytes = &mut self.received;
        let (start, length) = match &mut self.framing {
            Framing::Undecided => return Ok(None),
            Framing::Full(full) => {
                if let Some(length) = bytes.first_chunk::<4>() {
                    let length = u32::from_le_bytes(*length) as usize;
                    if !(12..=MAX_PACKET).contains(&length) {
                        return Err(WireError::PacketLength(length));
                    }
                }
                return match full.unpack(bytes) {
                    Ok(found) => Ok(Some(Frame {
                        start: found.data_range.start,
                        end: found.data_range.end,
                        next: found.next_offset,
                    })),
                    Err(FrameError::MissingBytes) => Ok(None),
                    Err(error) => Err(error.into()),
                };
            }
            Framing::Abridged => {
                // The top bit asks for a quick acknowledgement, which a server may leave out.
                let Some(first) = bytes.first().map(|byte| byte & 0x7f) else { return Ok(None) };
                if first < 0x7f {
                    (1, first as usize * 4)
                } else {
                    let Some([_, a, b, c]) = bytes.first_chunk::<4>() else { return Ok(None) };
                    (4, u32::from_le_bytes([*a, *b, *c, 0]) as usize * 4)
                }
            }
            Framing::Intermediate | Framing::PaddedIntermediate => {
                let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
                (4, (u32::from_le_bytes(*length) & 0x7fff_ffff) as usize)
            }
        };
        if length > MAX_PACKET {
            return Err(WireError::PacketLength(length));
        }
        let end = start + length;
        Ok((bytes.len() >= end).then_some(Frame { start, end, next: end }))
    }
}

struct Frame {
    start: usize,
    end: usize,
    next: usize,
}

fn by_tag(tag: [u8; 4]) -> Option<Framing> {
    match tag {
        [0xef, 0xef, 0xef, 0xef] => Some(Framing::Abridged),
        [0xee, 0xee, 0xee, 0xee] => Some(Framing::Intermediate),
        [0xdd, 0xdd, 0xdd, 0xdd] => Some(Framing::PaddedIntermediate),
        _ => None,
    }
}

/// Removes the up to 15 random bytes behind a padded packet: a plain message carries its length, an encrypted one
/// is 24 bytes and whole cipher blocks.
fn strip_padding(packet: &mut Vec<u8>) {
    let Some(head) = packet.first_chunk::<20>() else { return };
    let keep = if head[..8] == [0; 8] {
        20 + u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize
    } else {
        packet.len() - packet.len().saturating_sub(24) % 16
    };
    packet.truncate(keep);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::crypto::random;
    use grammers_mtproto::transport::{Abridged, Intermediate, Transport as ClientTransport};

    fn client_pack(transport: &mut impl ClientTransport, packet: &[u8]) -> Vec<u8> {
        let mut buffer = DequeBuffer::with_capacity(packet.len() + 16, 16);
        buffer.extend(packet.iter().copied());
        transport.pack(&mut buffer);
        buffer[..].to_vec()
    }

    fn round_trip(mut client: impl ClientTransport, name: &str) {
        let mut server = Transport::new();
        for size in [40usize, 508, 512, 4000] {
            let packet: Vec<u8> = (0..size).map(|i| i as u8 | 1).collect();
            for byte in client_pack(&mut client, &packet) {
                assert_eq!(server.next_packet().unwrap(), None, "a packet before its last byte");
                server.feed(&[byte]);
            }
            assert_eq!(server.next_packet().unwrap(), Some(packet.clone()));
            assert_eq!(server.name(), name);
            let mut answer = server.pack(&packet);
            let offset = client.unpack(&mut answer).unwrap();
            assert_eq!(answer[offset.data_range], packet[..]);
        }
    }

    #[test]
    fn the_client_library_is_understood_in_each_framing() {
        round_trip(Full::new(), "full");
        round_trip(Abridged::new(), "abridged");
        round_trip(Intermediate::new(), "intermediate");
    }

    #[test]
    fn obfuscated_beginnings_are_recognised() {
        for (tag, name) in [
            (0xefu8, "obfuscated abridged"),
            (0xee, "obfuscated intermediate"),
            (0xdd, "obfuscated padded intermediate"),
        ] {
            let mut head: [u8; 64] = random();
            head[0] = 1;
            head[4] = 1;
            let mut cipher = ObfuscatedCipher::new(&head);
            let mut sealed = head;
            sealed[56..60].fill(tag);
            cipher.encrypt(&mut sealed);
            let mut first = head;
            first[56..].copy_from_slice(&sealed[56..]);

            let mut packet = vec![9u8; 40];
            packet[0] = 1;
            let mut framed = if tag == 0xef { vec![10] } else { 40u32.to_le_bytes().to_vec() };
            framed.extend(&packet);
            cipher.encrypt(&mut framed);

            let mut server = Transport::new();
            server.feed(&first);
            server.feed(&framed[..5]);
            assert_eq!(server.next_packet().unwrap(), None);
            server.feed(&framed[5..]);
            assert_eq!(server.next_packet().unwrap(), Some(packet.clone()));
            assert_eq!(server.name(), name);

            let mut answer = server.pack(&packet);
            cipher.decrypt(&mut answer);
            assert!(answer.ends_with(&packet));
        }
    }

    #[test]
    fn padding_is_removed() {
        let mut server = Transport::new();
        let mut encrypted = vec![1u8; 24 + 48];
        encrypted.extend([0; 7]);
        server.feed(&[0xdd; 4]);
        server.feed(&79u32.to_le_bytes());
        server.feed(&encrypted);
        assert_eq!(server.next_packet().unwrap().unwrap().len(), 72);
    }

    #[test]
    fn errors_have_the_length_that_clients_wait_for() {
        let mut full = Transport::new();
        full.feed(&[12, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(full.next_packet().unwrap(), None);
        assert_eq!(full.pack_error(-404).len(), 12);
        let mut abridged = Transport::new();
        abridged.feed(&[0xef]);
        assert_eq!(abridged.next_packet().unwrap(), None);
        assert_eq!(abridged.pack_error(-404), [1, 0x6c, 0xfe, 0xff, 0xff]);
    }

    #[test]
    fn hostile_beginnings_neither_panic_nor_grow() {
        for seed in 0..2000u64 {
            let mut noise: [u8; 256] = random();
            if seed % 3 == 0 {
                noise[0] = 0xef;
            } else if seed % 3 == 1 {
                noise[..4].fill(0xdd);
            } else {
                noise[4..8].fill(0);
            }
            let mut server = Transport::new();
            for chunk in noise.chunks(37) {
                server.feed(chunk);
                while let Ok(Some(packet)) = server.next_packet() {
                    assert!(packet.len() <= MAX_PACKET);
                }
            }
            let _ = server.pack_error(-404);
        }
    }
}
