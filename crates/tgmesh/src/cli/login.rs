//! `tgmesh accounts login`: by phone, step by step, or by QR code.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient as Client;
use tgmesh_proto::integration::v1::login::State;
use uuid::Uuid;

use super::client::{Clients, Service};
use super::output::word;
use super::{Context, Done, Failure, accounts, client, prompt, qr};

const TO: Service = Service::Integration;

/// Arguments of `accounts login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// By phone number: Telegram sends a code, which is asked for here.
    Phone {
        /// The number with its country code, such as "+49 30 9000 0101".
        #[arg(required_unless_present = "login")]
        number: Option<String>,
        /// Go on with a login that was started before.
        #[arg(long, value_name = "ID", conflicts_with = "number")]
        login: Option<Uuid>,
        /// Ask for the code again, by the next way that Telegram offers.
        #[arg(long, requires = "login")]
        resend: bool,
    },
    /// By a QR code that an app which is logged in scans.
    Qr,
}

/// Logs an account in.
pub(crate) async fn run(context: &Context, clients: &Clients, args: LoginArgs) -> Done {
    match args.command {
        Command::Phone { number: Some(number), .. } => {
            let login = start(context, clients, &number).await?;
            finish(context, clients, login, Some(&number)).await
        }
        Command::Phone { login, resend, .. } => {
            let mut found = get(clients, login.unwrap_or_default().to_string()).await?;
            if resend {
                found = again(clients, &found.id).await?;
            }
            finish(context, clients, found, None).await
        }
        Command::Qr => by_qr(context, clients).await,
    }
}

async fn start(context: &Context, clients: &Clients, number: &str) -> Result<pb::Login, Failure> {
    let request = pb::StartPhoneLoginRequest { request_id: clients.request_id(), phone: number.to_owned() };
    let started = clients.call(TO, request, async |c, r| Client::new(c).start_phone_login(r).await).await;
    match started {
        Ok(answer) => there(answer.login),
        Err(failure) if failure.reason() == Some(ErrorReason::LoginUnderWay) => {
            let Some(id) = failure.detail("login_id") else { return Err(failure) };
            context.say("a login with this number is under way: going on with it");
            get(clients, id.to_owned()).await
        }
        Err(failure) => Err(failure),
    }
}

async fn get(clients: &Clients, login_id: String) -> Result<pb::Login, Failure> {
    let request = pb::GetLoginRequest { login_id };
    there(clients.call(TO, request, async |c, r| Client::new(c).get_login(r).await).await?.login)
}

async fn again(clients: &Clients, login_id: &str) -> Result<pb::Login, Failure> {
    let request = pb::ResendLoginCodeRequest { request_id: clients.request_id(), login_id: login_id.to_owned() };
    there(clients.call(TO, request, async |c, r| Client::new(c).resend_login_code(r).await).await?.login)
}

fn there(login: Option<pb::Login>) -> Result<pb::Login, Failure> {
    login.ok_or_else(|| Failure::new("the service's answer holds no login"))
}

/// Asks for what Telegram asks for, until the login has ended.
async fn finish(context: &Context, clients: &Clients, mut login: pb::Login, number: Option<&str>) -> Done {
    let mut shown = None;
    loop {
        if context.json && shown != Some(login.state()) {
            context.show(&pb::GetLoginResponse { login: Some(login.clone()) }, |_| String::new())?;
        }
        let told = shown.replace(login.state()) == Some(login.state());
        login = match login.state() {
            State::CodeRequired => {
                if !told {
                    tell_code(context, &login, number);
                }
                let code = given(prompt::ask("code", false).await?, &login)?;
                if code.is_empty() {
                    context.say("another code is asked for");
                    shown = None;
                    again(clients, &login.id).await?
                } else {
                    let request = pb::SubmitLoginCodeRequest {
                        request_id: clients.request_id(),
                        login_id: login.id.clone(),
                        code,
                    };
                    let sent = clients.call(TO, request, async |c, r| Client::new(c).submit_login_code(r).await).await;
                    step(context, login, sent.map(|answer| answer.login), ErrorReason::LoginCodeInvalid)?
                }
            }
            State::PasswordRequired => password(context, clients, login, told).await?,
            _ => return ended(context, &login),
        };
    }
}

fn tell_code(context: &Context, login: &pb::Login, number: Option<&str>) {
    let delivery = login.code_delivery.unwrap_or_default();
    let way = match delivery.channel() {
        pb::code_delivery::Channel::App => "to the Telegram apps that are logged in".to_owned(),
        pb::code_delivery::Channel::Unspecified => "by a way that Telegram does not name".to_owned(),
        other => format!("by {}", word(other.as_str_name(), "CHANNEL")),
    };
    let length = if delivery.length > 0 { format!(" ({} characters)", delivery.length) } else { String::new() };
    context.say(&format!("login {}: Telegram sent a code{length} {way}; an empty line asks for another", login.id));
    context.say(&format!("it must be finished by {}", context.when(login.expire_time.as_ref())));
    if client::emulator(&context.config).is_some() {
        let phone = number.unwrap_or("NUMBER");
        let code = context.hint("Telegram is emulated here, and so is the phone: tgmesh emulator code");
        context.say(&format!("{code} \"{phone}\""));
    }
}

async fn password(context: &Context, clients: &Clients, login: pb::Login, told: bool) -> Result<pb::Login, Failure> {
    if !told {
        let hint = if login.password_hint.is_empty() { "none" } else { &login.password_hint };
        context.say(&format!("two-step verification: the account's password is needed (its hint: {hint})"));
    }
    let password = given(prompt::ask("password", true).await?, &login)?;
    let request =
        pb::SubmitLoginPasswordRequest { request_id: clients.request_id(), login_id: login.id.clone(), password };
    let sent = clients.call(TO, request, async |c, r| Client::new(c).submit_login_password(r).await).await;
    step(context, login, sent.map(|answer| answer.login), ErrorReason::LoginPasswordWrong)
}

/// The login after a step; the one before when it may be tried again here.
fn step(
    context: &Context,
    before: pb::Login,
    sent: Result<Option<pb::Login>, Failure>,
    wrong: ErrorReason,
) -> Result<pb::Login, Failure> {
    match sent {
        Ok(after) => there(after),
        // A script that has said it wrong will say it wrong again.
        Err(failure) if failure.reason() == Some(wrong) && std::io::stdin().is_terminal() => {
            context.say("that is wrong: once more");
            Ok(before)
        }
        Err(failure) => Err(failure),
    }
}

fn given(line: Option<String>, login: &pb::Login) -> Result<String, Failure> {
    line.ok_or_else(|| {
        Failure::new("nothing was entered: the login waits")
            .advice(format!("go on with it: tgmesh accounts login phone --login {}", login.id))
    })
}

fn ended(context: &Context, login: &pb::Login) -> Done {
    match login.state() {
        State::Completed => {
            if !context.json {
                context.say("connected");
                super::output::print_line(accounts::line(login.account.as_ref()).trim_end());
            }
            Ok(())
        }
        State::Failed => Err(Failure::with_reason("the login failed", &login.failure_reason)),
        State::Expired => Err(Failure::with_reason("the login was not finished in time", "LOGIN_EXPIRED")),
        other => Err(Failure::new(format!("the login is {}", word(other.as_str_name(), "STATE")))),
    }
}

async fn by_qr(context: &Context, clients: &Clients) -> Done {
    let request = pb::StartQrLoginRequest { request_id: clients.request_id() };
    let mut picture = qr::Picture::default();
    let mut asked = false;
    loop {
        // The same request goes on with the same login when the stream breaks.
        let mut steps = clients.call(TO, request.clone(), async |c, r| Client::new(c).start_qr_login(r).await).await?;
        let mut heard = false;
        let broken = loop {
            let answer = match steps.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => break None,
                Err(status) => break Some(status),
            };
            heard = true;
            if context.json {
                context.show(&answer, |_| String::new())?;
            }
            let login = there(answer.login)?;
            match login.state() {
                State::ScanRequired => {
                    if let Some(code) = answer.qr_code.filter(|_| !context.json) {
                        picture.draw(context, &code)?;
                    }
                }
                State::PasswordRequired => {
                    picture.forget();
                    let mut login = login;
                    while login.state() == State::PasswordRequired {
                        login = password(context, clients, login, asked).await?;
                        asked = true;
                    }
                }
                _ => return ended(context, &login),
            }
        };
        match broken {
            Some(status) if !heard || status.code() != tonic::Code::Unavailable => {
                return Err(clients.failed(TO, &status));
            }
            None if !heard => return Err(Failure::new("the service ended the login without a word")),
            _ => {}
        }
    }
}
