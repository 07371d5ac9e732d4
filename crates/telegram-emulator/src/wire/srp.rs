//! The server's side of Telegram's SRP, by which a two-step password is checked without being sent.
//!
//! See <https://core.telegram.org/api/srp>; `grammers-crypto` has only the client's side.

use num_bigint::BigUint;

use super::crypto::{DH_GENERATOR, dh_prime, dh_prime_bytes, pad256, random, sha256};

/// What a server keeps of a password: two salts and the verifier, never the password.
pub(crate) struct Verifier {
    pub(crate) salt1: Vec<u8>,
    pub(crate) salt2: Vec<u8>,
    v: BigUint,
}

impl Verifier {
    /// Derives the verifier: 100,000 rounds of PBKDF2, so tens of milliseconds.
    pub(crate) fn new(password: &str) -> Self {
        let (salt1, salt2) = (random::<16>().to_vec(), random::<16>().to_vec());
        let v = BigUint::from(generator()).modpow(&private_value(password, &salt1, &salt2), &dh_prime());
        Self { salt1, salt2, v }
    }

    /// Starts one exchange. Each is good for one attempt and has an id of its own.
    pub(crate) fn challenge(&self) -> Challenge {
        let p = dh_prime();
        let b = BigUint::from_bytes_be(&random::<256>());
        let k = BigUint::from_bytes_be(&sha256(&[&dh_prime_bytes(), &pad256(&[generator()])]));
        let public = (k * &self.v + BigUint::from(generator()).modpow(&b, &p)) % &p;
        Challenge { id: i64::from_le_bytes(random()), b, public: pad256(&public.to_bytes_be()) }
    }

    /// Whether the client's proof shows knowledge of the password.
    pub(crate) fn check(&self, challenge: &Challenge, a: &[u8], proof: &[u8]) -> bool {
        let p = dh_prime();
        let g_a = pad256(a);
        let a = BigUint::from_bytes_be(&g_a);
        if a.bits() < 1984 || a >= p {
            return false; // zero and its multiples would make any proof valid
        }
        let u = BigUint::from_bytes_be(&sha256(&[&g_a, &challenge.public]));
        let s = (a * self.v.modpow(&u, &p)).modpow(&challenge.b, &p);
        let session_key = sha256(&[&pad256(&s.to_bytes_be())]);
        let hash_p = sha256(&[&dh_prime_bytes()]);
        let hash_g = sha256(&[&pad256(&[generator()])]);
        let xored: Vec<u8> = hash_p.iter().zip(hash_g).map(|(p, g)| p ^ g).collect();
        let expected =
            sha256(&[&xored, &sha256(&[&self.salt1]), &sha256(&[&self.salt2]), &g_a, &challenge.public, &session_key]);
        proof == expected
    }
}

/// One exchange in progress.
pub(crate) struct Challenge {
    pub(crate) id: i64,
    b: BigUint,
    /// `srp_B` of `account.password`.
    pub(crate) public: [u8; 256],
}

fn generator() -> u8 {
    DH_GENERATOR as u8
}

fn private_value(password: &str, salt1: &[u8], salt2: &[u8]) -> BigUint {
    let salted = |data: &[u8], salt: &[u8]| sha256(&[salt, data, salt]);
    let first = salted(&salted(password.as_bytes(), salt1), salt2);
    let mut derived = [0u8; 64];
    pbkdf2::pbkdf2_hmac::<sha2::Sha512>(&first, salt1, 100_000, &mut derived);
    BigUint::from_bytes_be(&salted(&derived, salt2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(verifier: &Verifier, challenge: &Challenge, password: &str) -> bool {
        let (proof, a) = grammers_crypto::two_factor_auth::calculate_2fa(
            &verifier.salt1,
            &verifier.salt2,
            &dh_prime_bytes(),
            &DH_GENERATOR,
            challenge.public.to_vec(),
            random::<256>().to_vec(),
            password,
        );
        verifier.check(challenge, &a, &proof)
    }

    #[test]
    fn only_the_right_password_proves_itself() {
        let verifier = Verifier::new("correct horse");
        let challenge = verifier.challenge();
        assert!(attempt(&verifier, &challenge, "correct horse"));
        assert!(!attempt(&verifier, &challenge, "correct horsf"));
        assert!(!attempt(&Verifier::new("other"), &challenge, "correct horse"));
    }

    #[test]
    fn degenerate_public_values_prove_nothing() {
        let verifier = Verifier::new("x");
        let challenge = verifier.challenge();
        assert!(!verifier.check(&challenge, &[], &[0; 32]));
        assert!(!verifier.check(&challenge, &dh_prime_bytes(), &[0; 32]));
        assert!(!verifier.check(&challenge, &[0xff; 256], &[]));
    }
}
