//! The envelope of MTProto 2.0 from the server's side.
//!
//! `grammers-crypto` only offers the client's side (x is fixed to the client's direction), so the mirror image
//! lives here; AES-IGE itself is reused. See <https://core.telegram.org/mtproto/description>.

use grammers_crypto::aes;
use num_bigint::BigUint;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::WireError;

/// A 2048-bit authorisation key.
pub(crate) type AuthKey = [u8; 256];

/// The safe prime that Telegram uses for the key exchange and for SRP, with generator 3.
///
/// Clients compare it with the copy they carry, so no other prime may be served.
const DH_PRIME_HEX: &str = "c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c3720fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f642477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b";

/// Generator that goes with [`dh_prime_bytes`].
pub(crate) const DH_GENERATOR: i32 = 3;

pub(crate) fn dh_prime_bytes() -> Vec<u8> {
    grammers_crypto::hex::from_hex(DH_PRIME_HEX)
}

pub(crate) fn dh_prime() -> BigUint {
    BigUint::from_bytes_be(&dh_prime_bytes())
}

/// Fills an array from the system's random source.
///
/// # Panics
/// When the operating system has no random source, as nothing sensible can go on without one.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    bytes
}

pub(crate) fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Left-pads a number to the 256 bytes that hashes over it are defined on; longer input keeps its low bytes.
pub(crate) fn pad256(bytes: &[u8]) -> [u8; 256] {
    let mut out = [0; 256];
    let tail = &bytes[bytes.len().saturating_sub(256)..];
    out[256 - tail.len()..].copy_from_slice(tail);
    out
}

/// The low 64 bits of SHA1(auth key), by which every encrypted packet names its key.
pub(crate) fn key_id(key: &AuthKey) -> i64 {
    let hash = sha1(&[key]);
    let mut id = [0; 8];
    id.copy_from_slice(&hash[12..20]);
    i64::from_le_bytes(id)
}

/// Who wrote a packet; the key derivation differs by an offset into the auth key.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    FromClient,
    FromServer,
}

impl Direction {
    fn x(self) -> usize {
        match self {
            Self::FromClient => 0,
            Self::FromServer => 8,
        }
    }
}

fn message_key(key: &AuthKey, plain: &[u8], direction: Direction) -> [u8; 16] {
    let x = direction.x();
    let large = sha256(&[&key[88 + x..120 + x], plain]);
    let mut out = [0; 16];
    out.copy_from_slice(&large[8..24]);
    out
}

fn aes_key_iv(key: &AuthKey, message_key: &[u8; 16], direction: Direction) -> ([u8; 32], [u8; 32]) {
    let x = direction.x();
    let a = sha256(&[message_key, &key[x..x + 36]]);
    let b = sha256(&[&key[40 + x..76 + x], message_key]);
    let (mut aes_key, mut iv) = ([0; 32], [0; 32]);
    aes_key[..8].copy_from_slice(&a[..8]);
    aes_key[8..24].copy_from_slice(&b[8..24]);
    aes_key[24..].copy_from_slice(&a[24..]);
    iv[..8].copy_from_slice(&b[..8]);
    iv[8..24].copy_from_slice(&a[8..24]);
    iv[24..].copy_from_slice(&b[24..]);
    (aes_key, iv)
}

/// Opens a packet: `key id | message key | encrypted`. Returns `salt | session | message … | padding`.
pub(crate) fn decrypt(packet: &[u8], key: &AuthKey, direction: Direction) -> Result<Vec<u8>, WireError> {
    if packet.len() < 24 + 32 || !(packet.len() - 24).is_multiple_of(16) {
        return Err(WireError::PacketLength(packet.len()));
    }
    let mut sent_key = [0; 16];
    sent_key.copy_from_slice(&packet[8..24]);
    let (aes_key, iv) = aes_key_iv(key, &sent_key, direction);
    let mut plain = packet[24..].to_vec();
    aes::ige_decrypt(&mut plain, &aes_key, &iv);
    if message_key(key, &plain, direction) != sent_key {
        return Err(WireError::MessageKey);
    }
    Ok(plain)
}

/// Seals `salt | session | message …` with 12 to 27 bytes of random padding.
pub(crate) fn encrypt(mut plain: Vec<u8>, key: &AuthKey, direction: Direction) -> Vec<u8> {
    let padding = 12 + (16 - (plain.len() + 12) % 16) % 16;
    plain.extend_from_slice(&random::<32>()[..padding]);
    let message_key = message_key(key, &plain, direction);
    let (aes_key, iv) = aes_key_iv(key, &message_key, direction);
    aes::ige_encrypt(&mut plain, &aes_key, &iv);
    let mut packet = Vec::with_capacity(24 + plain.len());
    packet.extend_from_slice(&key_id(key).to_le_bytes());
    packet.extend_from_slice(&message_key);
    packet.extend_from_slice(&plain);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_open_what_they_sealed_and_nothing_else() {
        let key: AuthKey = random();
        let plain = b"0123456789abcdef0123456789".to_vec();
        let packet = encrypt(plain.clone(), &key, Direction::FromServer);
        assert_eq!(packet[..8], key_id(&key).to_le_bytes());
        let opened = decrypt(&packet, &key, Direction::FromServer).unwrap();
        assert_eq!(opened[..plain.len()], plain);
        assert!(opened.len() - plain.len() >= 12);
        assert!(matches!(decrypt(&packet, &key, Direction::FromClient), Err(WireError::MessageKey)));
        assert!(matches!(decrypt(&packet, &random(), Direction::FromServer), Err(WireError::MessageKey)));
    }

    #[test]
    fn the_client_library_opens_what_the_server_seals() {
        let key: AuthKey = random();
        let mut packet = encrypt(vec![7; 64], &key, Direction::FromServer);
        let opened = grammers_crypto::decrypt_data_v2(&mut packet, &grammers_crypto::AuthKey::from_bytes(key)).unwrap();
        assert_eq!(opened[..64], [7; 64]);
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let key: AuthKey = random();
        let packet = encrypt(vec![1; 40], &key, Direction::FromClient);
        for at in 8..packet.len() {
            let mut bad = packet.clone();
            bad[at] ^= 1;
            assert!(decrypt(&bad, &key, Direction::FromClient).is_err(), "byte {at}");
        }
        for length in 0..packet.len() {
            assert!(decrypt(&packet[..length], &key, Direction::FromClient).is_err(), "length {length}");
        }
    }

    #[test]
    fn padding_keeps_the_low_bytes() {
        assert_eq!(pad256(&[5])[255], 5);
        assert_eq!(pad256(&[9; 300]), [9; 256]);
        assert_eq!(pad256(&[]), [0; 256]);
    }
}
