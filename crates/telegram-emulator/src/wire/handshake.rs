//! The server's side of the auth-key exchange (<https://core.telegram.org/mtproto/auth_key>).

use grammers_crypto::{AuthKey as CryptoKey, aes, generate_key_data_from_nonce};
use grammers_tl_types::{self as tl, Cursor, Deserializable, Identifiable as _, Serializable as _, functions as f};
use num_bigint::BigUint;

use super::WireError;
use super::crypto::{AuthKey, DH_GENERATOR, dh_prime, dh_prime_bytes, pad256, random, sha1};
use super::request::constructor;
use super::rsa::RsaKey;

/// The product that clients factorise; the sample of <https://core.telegram.org/mtproto/samples-auth_key>.
///
/// Both factors are below 2^32, which kurigram relies on: it packs each into four bytes.
const PQ: u64 = 0x17ED_4894_1A08_F981;

/// What the exchange has come to after a message.
pub(crate) enum Progress {
    Reply(Vec<u8>),
    Done { reply: Vec<u8>, key: Box<AuthKey> },
}

/// One exchange. A client may start over at any time with a new `req_pq`.
pub(crate) struct Handshake {
    dc: i32,
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    secrets: Option<Secrets>,
}

struct Secrets {
    new_nonce: [u8; 32],
    a: BigUint,
}

impl Handshake {
    pub(crate) fn new(dc: i32) -> Self {
        Self { dc, nonce: [0; 16], server_nonce: [0; 16], secrets: None }
    }

    /// Answers one unencrypted message. `unix` is the time told to the client.
    pub(crate) fn handle(&mut self, body: &[u8], unix: i32) -> Result<Progress, WireError> {
        match constructor(body) {
            Some(f::ReqPqMulti::CONSTRUCTOR_ID) => {
                let request: f::ReqPqMulti = arguments(body)?;
                Ok(Progress::Reply(self.start(request.nonce)))
            }
            Some(f::ReqPq::CONSTRUCTOR_ID) => {
                let request: f::ReqPq = arguments(body)?;
                Ok(Progress::Reply(self.start(request.nonce)))
            }
            Some(f::ReqDhParams::CONSTRUCTOR_ID) => self.offer_parameters(&arguments(body)?, unix).map(Progress::Reply),
            Some(f::SetClientDhParams::CONSTRUCTOR_ID) => self.finish(arguments(body)?),
            _ => Err(WireError::Handshake("unexpected plain message")),
        }
    }

    fn start(&mut self, nonce: [u8; 16]) -> Vec<u8> {
        self.nonce = nonce;
        self.server_nonce = random();
        self.secrets = None;
        tl::enums::ResPq::Pq(tl::types::ResPq {
            nonce,
            server_nonce: self.server_nonce,
            pq: PQ.to_be_bytes().to_vec(),
            server_public_key_fingerprints: vec![RsaKey::emulator().fingerprint()],
        })
        .to_bytes()
    }

    fn check_nonces(&self, nonce: [u8; 16], server_nonce: [u8; 16]) -> Result<(), WireError> {
        if nonce == self.nonce && server_nonce == self.server_nonce && nonce != [0; 16] {
            Ok(())
        } else {
            Err(WireError::Handshake("nonces of another exchange"))
        }
    }

    fn offer_parameters(&mut self, request: &f::ReqDhParams, unix: i32) -> Result<Vec<u8>, WireError> {
        use tl::enums::PQInnerData as Inner;

        self.check_nonces(request.nonce, request.server_nonce)?;
        let key = RsaKey::emulator();
        if request.public_key_fingerprint != key.fingerprint() {
            return Err(WireError::Handshake("encrypted for another key"));
        }
        let inner = key.decrypt_inner_data(&request.encrypted_data)?;
        let (nonce, server_nonce, new_nonce, dc) = match Inner::from_bytes(&inner)? {
            Inner::Data(data) => (data.nonce, data.server_nonce, data.new_nonce, None),
            Inner::Dc(data) => (data.nonce, data.server_nonce, data.new_nonce, Some(data.dc)),
            Inner::Temp(_) | Inner::TempDc(_) => return Err(WireError::Handshake("temporary keys are not emulated")),
        };
        self.check_nonces(nonce, server_nonce)?;
        // Test servers add 10000 and media-only ones negate; what is left must be this data centre.
        if dc.is_some_and(|dc| dc.unsigned_abs() % 10_000 != self.dc.unsigned_abs()) {
            return Err(WireError::Handshake("meant for another data centre"));
        }

        let prime = dh_prime();
        // 512 bits are ample for keys that guard nothing, and quicker than the customary 2048.
        let a = BigUint::from_bytes_be(&random::<64>());
        let g_a = BigUint::from(DH_GENERATOR.unsigned_abs()).modpow(&a, &prime);
        let answer = tl::enums::ServerDhInnerData::Data(tl::types::ServerDhInnerData {
            nonce,
            server_nonce,
            g: DH_GENERATOR,
            dh_prime: dh_prime_bytes(),
            g_a: pad256(&g_a.to_bytes_be()).to_vec(),
            server_time: unix,
        })
        .to_bytes();
        let mut encrypted_answer = sha1(&[&answer]).to_vec();
        encrypted_answer.extend(answer);
        encrypted_answer.resize(encrypted_answer.len().next_multiple_of(16), 0);
        let (aes_key, iv) = generate_key_data_from_nonce(&server_nonce, &new_nonce);
        aes::ige_encrypt(&mut encrypted_answer, &aes_key, &iv);
        self.secrets = Some(Secrets { new_nonce, a });
        Ok(tl::enums::ServerDhParams::Ok(tl::types::ServerDhParamsOk { nonce, server_nonce, encrypted_answer })
            .to_bytes())
    }

    fn finish(&mut self, mut request: f::SetClientDhParams) -> Result<Progress, WireError> {
        self.check_nonces(request.nonce, request.server_nonce)?;
        let secrets = self.secrets.take().ok_or(WireError::Handshake("parameters were never asked for"))?;
        let encrypted = &mut request.encrypted_data;
        if encrypted.len() < 32 || !encrypted.len().is_multiple_of(16) {
            return Err(WireError::Handshake("encrypted answer of a wrong length"));
        }
        let (aes_key, iv) = generate_key_data_from_nonce(&self.server_nonce, &secrets.new_nonce);
        aes::ige_decrypt(encrypted, &aes_key, &iv);
        let mut cursor = Cursor::from_slice(&encrypted[20..]);
        let tl::enums::ClientDhInnerData::Data(inner) = tl::enums::ClientDhInnerData::deserialize(&mut cursor)?;
        if sha1(&[&encrypted[20..20 + cursor.pos()]]) != encrypted[..20] {
            return Err(WireError::Handshake("hash of the client's answer differs"));
        }
        self.check_nonces(inner.nonce, inner.server_nonce)?;
        let (prime, g_b) = (dh_prime(), BigUint::from_bytes_be(&inner.g_b));
        if inner.g_b.len() > 256 || g_b.bits() < 1984 || g_b >= &prime - (BigUint::from(1u8) << 1984) {
            return Err(WireError::Handshake("g_b outside the safe range"));
        }
        let key = pad256(&g_b.modpow(&secrets.a, &prime).to_bytes_be());
        let reply = tl::enums::SetClientDhParamsAnswer::DhGenOk(tl::types::DhGenOk {
            nonce: self.nonce,
            server_nonce: self.server_nonce,
            new_nonce_hash1: CryptoKey::from_bytes(key).calc_new_nonce_hash(&secrets.new_nonce, 1),
        })
        .to_bytes();
        Ok(Progress::Done { reply, key: Box::new(key) })
    }
}

fn arguments<T: Deserializable>(body: &[u8]) -> Result<T, WireError> {
    Ok(T::from_bytes(&body[4..])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grammers_mtproto::authentication;

    #[test]
    fn a_key_comes_out_only_of_a_consistent_exchange() {
        let mut server = Handshake::new(2);
        let nonce = random();
        let Progress::Reply(reply) = server.handle(&f::ReqPqMulti { nonce }.to_bytes(), 1).unwrap() else {
            panic!("done too early");
        };
        let tl::enums::ResPq::Pq(pq) = tl::enums::ResPq::from_bytes(&reply).unwrap();
        assert_eq!(pq.nonce, nonce);
        let (p, q) = grammers_crypto::factorize(PQ);
        assert!(p < 1 << 32 && q < 1 << 32 && p * q == PQ);

        let early = f::SetClientDhParams { nonce, server_nonce: pq.server_nonce, encrypted_data: vec![0; 64] };
        assert!(server.handle(&early.to_bytes(), 1).is_err());
        let foreign = f::ReqDhParams {
            nonce: random(),
            server_nonce: pq.server_nonce,
            p: vec![],
            q: vec![],
            public_key_fingerprint: RsaKey::emulator().fingerprint(),
            encrypted_data: vec![1; 256],
        };
        assert!(server.handle(&foreign.to_bytes(), 1).is_err());
    }

    /// The client's half of an exchange, as the documentation has it; answers its key and the server's.
    fn exchange(server: &mut Handshake, dc: Option<i32>, spoil: impl Fn(&mut Vec<u8>)) -> Option<(AuthKey, AuthKey)> {
        let nonce = random();
        let Ok(Progress::Reply(reply)) = server.handle(&f::ReqPqMulti { nonce }.to_bytes(), 7) else { return None };
        let tl::enums::ResPq::Pq(pq) = tl::enums::ResPq::from_bytes(&reply).unwrap();
        let (server_nonce, new_nonce) = (pq.server_nonce, random());
        let (p, q) = (vec![0x49, 0x4c, 0x55, 0x3b], vec![0x53, 0x91, 0x10, 0x73]);
        let inner = match dc {
            Some(dc) => tl::enums::PQInnerData::Dc(tl::types::PQInnerDataDc {
                pq: pq.pq,
                p: p.clone(),
                q: q.clone(),
                nonce,
                server_nonce,
                new_nonce,
                dc,
            }),
            None => tl::enums::PQInnerData::Data(tl::types::PQInnerData {
                pq: pq.pq,
                p: p.clone(),
                q: q.clone(),
                nonce,
                server_nonce,
                new_nonce,
            }),
        };
        let key = RsaKey::emulator();
        let public = grammers_crypto::rsa::Key::new(&key.modulus_decimal(), "65537").unwrap();
        let encrypted_data = grammers_crypto::rsa::encrypt_hashed(&inner.to_bytes(), &public, &random());
        let public_key_fingerprint = key.fingerprint();
        let ask = f::ReqDhParams { nonce, server_nonce, p, q, public_key_fingerprint, encrypted_data };
        let Ok(Progress::Reply(reply)) = server.handle(&ask.to_bytes(), 7) else { return None };
        let tl::enums::ServerDhParams::Ok(mut parameters) = tl::enums::ServerDhParams::from_bytes(&reply).unwrap()
        else {
            panic!("no parameters");
        };
        let (aes_key, iv) = generate_key_data_from_nonce(&server_nonce, &new_nonce);
        aes::ige_decrypt(&mut parameters.encrypted_answer, &aes_key, &iv);
        let (hash, answer) = parameters.encrypted_answer.split_at(20);
        let mut cursor = Cursor::from_slice(answer);
        let tl::enums::ServerDhInnerData::Data(inner) = tl::enums::ServerDhInnerData::deserialize(&mut cursor).unwrap();
        assert_eq!(sha1(&[&answer[..cursor.pos()]]), hash);
        assert_eq!((inner.g, inner.server_time, &inner.dh_prime), (DH_GENERATOR, 7, &dh_prime_bytes()));
        let b = BigUint::from_bytes_be(&random::<256>());
        let g_b = BigUint::from(3u8).modpow(&b, &dh_prime()).to_bytes_be();
        let own = pad256(&BigUint::from_bytes_be(&inner.g_a).modpow(&b, &dh_prime()).to_bytes_be());
        let data =
            tl::enums::ClientDhInnerData::Data(tl::types::ClientDhInnerData { nonce, server_nonce, retry_id: 0, g_b })
                .to_bytes();
        let mut encrypted_data = sha1(&[&data]).to_vec();
        encrypted_data.extend(data);
        encrypted_data.resize(encrypted_data.len().next_multiple_of(16), 0);
        aes::ige_encrypt(&mut encrypted_data, &aes_key, &iv);
        spoil(&mut encrypted_data);
        let finish = f::SetClientDhParams { nonce, server_nonce, encrypted_data };
        let Ok(Progress::Done { reply, key }) = server.handle(&finish.to_bytes(), 7) else { return None };
        let tl::enums::SetClientDhParamsAnswer::DhGenOk(done) =
            tl::enums::SetClientDhParamsAnswer::from_bytes(&reply).unwrap()
        else {
            panic!("no key");
        };
        assert_eq!(done.new_nonce_hash1, CryptoKey::from_bytes(own).calc_new_nonce_hash(&new_nonce, 1));
        Some((own, *key))
    }

    #[test]
    fn both_sides_come_to_the_same_key() {
        for dc in [None, Some(2), Some(10_002), Some(-2)] {
            let (own, theirs) = exchange(&mut Handshake::new(2), dc, |_| ()).unwrap();
            assert_eq!(own, theirs);
        }
        assert_eq!(exchange(&mut Handshake::new(2), Some(4), |_| ()), None, "meant for another data centre");
        assert_eq!(exchange(&mut Handshake::new(2), None, |bytes| bytes[40] ^= 1), None, "a bit was flipped");
        assert_eq!(exchange(&mut Handshake::new(2), None, |bytes| bytes.truncate(16)), None, "cut short");
    }

    #[test]
    fn the_stock_client_does_not_know_this_key() {
        // Nobody can take the emulator for Telegram: a client without the emulator's key refuses to go on.
        let (request, data) = authentication::step1().unwrap();
        let mut server = Handshake::new(2);
        let Progress::Reply(reply) = server.handle(&request.to_bytes(), 1).unwrap() else { panic!("done too early") };
        assert!(authentication::step2(data, tl::enums::ResPq::from_bytes(&reply).unwrap()).is_err());
    }

    #[test]
    fn hostile_messages_are_refused() {
        let mut server = Handshake::new(2);
        for id in [
            f::ReqPq::CONSTRUCTOR_ID,
            f::ReqPqMulti::CONSTRUCTOR_ID,
            f::ReqDhParams::CONSTRUCTOR_ID,
            f::SetClientDhParams::CONSTRUCTOR_ID,
            0,
        ] {
            for length in [0, 1, 15, 16, 40, 300] {
                let mut body = id.to_bytes();
                body.extend(vec![0xa5; length]);
                let _ = server.handle(&body, 1);
                let _ = server.handle(&body[..body.len().min(3)], 1);
            }
        }
    }
}
