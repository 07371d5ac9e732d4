//! The emulator's RSA key and both paddings that clients encrypt under it.

use std::sync::LazyLock;

use grammers_crypto::{aes, hex};
use grammers_tl_types::{self as tl, Deserializable as _, Serializable as _};
use num_bigint::BigUint;

use super::WireError;
use super::crypto::{pad256, sha1, sha256};

// A throw-away key made for this emulator alone. It is public on purpose and guards nothing: whoever holds the
// private half can only pretend to be an emulator on the loopback interface.
const MODULUS_HEX: &str = "d77b89d5d70590c33bce79945a0d414976a02c11cf852f22be1545dc1d55d7bedc07d283fedd2f25618f344dd8f0f0fd79e5919f883a6a54d36dc5e8f93840833b5e4cdbeaace3bd15b597759237c5dc096462836b1445c831383ae5d5a0f59c70c478ecb794adc7e401a2ff76f91a104c79fea1b8111c62ca2ee139b69fcfe841bf89aeef5b0969176753bf5686d9f758a0c098ab2679ae75d518a1b885a38b6e5e3e72568ea19b4e0d06bf42d8645a288cb7ad0dbef6ab48f9b9553433c7cb7f1e34c61b604bda0592c6ac3e442c178bd4a0f0a5db4a9d2be0e0a2ad5de69aeddaab4c7347bb892cd83b973f66490023887a5200c571658f1bd2b686f64823";
const PRIVATE_EXPONENT_HEX: &str = "1a8547e79bb941a1e5c079d23a6b1b37f173b138d7f3aa637a459ffd8156c960e22fcc47169d1e6a596188ac7420e3682f128423c05e802bc481e433d2488c181abc767532a2e8bca2e960a4c5c43b83e35c098be727ed96c0080da7afed498d618bacde6591d4f99f245c6d58b53bf1f997a231413849e816be42561a15fd3e7cd6ecda376e668987e3ac595d0f67c802a66580db76db2d5068bf5edf3d826eba63579f8e001a7e3127e7f976cacc59bac232e2c8cbe1e9a2c29101a47b6826a725a10508d597b5fcfbeb9947f38d31d498c7866f0822f39a6e7d554d2befb7550d12e9de7cd820430f9b9d2e33882fbd789fbfaab11babd8a4df4056bcbba1";
const PUBLIC_EXPONENT: u32 = 65537;

/// The emulator's RSA key pair.
pub(crate) struct RsaKey {
    modulus: BigUint,
    private_exponent: BigUint,
    fingerprint: i64,
}

static KEY: LazyLock<RsaKey> = LazyLock::new(|| {
    let modulus = BigUint::from_bytes_be(&hex::from_hex(MODULUS_HEX));
    let private_exponent = BigUint::from_bytes_be(&hex::from_hex(PRIVATE_EXPONENT_HEX));
    let mut public = modulus.to_bytes_be().to_bytes();
    public.extend(BigUint::from(PUBLIC_EXPONENT).to_bytes_be().to_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&sha1(&[&public])[12..20]);
    RsaKey { modulus, private_exponent, fingerprint: i64::from_le_bytes(id) }
});

impl RsaKey {
    pub(crate) fn emulator() -> &'static Self {
        &KEY
    }

    /// The modulus in decimal, as client libraries take it.
    pub(crate) fn modulus_decimal(&self) -> String {
        self.modulus.to_str_radix(10)
    }

    pub(crate) fn public_exponent(&self) -> u32 {
        PUBLIC_EXPONENT
    }

    /// The low 64 bits of SHA1 over both public numbers in TL form
    /// (<https://core.telegram.org/mtproto/auth_key>).
    pub(crate) fn fingerprint(&self) -> i64 {
        self.fingerprint
    }

    /// Opens `p_q_inner_data`, whichever padding the client used.
    ///
    /// Telethon and Pyrogram still send the legacy form `0 | sha1(data) | data | random`; grammers and the
    /// documentation use RSA_PAD, whose first byte is hardly ever zero.
    pub(crate) fn decrypt_inner_data(&self, encrypted: &[u8]) -> Result<Vec<u8>, WireError> {
        if encrypted.len() > 256 {
            return Err(WireError::Handshake("encrypted data longer than the key"));
        }
        let number = BigUint::from_bytes_be(encrypted).modpow(&self.private_exponent, &self.modulus);
        let block = pad256(&number.to_bytes_be());
        match legacy_unpad(&block) {
            Some(data) => Ok(data),
            None => rsa_unpad(&block),
        }
    }
}

fn legacy_unpad(block: &[u8; 256]) -> Option<Vec<u8>> {
    if block[0] != 0 {
        return None;
    }
    let data = tl::enums::PQInnerData::from_bytes(&block[21..]).ok()?.to_bytes();
    (sha1(&[&data])[..] == block[1..21]).then_some(data)
}

fn rsa_unpad(block: &[u8; 256]) -> Result<Vec<u8>, WireError> {
    let (xored_key, encrypted) = block.split_at(32);
    let hash = sha256(&[encrypted]);
    let mut temporary_key = [0u8; 32];
    for (out, (a, b)) in temporary_key.iter_mut().zip(xored_key.iter().zip(hash)) {
        *out = a ^ b;
    }
    let mut data = encrypted.to_vec();
    aes::ige_decrypt(&mut data, &temporary_key, &[0; 32]);
    let (reversed, hash) = data.split_at(192);
    let padded: Vec<u8> = reversed.iter().rev().copied().collect();
    if sha256(&[&temporary_key, &padded])[..] != *hash {
        return Err(WireError::Handshake("neither padding fits the encrypted data"));
    }
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::crypto::random;

    fn inner() -> Vec<u8> {
        tl::enums::PQInnerData::Data(tl::types::PQInnerData {
            pq: vec![1; 8],
            p: vec![2; 4],
            q: vec![3; 4],
            nonce: random(),
            server_nonce: random(),
            new_nonce: random(),
        })
        .to_bytes()
    }

    #[test]
    fn both_paddings_open() {
        let key = RsaKey::emulator();
        let data = inner();

        let public = grammers_crypto::rsa::Key::new(&key.modulus_decimal(), "65537").unwrap();
        let padded = grammers_crypto::rsa::encrypt_hashed(&data, &public, &random());
        assert!(key.decrypt_inner_data(&padded).unwrap().starts_with(&data));

        let mut legacy = vec![0];
        legacy.extend(sha1(&[&data]));
        legacy.extend(&data);
        legacy.extend(&random::<256>()[..256 - legacy.len()]);
        let sealed = BigUint::from_bytes_be(&legacy).modpow(&PUBLIC_EXPONENT.into(), &key.modulus).to_bytes_be();
        assert_eq!(key.decrypt_inner_data(&sealed).unwrap(), data);
    }

    #[test]
    fn garbage_is_refused() {
        let key = RsaKey::emulator();
        for length in [0, 1, 255, 256, 257, 1000] {
            assert!(key.decrypt_inner_data(&vec![0x5a; length]).is_err(), "length {length}");
        }
    }
}
