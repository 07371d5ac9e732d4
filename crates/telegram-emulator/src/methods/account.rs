//! `account.*`

use grammers_tl_types::{enums, functions as f, types as t};

use super::{Answer, Context, Method, ok};
use crate::error::RpcError;
use crate::wire::crypto::{DH_GENERATOR, dh_prime_bytes, random};

impl Method for f::account::GetPassword {
    const NEEDS_LOGIN: bool = false;

    /// Also answers keys that have shown a right code and still owe the password.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let pending = context.key()?.password_pending;
        let user = context.account.or(pending).ok_or(RpcError::AUTH_KEY_UNREGISTERED)?;
        let account = context.world.account_mut(user);
        let hint = Some(account.hint.clone()).filter(|hint| !hint.is_empty());
        let verifier = account.verifier();
        let challenge = verifier.as_ref().map(|verifier| verifier.challenge());
        let algorithm = verifier.map(|verifier| {
            t::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
                salt1: verifier.salt1.clone(),
                salt2: verifier.salt2.clone(),
                g: DH_GENERATOR,
                p: dh_prime_bytes(),
            }
            .into()
        });
        let password = t::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: algorithm.is_some(),
            current_algo: algorithm,
            srp_b: challenge.as_ref().map(|challenge| challenge.public.to_vec()),
            srp_id: challenge.as_ref().map(|challenge| challenge.id),
            hint,
            email_unconfirmed_pattern: None,
            new_algo: enums::PasswordKdfAlgo::Unknown,
            new_secure_algo: enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: random::<256>().to_vec(),
            pending_reset_date: None,
            login_email_pattern: None,
        };
        context.key()?.challenge = challenge;
        ok(enums::account::Password::Password(password))
    }
}

impl Method for f::account::UpdateStatus {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let seen = if self.offline { crate::world::LastSeen::At(context.now) } else { crate::world::LastSeen::Online };
        if let Some(user) = context.world.users.get_mut(me) {
            user.last_seen = seen;
        }
        ok(true)
    }
}
