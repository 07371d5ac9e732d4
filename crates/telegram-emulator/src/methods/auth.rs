//! `auth.*`: logins by phone, QR code and bot token, and authorisations carried to other data centres.

use std::time::{SystemTime, UNIX_EPOCH};

use grammers_tl_types::{enums, functions as f, types as t};

use super::{Answer, Context, Event, Method, ok};
use crate::error::RpcError;
use crate::keys::CODE_LENGTH;
use crate::recorder::Effect;
use crate::world::{LoginDemand, parse_phone};

/// Seconds after which a code may be asked for again.
const RESEND_AFTER: i32 = 60;

fn phone_of(text: &str) -> Result<u64, RpcError> {
    parse_phone(text).ok_or(RpcError::PHONE_NUMBER_INVALID)
}

/// Checks what every step of a phone login has to: the number, and that it is asked for in its data centre.
fn check_phone(context: &Context<'_>, text: &str) -> Result<u64, RpcError> {
    let phone = phone_of(text)?;
    if let Some(user) = context.world.users.by_phone(phone) {
        if user.banned {
            return Err(RpcError::PHONE_NUMBER_BANNED);
        }
        let home = i32::from(user.dc);
        if home != context.origin.dc && context.dcs.iter().any(|(dc, _)| *dc == home) {
            return Err(RpcError::phone_migrate(home));
        }
    }
    Ok(phone)
}

fn send_code(context: &mut Context<'_>, phone: u64) -> Answer {
    let account = context.world.users.by_phone(phone).and_then(|user| context.world.account(user.id));
    let demand = account.map(|account| account.demand).unwrap_or_default();
    if demand == LoginDemand::Payment {
        return ok(enums::auth::SentCode::PaymentRequired(t::auth::SentCodePaymentRequired {
            store_product: "login_code".into(),
            phone_code_hash: "payment".into(),
            support_email_address: "support@example.org".into(),
            support_email_subject: "login code".into(),
            premium_days: 7,
            currency: "EUR".into(),
            amount: 99,
        }));
    }
    let code = context.keys.send_code(phone, context.time);
    let length = i32::try_from(CODE_LENGTH).unwrap_or(i32::MAX);
    let r#type = match demand {
        LoginDemand::Email => {
            t::auth::SentCodeTypeSetUpEmailRequired { apple_signin_allowed: false, google_signin_allowed: false }.into()
        }
        _ => t::auth::SentCodeTypeApp { length }.into(),
    };
    ok(enums::auth::SentCode::Code(t::auth::SentCode {
        r#type,
        phone_code_hash: code.hash,
        next_type: Some(enums::auth::CodeType::Sms),
        timeout: Some(RESEND_AFTER),
    }))
}

impl Method for f::auth::SendCode {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        if self.api_id <= 0 || self.api_hash.is_empty() {
            return Err(RpcError::API_ID_INVALID);
        }
        let phone = check_phone(context, &self.phone_number)?;
        send_code(context, phone)
    }
}

fn check_code_hash(context: &Context<'_>, phone: u64, hash: &str) -> Result<(), RpcError> {
    if hash.is_empty() {
        return Err(RpcError::PHONE_CODE_HASH_EMPTY);
    }
    match context.keys.code(phone) {
        Some(code) if code.hash == hash && !code.is_expired(context.time) => Ok(()),
        _ => Err(RpcError::PHONE_CODE_EXPIRED),
    }
}

impl Method for f::auth::ResendCode {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        let phone = check_phone(context, &self.phone_number)?;
        check_code_hash(context, phone, &self.phone_code_hash)?;
        send_code(context, phone)
    }
}

impl Method for f::auth::CancelCode {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        let phone = check_phone(context, &self.phone_number)?;
        check_code_hash(context, phone, &self.phone_code_hash)?;
        context.keys.drop_code(phone);
        ok(true)
    }
}

impl Method for f::auth::SignIn {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        let phone = check_phone(context, &self.phone_number)?;
        check_code_hash(context, phone, &self.phone_code_hash)?;
        let given = self.phone_code.filter(|code| !code.is_empty()).ok_or(RpcError::PHONE_CODE_EMPTY)?;
        if context.keys.code(phone).is_none_or(|code| code.code != given) {
            return Err(RpcError::PHONE_CODE_INVALID);
        }
        let Some(user) = context.world.users.by_phone(phone).filter(|user| !user.deleted).map(|user| user.id) else {
            return ok(enums::auth::Authorization::SignUpRequired(t::auth::AuthorizationSignUpRequired {
                terms_of_service: None,
            }));
        };
        context.keys.drop_code(phone);
        finish(context, user).and_then(ok)
    }
}

/// Logs the calling key in, unless a password is still owed.
fn finish(context: &mut Context<'_>, user: i64) -> Result<enums::auth::Authorization, RpcError> {
    if context.world.account(user).is_some_and(|account| account.has_password()) {
        context.key()?.password_pending = Some(user);
        return Err(RpcError::SESSION_PASSWORD_NEEDED);
    }
    Ok(context.sign_in(user))
}

impl Method for f::auth::CheckPassword {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        let enums::InputCheckPasswordSrp::Srp(proof) = self.password else {
            return Err(RpcError::PASSWORD_HASH_INVALID);
        };
        let key = context.key()?;
        let user = key.password_pending.ok_or(RpcError::AUTH_KEY_UNREGISTERED)?;
        // One challenge is good for one attempt.
        let challenge = key.challenge.take().ok_or(RpcError::SRP_ID_INVALID)?;
        if challenge.id != proof.srp_id {
            return Err(RpcError::SRP_ID_INVALID);
        }
        let verifier = context.world.account_mut(user).verifier().ok_or(RpcError::SRP_PASSWORD_CHANGED)?;
        if !verifier.check(&challenge, &proof.a, &proof.m1) {
            return Err(RpcError::PASSWORD_HASH_INVALID);
        }
        let authorization = context.sign_in(user);
        ok(authorization)
    }
}

fn unix(time: SystemTime) -> i32 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

impl Method for f::auth::ExportLoginToken {
    const NEEDS_LOGIN: bool = false;

    /// The same call shows a token, and redeems it once it has been scanned.
    fn run(self, context: &mut Context<'_>) -> Answer {
        if let Some(token) = context.key()?.qr_token.clone() {
            let scanned = context.keys.qr(&token).and_then(|shown| shown.accepted_by);
            if let Some(user) = scanned {
                return redeem(context, &token, user);
            }
        }
        let key = context.origin.key;
        let (token, expires) = context.keys.show_qr(key, context.time);
        ok(enums::auth::LoginToken::Token(t::auth::LoginToken { expires: unix(expires), token }))
    }
}

/// Logs in with a scanned token, or sends its holder to the scanner's data centre.
fn redeem(context: &mut Context<'_>, token: &[u8], user: i64) -> Answer {
    let home = context.world.user(user).map(|user| i32::from(user.dc)).ok_or(RpcError::AUTH_TOKEN_INVALID)?;
    if home != context.origin.dc && context.dcs.iter().any(|(dc, _)| *dc == home) {
        return ok(enums::auth::LoginToken::MigrateTo(t::auth::LoginTokenMigrateTo {
            dc_id: home,
            token: token.to_vec(),
        }));
    }
    context.keys.drop_qr(token);
    context.key()?.qr_token = None;
    let authorization = finish(context, user)?;
    ok(enums::auth::LoginToken::Success(t::auth::LoginTokenSuccess { authorization }))
}

impl Method for f::auth::ImportLoginToken {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        let shown = context.keys.qr(&self.token).ok_or(RpcError::AUTH_TOKEN_INVALID)?;
        match shown.accepted_by {
            Some(user) => redeem(context, &self.token, user),
            None if context.time >= shown.expires => Err(RpcError::AUTH_TOKEN_EXPIRED),
            None => Err(RpcError::AUTH_TOKEN_INVALID),
        }
    }
}

impl Method for f::auth::AcceptLoginToken {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let key = context.keys.accept_qr(&self.token, me, context.time)?;
        context.events.push(Event::LoginToken { key });
        ok(enums::Authorization::Authorization(t::Authorization {
            current: false,
            official_app: false,
            password_pending: context.world.account(me).is_some_and(|account| account.has_password()),
            encrypted_requests_disabled: false,
            call_requests_disabled: false,
            unconfirmed: false,
            hash: key,
            device_model: "emulated".into(),
            platform: String::new(),
            system_version: String::new(),
            api_id: 1,
            app_name: "emulated".into(),
            app_version: String::new(),
            date_created: context.now,
            date_active: context.now,
            ip: "127.0.0.1".into(),
            country: String::new(),
            region: String::new(),
        }))
    }
}

impl Method for f::auth::ImportBotAuthorization {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        if self.api_id <= 0 || self.api_hash.is_empty() {
            return Err(RpcError::API_ID_INVALID);
        }
        let bot = context.world.bot_by_token(&self.bot_auth_token).ok_or(RpcError::ACCESS_TOKEN_INVALID)?;
        let home = context.world.user(bot).map_or(context.origin.dc, |bot| i32::from(bot.dc));
        if home != context.origin.dc && context.dcs.iter().any(|(dc, _)| *dc == home) {
            return Err(RpcError::user_migrate(home));
        }
        let authorization = context.sign_in(bot);
        ok(authorization)
    }
}

impl Method for f::auth::ExportAuthorization {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        if !context.dcs.iter().any(|(dc, _)| *dc == self.dc_id) || self.dc_id == context.origin.dc {
            return Err(RpcError::DC_ID_INVALID);
        }
        let bytes = context.keys.export(me, self.dc_id);
        ok(enums::auth::ExportedAuthorization::Authorization(t::auth::ExportedAuthorization { id: me, bytes }))
    }
}

impl Method for f::auth::ImportAuthorization {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        if !context.keys.import(self.id, &self.bytes, context.origin.dc) {
            return Err(RpcError::AUTH_BYTES_INVALID);
        }
        let authorization = context.sign_in(self.id);
        ok(authorization)
    }
}

impl Method for f::auth::LogOut {
    fn run(self, context: &mut Context<'_>) -> Answer {
        if let Some(user) = context.keys.sign_out(context.origin.key) {
            context.effects.push(Effect::SignedOut { user });
        }
        ok(enums::auth::LoggedOut::Out(t::auth::LoggedOut { future_auth_token: None }))
    }
}
