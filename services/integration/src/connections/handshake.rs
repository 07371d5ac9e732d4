//! Makes an authorisation key with a data centre.
//!
//! The exchange of <https://core.telegram.org/mtproto/auth_key>, over grammers'
//! low level sender, with RSA keys from configuration: grammers keeps its own
//! fixed. Every check of <https://core.telegram.org/mtproto/security_guidelines>
//! is made here; a data centre that fails one gets no key of ours.

use grammers_crypto::two_factor_auth::check_p_and_g;
use grammers_crypto::{AuthKey, aes, factorize, generate_key_data_from_nonce, rsa};
use grammers_mtproto::{mtp, transport};
use grammers_mtsender::{InvocationError, Sender};
use grammers_tl_types::{Cursor, Deserializable, Serializable, enums, functions, types};
use num_bigint::BigUint;
use sha1::{Digest as _, Sha1};

use super::config::RsaKey;

/// Bits of the prime, and of the margin that g_a and g_b keep from its ends.
const PRIME_BITS: u64 = 2048;
const MARGIN_BITS: u64 = PRIME_BITS - 64;

/// Times that a key is tried again when the data centre asks for it.
const RETRIES: i64 = 5;

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// The data centre has none of the RSA keys that are configured.
    #[error("the data centre has none of the configured rsa keys")]
    UnknownServer,
    /// The data centre failed a check.
    #[error("the data centre failed the check of {0}")]
    Check(&'static str),
}

impl From<InvocationError> for HandshakeError {
    fn from(error: InvocationError) -> Self {
        Self::Connection(error.to_string())
    }
}

/// A public RSA key of a data centre.
pub struct ServerKey {
    key: rsa::Key,
    fingerprint: i64,
}

impl ServerKey {
    /// From the numbers of the configuration.
    ///
    /// # Errors
    /// When they are no numbers of an RSA key.
    pub fn new(key: &RsaKey) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let number =
            |text: &str| BigUint::parse_bytes(text.as_bytes(), 10).context("telegram.rsa_keys: not a decimal number");
        let (n, e) = (number(&key.modulus)?, number(&key.exponent)?);
        anyhow::ensure!(n.bits() == 2048, "telegram.rsa_keys: the modulus must have 2048 bits, has {}", n.bits());
        let mut bytes = n.to_bytes_be().to_bytes();
        bytes.extend(e.to_bytes_be().to_bytes());
        let hash = sha1(&[&bytes]);
        let mut last = [0; 8];
        last.copy_from_slice(&hash[12..]);
        let key = rsa::Key::new(&key.modulus, &key.exponent).context("telegram.rsa_keys: not an rsa key")?;
        Ok(Self { key, fingerprint: i64::from_le_bytes(last) })
    }
}

type Plain = Sender<transport::Full, mtp::Plain>;

/// Makes a key over a fresh connection.
///
/// # Errors
/// When the connection fails, or the data centre fails a check.
pub async fn exchange(mut wire: Plain, keys: &[ServerKey], dc_id: i32) -> Result<[u8; 256], HandshakeError> {
    // 1. Who are you?
    let nonce: [u8; 16] = random();
    let enums::ResPq::Pq(res) = wire.invoke(&functions::ReqPqMulti { nonce }).await?;
    ensure(res.nonce == nonce, "the nonce")?;
    let server_nonce = res.server_nonce;
    let key = keys
        .iter()
        .find(|key| res.server_public_key_fingerprints.contains(&key.fingerprint))
        .ok_or(HandshakeError::UnknownServer)?;

    // 2. A proof of work, and a secret that only the owner of the RSA key can read.
    let pq = <[u8; 8]>::try_from(res.pq.as_slice()).map_err(|_| HandshakeError::Check("pq"))?;
    let number = u64::from_be_bytes(pq);
    ensure(number > 1 && number < 1 << 63, "pq")?;
    let (p, q) =
        tokio::task::spawn_blocking(move || factorize(number)).await.map_err(|_| HandshakeError::Check("pq"))?;
    ensure(p > 1 && q > 1 && p.checked_mul(q) == Some(number), "pq")?;
    let (p, q) = (trim(p.min(q)), trim(p.max(q)));
    let new_nonce: [u8; 32] = random();
    let inner = enums::PQInnerData::Dc(types::PQInnerDataDc {
        pq: res.pq.clone(),
        p: p.clone(),
        q: q.clone(),
        nonce,
        server_nonce,
        new_nonce,
        dc: dc_id,
    });
    let encrypted_data = rsa::encrypt_hashed(&inner.to_bytes(), &key.key, &random());
    let request =
        functions::ReqDhParams { nonce, server_nonce, p, q, public_key_fingerprint: key.fingerprint, encrypted_data };
    let params = match wire.invoke(&request).await? {
        enums::ServerDhParams::Ok(params) => params,
        enums::ServerDhParams::Fail(_) => return Err(HandshakeError::Check("our proof")),
    };
    ensure(params.nonce == nonce && params.server_nonce == server_nonce, "the nonces")?;

    // 3. The numbers of the exchange.
    let (aes_key, aes_iv) = generate_key_data_from_nonce(&server_nonce, &new_nonce);
    let inner = open_answer(params.encrypted_answer, &aes_key, &aes_iv)?;
    ensure(inner.nonce == nonce && inner.server_nonce == server_nonce, "the inner nonces")?;
    let prime = BigUint::from_bytes_be(&inner.dh_prime);
    ensure(prime.bits() == PRIME_BITS, "the prime's length")?;
    let g = inner.g;
    let bytes = inner.dh_prime.clone();
    // Whether the prime is safe, and g generates the right group. The one that
    // Telegram has used for years is known; another is tested, which takes a while.
    let good = tokio::task::spawn_blocking(move || check_p_and_g(&bytes, &g)).await.unwrap_or(false);
    ensure(good, "the prime")?;
    let g_a = BigUint::from_bytes_be(&inner.g_a);
    ensure(in_range(&g_a, &prime), "g_a")?;

    // 4. Our half. The data centre may ask for another.
    let generator = BigUint::from(u32::try_from(g).map_err(|_| HandshakeError::Check("g"))?);
    let mut retry_id = 0;
    for _ in 0..=RETRIES {
        let b = BigUint::from_bytes_be(&random::<256>());
        let g_b = generator.modpow(&b, &prime);
        if !in_range(&g_b, &prime) {
            continue;
        }
        let auth_key = pad(&g_a.modpow(&b, &prime).to_bytes_be());
        let inner = enums::ClientDhInnerData::Data(types::ClientDhInnerData {
            nonce,
            server_nonce,
            retry_id,
            g_b: pad(&g_b.to_bytes_be()).to_vec(),
        });
        let request = functions::SetClientDhParams {
            nonce,
            server_nonce,
            encrypted_data: seal_answer(&inner.to_bytes(), &aes_key, &aes_iv),
        };
        let answer = wire.invoke(&request).await?;
        if accepted(&answer, &nonce, &server_nonce, &AuthKey::from_bytes(auth_key), &new_nonce)? {
            return Ok(auth_key);
        }
        retry_id = i64::from_le_bytes(sha1(&[&auth_key])[..8].try_into().unwrap_or_default());
    }
    Err(HandshakeError::Check("the key, again and again"))
}

/// Whether the data centre takes our half; false when it asks for another. Each
/// answer has to be one to our exchange, also one that refuses.
fn accepted(
    answer: &enums::SetClientDhParamsAnswer,
    nonce: &[u8; 16],
    server_nonce: &[u8; 16],
    key: &AuthKey,
    new_nonce: &[u8; 32],
) -> Result<bool, HandshakeError> {
    use enums::SetClientDhParamsAnswer::{DhGenFail, DhGenOk, DhGenRetry};
    let (nonces, hash, number, what) = match answer {
        DhGenOk(answer) => ((&answer.nonce, &answer.server_nonce), &answer.new_nonce_hash1, 1, "the key's hash"),
        DhGenRetry(answer) => ((&answer.nonce, &answer.server_nonce), &answer.new_nonce_hash2, 2, "the retry's hash"),
        DhGenFail(answer) => ((&answer.nonce, &answer.server_nonce), &answer.new_nonce_hash3, 3, "the failure's hash"),
    };
    ensure(nonces == (nonce, server_nonce), "the nonces")?;
    ensure(*hash == key.calc_new_nonce_hash(new_nonce, number), what)?;
    match answer {
        DhGenOk(_) => Ok(true),
        DhGenRetry(_) => Ok(false),
        DhGenFail(_) => Err(HandshakeError::Check("our key")),
    }
}

/// Decrypts the data centre's answer: a hash, the answer, padding.
fn open_answer(mut bytes: Vec<u8>, key: &[u8; 32], iv: &[u8; 32]) -> Result<types::ServerDhInnerData, HandshakeError> {
    const CHECK: HandshakeError = HandshakeError::Check("the answer's hash");
    if bytes.len() < 32 || !bytes.len().is_multiple_of(16) {
        return Err(CHECK);
    }
    aes::ige_decrypt(&mut bytes, key, iv);
    let (hash, rest) = bytes.split_at(20);
    let mut cursor = Cursor::from_slice(rest);
    let enums::ServerDhInnerData::Data(inner) =
        enums::ServerDhInnerData::deserialize(&mut cursor).map_err(|_| CHECK)?;
    let length = cursor.pos();
    // At most 15 bytes of padding, and the hash is over the answer alone.
    if rest.len() - length >= 16 || sha1(&[&rest[..length]]) != *hash {
        return Err(CHECK);
    }
    Ok(inner)
}

fn seal_answer(plain: &[u8], key: &[u8; 32], iv: &[u8; 32]) -> Vec<u8> {
    let mut bytes = sha1(&[plain]).to_vec();
    bytes.extend(plain);
    let padding: [u8; 16] = random();
    let missing = (16 - bytes.len() % 16) % 16;
    bytes.extend(&padding[..missing]);
    aes::ige_encrypt(&mut bytes, key, iv);
    bytes
}

/// 2^(2048-64) ≤ n ≤ prime − 2^(2048-64), which is stricter than 1 < n < prime − 1.
fn in_range(n: &BigUint, prime: &BigUint) -> bool {
    let margin = BigUint::from(1_u8) << MARGIN_BITS;
    *n >= margin && *n <= prime - &margin
}

fn ensure(good: bool, what: &'static str) -> Result<(), HandshakeError> {
    if good { Ok(()) } else { Err(HandshakeError::Check(what)) }
}

fn trim(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(7)..].to_vec()
}

fn pad(bytes: &[u8]) -> [u8; 256] {
    let mut padded = [0; 256];
    padded[256 - bytes.len()..].copy_from_slice(bytes);
    padded
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_telegrams_key_is_the_published_one() {
        // Modulus and fingerprint of the key that Telegram publishes for clients.
        let key =
            ServerKey::new(&RsaKey { modulus: TELEGRAM_MODULUS.to_owned(), exponent: "65537".to_owned() }).unwrap();
        assert_eq!(key.fingerprint, -3_414_540_481_677_951_611);
    }

    const TELEGRAM_MODULUS: &str = "2937959817066933702298617714945612856538843112005886376816255642404751219133084745514657634448776440\
        8661701890505066208632169112269581063774293102577308490531282748465986139880977280302242772832972539\
        4035313160108704012876427630091361567343395380424193887227773571344877461690935390938502512438971889\
        2873590338945177273024525306296338410881284207988753897636046529094613963869149149606209957083647645\
        4855996319192747663615955633778034897140982517446405334423701359108810182097749467210509584293428076\
        6545733848288095742170799443883012394313091150138433313178773744358684687799720144863255578077838255\
        02498215169806323";

    #[test]
    fn numbers_near_the_ends_are_refused() {
        let prime = (BigUint::from(1_u8) << 2048) - BigUint::from(1_u8);
        let margin = BigUint::from(1_u8) << MARGIN_BITS;
        assert!(!in_range(&BigUint::from(2_u8), &prime));
        assert!(in_range(&margin, &prime));
        assert!(in_range(&(&prime - &margin), &prime));
        assert!(!in_range(&(&prime - &margin + BigUint::from(1_u8)), &prime));
    }

    #[test]
    fn an_answer_with_another_hash_is_refused() {
        let (key, iv) = ([1; 32], [2; 32]);
        let sealed = seal_answer(&[1, 2, 3, 4], &key, &iv);
        assert!(open_answer(sealed, &key, &iv).is_err());
        assert!(open_answer(vec![0; 16], &key, &iv).is_err());
        assert!(open_answer(Vec::new(), &key, &iv).is_err());
    }
    /// An answer to our half, and what is to be thought of it.
    fn told(number: u8, nonce: [u8; 16], server_nonce: [u8; 16], hash: u8) -> Result<bool, String> {
        let (key, new_nonce) = (AuthKey::from_bytes([7; 256]), [3; 32]);
        let hash = key.calc_new_nonce_hash(&new_nonce, hash);
        let answer: enums::SetClientDhParamsAnswer = match number {
            1 => types::DhGenOk { nonce, server_nonce, new_nonce_hash1: hash }.into(),
            2 => types::DhGenRetry { nonce, server_nonce, new_nonce_hash2: hash }.into(),
            _ => types::DhGenFail { nonce, server_nonce, new_nonce_hash3: hash }.into(),
        };
        accepted(&answer, &[1; 16], &[2; 16], &key, &new_nonce).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_to_another_exchange_is_refused_whatever_it_says() {
        assert_eq!(told(1, [1; 16], [2; 16], 1), Ok(true));
        assert_eq!(told(2, [1; 16], [2; 16], 2), Ok(false));
        assert!(told(3, [1; 16], [2; 16], 3).unwrap_err().ends_with("our key"));
        for number in 1..=3 {
            assert!(told(number, [9; 16], [2; 16], number).unwrap_err().ends_with("the nonces"), "{number}");
            assert!(told(number, [1; 16], [9; 16], number).unwrap_err().ends_with("the nonces"), "{number}");
            assert!(told(number, [1; 16], [2; 16], number % 3 + 1).unwrap_err().ends_with("hash"), "{number}");
        }
    }
}
