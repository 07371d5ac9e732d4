//! The calls of logins, in terms of logins.

use std::fmt;
use std::time::Duration;

use grammers_crypto::two_factor_auth::{calculate_2fa, check_p_and_g};
use grammers_tl_types::{enums, functions, types};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Time;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::code_delivery::Channel;

use super::caller::{About, Caller};
use super::people;
use crate::connections::{CallError, Connections, LineId, open};
use crate::core::Settings;
use crate::error::{Error, Result};

/// What the profile of a Telegram user says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Telegram's id of the user.
    pub user_id: i64,
    /// Whether it is a bot.
    pub bot: bool,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Public name, lower case.
    pub username: String,
    /// Phone number.
    pub phone: String,
    /// Whether the user has Telegram Premium.
    pub premium: bool,
}

impl From<&types::User> for Profile {
    fn from(user: &types::User) -> Self {
        Self {
            user_id: user.id,
            bot: user.bot,
            first_name: user.first_name.clone().unwrap_or_default(),
            last_name: user.last_name.clone().unwrap_or_default(),
            username: people::username(user),
            phone: people::phone(user),
            premium: user.premium,
        }
    }
}

/// A code that is on its way.
#[derive(Clone)]
pub struct Code {
    /// Where it went.
    pub channel: Channel,
    /// How many characters it has; 0 when Telegram does not tell.
    pub length: i32,
    /// After what time another can be asked for.
    pub resend_after: Option<Duration>,
    /// Where the next one would go.
    pub next: Channel,
    /// What Telegram wants to see again together with the code.
    pub hash: String,
}

/// Without the hash, which is half of a login.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("channel", &self.channel).field("length", &self.length).finish_non_exhaustive()
    }
}

/// What Telegram answers to a request for a code.
#[derive(Debug, Clone)]
pub enum CodeAnswer {
    /// It is on its way.
    Sent(Code),
    /// The number belongs to another data centre: ask there.
    Elsewhere(i32),
}

/// What Telegram answers to a code.
#[derive(Debug, Clone)]
pub enum SignIn {
    /// Logged in.
    Done(Profile),
    /// The password of two-step verification is needed.
    PasswordNeeded,
    /// The number has no account.
    SignUpRequired,
}

/// What Telegram answers to a request for a QR code.
#[derive(Clone)]
pub enum QrAnswer {
    /// A code to show, and when it expires.
    Show(Vec<u8>, Time),
    /// Scanned and confirmed.
    Done(Profile),
    /// Scanned by a user of another data centre: go on there with this.
    Elsewhere(i32, Vec<u8>),
    /// Scanned; the password of two-step verification is needed.
    PasswordNeeded,
}

/// Without the tokens: whoever scans one logs in.
impl fmt::Debug for QrAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Show(_, expires_at) => f.debug_tuple("Show").field(expires_at).finish_non_exhaustive(),
            Self::Done(profile) => f.debug_tuple("Done").field(profile).finish(),
            Self::Elsewhere(dc_id, _) => f.debug_tuple("Elsewhere").field(dc_id).finish_non_exhaustive(),
            Self::PasswordNeeded => f.write_str("PasswordNeeded"),
        }
    }
}

/// The calls of one login.
#[derive(Debug, Clone)]
pub struct Auth<'a> {
    /// All connections.
    pub connections: &'a Connections,
    /// The login's line.
    pub line: LineId,
    /// What the deployment sets.
    pub settings: &'a Settings,
}

impl Auth<'_> {
    /// Asks Telegram to send a code.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn send_code(&self, phone: &str) -> Result<CodeAnswer> {
        let request = functions::auth::SendCode {
            phone_number: phone.to_owned(),
            api_id: self.settings.api_id,
            api_hash: self.settings.api_hash.expose_secret().to_owned(),
            settings: types::CodeSettings {
                allow_flashcall: false,
                current_number: false,
                allow_app_hash: false,
                allow_missed_call: false,
                allow_firebase: false,
                unknown_number: false,
                logout_tokens: None,
                token: None,
                app_sandbox: None,
            }
            .into(),
        };
        match self.connections.call(self.line, &request, open()).await {
            Ok(sent) => read_code(sent).map(CodeAnswer::Sent),
            Err(CallError::Rpc(error)) if error.name == "PHONE_MIGRATE" => {
                let dc = error.value.and_then(|dc| i32::try_from(dc).ok()).unwrap_or(0);
                Ok(CodeAnswer::Elsewhere(dc))
            }
            Err(error) => Err(refused(error, ErrorReason::PhoneNumberFlood)),
        }
    }

    /// Asks for the code again, by the next way.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn resend_code(&self, phone: &str, hash: &str) -> Result<Code> {
        let request = functions::auth::ResendCode {
            phone_number: phone.to_owned(),
            phone_code_hash: hash.to_owned(),
            reason: None,
        };
        let sent = self.connections.call(self.line, &request, open()).await;
        read_code(sent.map_err(|error| refused(error, ErrorReason::PhoneNumberFlood))?)
    }

    /// Enters a code.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn sign_in(&self, phone: &str, hash: &str, code: &str, by_email: bool) -> Result<SignIn> {
        let email = by_email.then(|| types::EmailVerificationCode { code: code.to_owned() }.into());
        let request = functions::auth::SignIn {
            phone_number: phone.to_owned(),
            phone_code_hash: hash.to_owned(),
            phone_code: (!by_email).then(|| code.to_owned()),
            email_verification: email,
        };
        match self.connections.call(self.line, &request, open()).await {
            Ok(answer) => Ok(read_authorization(answer)),
            Err(CallError::Rpc(error)) if error.name == "SESSION_PASSWORD_NEEDED" => Ok(SignIn::PasswordNeeded),
            Err(error) => Err(refused(error, ErrorReason::PhoneNumberFlood)),
        }
    }

    /// The user's hint at his password.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn password_hint(&self) -> Result<String> {
        let password = self.password().await.map_err(|error| refused(error, ErrorReason::LoginPasswordFlood))?;
        Ok(password.hint.unwrap_or_default())
    }

    /// Enters the password.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn check_password(&self, password: &SecretString) -> Result<SignIn> {
        // The numbers of the proof are good once; they change when the password
        // changes, or somebody else asks at the same time.
        let mut answer = self.prove(password).await?;
        if let Err(CallError::Rpc(error)) = &answer
            && matches!(error.name.as_str(), "SRP_ID_INVALID" | "SRP_PASSWORD_CHANGED")
        {
            answer = self.prove(password).await?;
        }
        answer.map(read_authorization).map_err(|error| refused(error, ErrorReason::LoginPasswordFlood))
    }

    async fn password(&self) -> std::result::Result<types::account::Password, CallError> {
        let answer = self.connections.call(self.line, &functions::account::GetPassword {}, open()).await?;
        let enums::account::Password::Password(password) = answer;
        Ok(password)
    }

    /// Proves to Telegram that we know the password, without telling it:
    /// <https://core.telegram.org/api/srp>.
    async fn prove(
        &self,
        password: &SecretString,
    ) -> Result<std::result::Result<enums::auth::Authorization, CallError>> {
        let current = match self.password().await {
            Ok(current) => current,
            Err(error) => return Ok(Err(error)),
        };
        let (Some(algorithm), Some(srp_b), Some(srp_id)) = (current.current_algo, current.srp_b, current.srp_id) else {
            return Err(Error::internal("telegram asks for a password that is not set"));
        };
        let enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow(numbers) = algorithm else {
            return Err(Error::plain(
                ErrorReason::TelegramRefused,
                "telegram checks passwords in a way that is not known",
            )
            .with("telegram_error", "PASSWORD_KDF_ALGO_UNKNOWN"));
        };
        let mut a = vec![0; 256];
        getrandom::fill(&mut a).map_err(Error::internal)?;
        let password = password.clone();
        // A hundred thousand rounds of hashing: not on a thread that serves calls.
        let proof = tokio::task::spawn_blocking(move || {
            check_p_and_g(&numbers.p, &numbers.g).then(|| {
                let secret = password.expose_secret();
                calculate_2fa(&numbers.salt1, &numbers.salt2, &numbers.p, &numbers.g, srp_b, a, secret)
            })
        });
        let Some((m1, g_a)) = proof.await.map_err(Error::internal)? else {
            return Err(Error::internal("telegram's numbers for the password are not safe"));
        };
        let proof = types::InputCheckPasswordSrp { srp_id, a: g_a.to_vec(), m1: m1.to_vec() };
        let request = functions::auth::CheckPassword { password: proof.into() };
        Ok(self.connections.call(self.line, &request, open()).await)
    }

    /// Asks for a QR code.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn export_login_token(&self) -> Result<QrAnswer> {
        let request = functions::auth::ExportLoginToken {
            api_id: self.settings.api_id,
            api_hash: self.settings.api_hash.expose_secret().to_owned(),
            except_ids: Vec::new(),
        };
        read_token(self.connections.call(self.line, &request, open()).await)
    }

    /// Goes on with a scanned QR code at the user's data centre.
    ///
    /// # Errors
    /// As the catalogue says of logins.
    pub async fn import_login_token(&self, token: Vec<u8>) -> Result<QrAnswer> {
        let request = functions::auth::ImportLoginToken { token };
        read_token(self.connections.call(self.line, &request, open()).await)
    }

    /// Whom the line's key is authorised for.
    ///
    /// # Errors
    /// As the call failed.
    pub async fn who_am_i(&self) -> std::result::Result<Option<Profile>, CallError> {
        who_am_i(self.connections, self.line).await
    }
}

impl Caller<'_> {
    /// The account's own profile, as Telegram has it now.
    ///
    /// # Errors
    /// As [`Failure`](super::caller::Failure) tells.
    pub async fn profile(&self) -> Result<Profile> {
        let me = functions::users::GetUsers { id: vec![enums::InputUser::UserSelf] };
        let users = self.invoke(About::reading("users.getUsers", 0), &me).await.map_err(Error::from)?;
        let found = users.iter().find_map(|user| match user {
            enums::User::User(user) => Some(Profile::from(user)),
            enums::User::Empty(_) => None,
        });
        found.ok_or_else(|| Error::internal("telegram does not show an account its own profile"))
    }
}

/// Whom a line's key is authorised for.
///
/// # Errors
/// As the call failed.
pub async fn who_am_i(connections: &Connections, line: LineId) -> std::result::Result<Option<Profile>, CallError> {
    let me = functions::users::GetUsers { id: vec![enums::InputUser::UserSelf] };
    let users = connections.call(line, &me, open()).await?;
    Ok(users.iter().find_map(|user| match user {
        enums::User::User(user) => Some(Profile::from(user)),
        enums::User::Empty(_) => None,
    }))
}

/// Logs a line's session out.
///
/// # Errors
/// As the call failed.
pub async fn log_out(connections: &Connections, line: LineId) -> std::result::Result<(), CallError> {
    connections.call(line, &functions::auth::LogOut {}, open()).await.map(|_| ())
}

fn read_authorization(answer: enums::auth::Authorization) -> SignIn {
    match answer {
        enums::auth::Authorization::Authorization(done) => match done.user {
            enums::User::User(user) => SignIn::Done(Profile::from(&user)),
            enums::User::Empty(_) => SignIn::SignUpRequired,
        },
        enums::auth::Authorization::SignUpRequired(_) => SignIn::SignUpRequired,
    }
}

fn read_token(answer: std::result::Result<enums::auth::LoginToken, CallError>) -> Result<QrAnswer> {
    match answer {
        Ok(enums::auth::LoginToken::Token(token)) => {
            Ok(QrAnswer::Show(token.token, Time::from_secs(token.expires.into())))
        }
        Ok(enums::auth::LoginToken::MigrateTo(to)) => Ok(QrAnswer::Elsewhere(to.dc_id, to.token)),
        Ok(enums::auth::LoginToken::Success(done)) => match read_authorization(done.authorization) {
            SignIn::Done(profile) => Ok(QrAnswer::Done(profile)),
            SignIn::PasswordNeeded | SignIn::SignUpRequired => Err(sign_up_required()),
        },
        Err(CallError::Rpc(error)) if error.name == "SESSION_PASSWORD_NEEDED" => Ok(QrAnswer::PasswordNeeded),
        Err(error) => Err(refused(error, ErrorReason::PhoneNumberFlood)),
    }
}

fn read_code(sent: enums::auth::SentCode) -> Result<Code> {
    use enums::auth::SentCodeType as Type;
    let sent = match sent {
        enums::auth::SentCode::Code(sent) => sent,
        enums::auth::SentCode::PaymentRequired(_) => {
            return Err(Error::plain(
                ErrorReason::LoginPaymentRequired,
                "telegram demands a payment for this login: log in with an official app",
            ));
        }
        // Only for clients that keep tokens of earlier logins, which this one does not.
        enums::auth::SentCode::Success(_) => return Err(Error::internal("telegram sent no code")),
    };
    let (channel, length) = match &sent.r#type {
        Type::App(kind) => (Channel::App, kind.length),
        Type::Sms(kind) => (Channel::Sms, kind.length),
        Type::FirebaseSms(kind) => (Channel::Sms, kind.length),
        Type::SmsWord(_) | Type::SmsPhrase(_) => (Channel::Sms, 0),
        Type::Call(kind) => (Channel::Call, kind.length),
        Type::FlashCall(_) => (Channel::MissedCall, 0),
        Type::MissedCall(kind) => (Channel::MissedCall, kind.length),
        Type::EmailCode(kind) => (Channel::Email, kind.length),
        Type::FragmentSms(kind) => (Channel::Fragment, kind.length),
        Type::SetUpEmailRequired(_) => {
            return Err(Error::plain(
                ErrorReason::LoginEmailRequired,
                "telegram demands an e-mail address for this login: set it in an official app first",
            ));
        }
    };
    let next = match &sent.next_type {
        None => Channel::Unspecified,
        Some(enums::auth::CodeType::Sms) => Channel::Sms,
        Some(enums::auth::CodeType::Call) => Channel::Call,
        Some(enums::auth::CodeType::FlashCall | enums::auth::CodeType::MissedCall) => Channel::MissedCall,
        Some(enums::auth::CodeType::FragmentSms) => Channel::Fragment,
    };
    let resend_after = sent.timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    Ok(Code { channel, length, resend_after, next, hash: sent.phone_code_hash })
}

/// What an error of Telegram's during a login means, as a reason of its own.
pub fn refused(error: CallError, flood: ErrorReason) -> Error {
    let rpc = match error {
        CallError::Rpc(rpc) => rpc,
        CallError::Forbidden(error) => return error,
        // Asking again for a code, or entering it again, harms nothing.
        CallError::NotSent(what) | CallError::Unanswered(what) => return super::caller::unreachable(&what),
        CallError::KeyUnknown | CallError::WrongUser(_) => return forgotten(),
    };
    match rpc.name.as_str() {
        "PHONE_NUMBER_INVALID" => Error::plain(ErrorReason::PhoneNumberInvalid, "telegram knows no such number"),
        "PHONE_NUMBER_BANNED" | "USER_DEACTIVATED_BAN" => {
            Error::plain(ErrorReason::PhoneNumberBanned, "telegram has banned the number")
        }
        "PHONE_NUMBER_FLOOD" | "PHONE_PASSWORD_FLOOD" => {
            Error::plain(flood, "too many tries with this number: wait a day")
        }
        "FLOOD_WAIT" | "FLOOD_PREMIUM_WAIT" => {
            let wait = Duration::from_secs(rpc.value.unwrap_or(0).into());
            Error::plain(flood, "telegram demands a wait").retry_after(Some(wait))
        }
        "PHONE_CODE_INVALID" | "PHONE_CODE_EMPTY" | "CODE_INVALID" => {
            Error::plain(ErrorReason::LoginCodeInvalid, "the code is wrong")
        }
        "PHONE_CODE_EXPIRED" | "EMAIL_VERIFY_EXPIRED" | "AUTH_TOKEN_EXPIRED" | "AUTH_TOKEN_INVALID" => {
            Error::plain(ErrorReason::LoginCodeExpired, "the code has expired: ask for another")
        }
        "PASSWORD_HASH_INVALID" => Error::plain(ErrorReason::LoginPasswordWrong, "the password is wrong"),
        "PHONE_NUMBER_UNOCCUPIED" | "PHONE_NUMBER_APP_SIGNUP_FORBIDDEN" => sign_up_required(),
        // The key is of no more use, or Telegram wants to begin from the start.
        "AUTH_KEY_UNREGISTERED"
        | "AUTH_KEY_INVALID"
        | "AUTH_KEY_DUPLICATED"
        | "SESSION_REVOKED"
        | "SESSION_EXPIRED"
        | "AUTH_RESTART" => forgotten(),
        name if !(0..500).contains(&rpc.code) => super::caller::unreachable(name).with("telegram_error", name),
        _ => {
            let name = rpc.full_name();
            Error::plain(ErrorReason::TelegramRefused, format!("telegram refused: {name}")).with("telegram_error", name)
        }
    }
}

fn forgotten() -> Error {
    Error::plain(ErrorReason::LoginExpired, "telegram has forgotten the login: start another")
}

/// The number has no account.
pub fn sign_up_required() -> Error {
    Error::plain(
        ErrorReason::LoginSignUpRequired,
        "the number has no telegram account: sign up in an official app first",
    )
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
