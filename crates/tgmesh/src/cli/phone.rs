//! The emulated phones: the codes they show, the QR codes they scan, and sessions
//! as other clients keep them.

use clap::{Args, Subcommand, ValueEnum};
use tgmesh_proto::emulator::v1 as pb;
use tgmesh_proto::emulator::v1::create_session_request::User;
use tgmesh_proto::emulator::v1::emulator_service_client::EmulatorServiceClient as Client;
use tonic::Status;
use tonic::transport::Channel;

use super::{Context, Done, Failure, client};

/// Where the emulator is.
#[derive(Debug, Args)]
pub(crate) struct Control {
    /// Address of its control; that of the running services when left out.
    #[arg(long, value_name = "ADDRESS")]
    control: Option<String>,
}

/// What an emulated phone can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Phone {
    /// Print the login code that the emulated phone of a number shows.
    Code {
        /// The number.
        phone: String,
        #[command(flatten)]
        control: Control,
    },
    /// Let the emulated phone of a number scan a QR code.
    Scan {
        /// The number of the phone that scans.
        phone: String,
        /// What the code says: tg://login?token=…
        link: String,
        #[command(flatten)]
        control: Control,
    },
    /// Log a user of the emulated world in, and print the session: a line for `accounts import`.
    Session {
        /// The user: a phone number with its +, or a Telegram user id.
        #[arg(value_parser = user)]
        user: User,
        /// The library that writes sessions so.
        #[arg(long, value_enum, default_value_t = Format::Telethon)]
        format: Format,
        #[command(flatten)]
        control: Control,
    },
}

/// A library whose session strings can be imported.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Telethon,
    Pyrogram,
}

fn user(text: &str) -> Result<User, String> {
    match text.parse() {
        _ if text.starts_with('+') => Ok(User::Phone(text.to_owned())),
        Ok(id) => Ok(User::UserId(id)),
        Err(_) => Err("expected a phone number with its +, or a Telegram user id".to_owned()),
    }
}

/// Uses an emulated phone.
pub(crate) async fn run(context: &Context, phone: Phone) -> Done {
    match phone {
        Phone::Code { phone, control } => {
            let (mut client, address) = connect(context, control)?;
            let answer = client.read_login_code(pb::ReadLoginCodeRequest { phone }).await;
            let answer = answer.map_err(|status| failed(&status, &address))?.into_inner();
            context.show(&answer, |answer| answer.code.clone())
        }
        Phone::Scan { phone, link, control } => {
            let (mut client, address) = connect(context, control)?;
            let answer = client.accept_login_token(pb::AcceptLoginTokenRequest { phone, link }).await;
            let answer = answer.map_err(|status| failed(&status, &address))?.into_inner();
            context.show(&answer, |_| "scanned".to_owned())
        }
        Phone::Session { user, format, control } => {
            let (mut client, address) = connect(context, control)?;
            let format = match format {
                Format::Telethon => pb::SessionFormat::Telethon,
                Format::Pyrogram => pb::SessionFormat::Pyrogram,
            };
            let request = pb::CreateSessionRequest { user: Some(user), format: format.into() };
            let answer = client.create_session(request).await;
            let answer = answer.map_err(|status| failed(&status, &address))?.into_inner();
            context.show(&answer, |answer| answer.session.clone())
        }
    }
}

fn connect(context: &Context, control: Control) -> Result<(Client<Channel>, String), Failure> {
    let running = || client::emulator(&context.config)?.control.map(|address| address.to_string());
    let address = control.control.or_else(running).unwrap_or_else(|| context.config.emulator.control.to_string());
    let url = if address.contains("://") { address } else { format!("http://{address}") };
    Ok((Client::new(service_kit::client::bare_channel(&url)?), url))
}

fn failed(status: &Status, address: &str) -> Failure {
    if status.code() == tonic::Code::Unavailable {
        let cause = super::failure::cause(status);
        return Failure::unavailable(format!("the emulator's control at {address} cannot be reached: {cause}"))
            .advice("is `tgmesh serve all` or `tgmesh emulator` running?");
    }
    Failure::new(status.message())
}
