//! Six accounts connect: by code, by code and password, by QR code.

use anyhow::{Context as _, bail, ensure};
use tgmesh_proto::emulator::v1 as emulator;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;

use super::say;
use super::stage::Stage;

/// The account with a password, and the one that logs in by QR code.
const WITH_PASSWORD: (&str, &str) = ("+49 30 9000 0105", "correct horse battery staple");
const BY_QR: &str = "+49 30 9000 0106";

pub(super) async fn all(stage: &Stage) -> anyhow::Result<()> {
    for (phone, label) in [("+49 30 9000 0102", "Two"), ("+49 30 9000 0103", "Three"), ("+49 30 9000 0104", "Four")] {
        let login = by_phone(stage, phone, None).await?;
        say(&format!("  Operator {label}: {}", describe(&login)));
    }
    say("  Operator One, by phone:");
    by_phone(stage, "+49 30 9000 0101", Some("    ")).await?;
    say("  Operator Five, by phone, with two-step verification:");
    by_phone(stage, WITH_PASSWORD.0, Some("    ")).await?;
    say("  Operator Six, by QR code:");
    by_qr(stage).await
}

async fn by_phone(stage: &Stage, phone: &str, indent: Option<&str>) -> anyhow::Result<pb::Login> {
    let tell = |line: String| {
        if let Some(indent) = indent {
            say(&format!("{indent}{line}"));
        }
    };
    let mut client = stage.integration()?;
    let request = pb::StartPhoneLoginRequest { request_id: stage.request_id(), phone: phone.to_owned() };
    let login = client.start_phone_login(request).await?.into_inner().login.context("no login")?;
    let delivery = login.code_delivery.unwrap_or_default();
    tell(format!("{phone}: a code of {} digits was sent", delivery.length));
    // What the emulated phone shows.
    let code = stage.control()?.read_login_code(emulator::ReadLoginCodeRequest { phone: phone.to_owned() }).await?;
    let request = pb::SubmitLoginCodeRequest {
        request_id: stage.request_id(),
        login_id: login.id.clone(),
        code: code.into_inner().code,
    };
    let mut login = client.submit_login_code(request).await?.into_inner().login.context("no login")?;
    tell("the code was entered".to_owned());
    if login.state() == State::PasswordRequired {
        ensure!(phone == WITH_PASSWORD.0, "nobody knows the password of {phone}");
        tell(format!("a password is needed; the hint is \"{}\"", login.password_hint));
        let request = pb::SubmitLoginPasswordRequest {
            request_id: stage.request_id(),
            login_id: login.id,
            password: WITH_PASSWORD.1.to_owned(),
        };
        login = client.submit_login_password(request).await?.into_inner().login.context("no login")?;
        tell("the password was proven, and never sent".to_owned());
    }
    ensure!(login.state() == State::Completed, "the login of {phone} ended as {:?}", login.state());
    tell(describe(&login));
    Ok(login)
}

async fn by_qr(stage: &Stage) -> anyhow::Result<()> {
    let request = pb::StartQrLoginRequest { request_id: stage.request_id() };
    let mut events = stage.integration()?.start_qr_login(request).await?.into_inner();
    let mut scanned = false;
    while let Some(event) = events.message().await? {
        let login = event.login.context("no login")?;
        match (login.state(), event.qr_code) {
            (State::ScanRequired, Some(code)) if !scanned => {
                draw(&code.link)?;
                say("    the emulated phone of Operator Six scans it");
                let scan = emulator::AcceptLoginTokenRequest { phone: BY_QR.to_owned(), link: code.link };
                stage.control()?.accept_login_token(scan).await?;
                scanned = true;
            }
            (State::ScanRequired, _) => {}
            (State::Completed, _) => {
                say(&format!("    {}", describe(&login)));
                return Ok(());
            }
            (other, _) => bail!("the login by qr code ended as {other:?}: {}", login.failure_reason),
        }
    }
    bail!("the login by qr code ended without a word")
}

fn draw(link: &str) -> anyhow::Result<()> {
    let code = qrcode::QrCode::new(link.as_bytes())?;
    let picture = code.render::<qrcode::render::unicode::Dense1x2>().quiet_zone(true).build();
    for line in picture.lines() {
        say(&format!("    {line}"));
    }
    Ok(())
}

fn describe(login: &pb::Login) -> String {
    match &login.account {
        Some(account) => format!("connected as @{} ({})", account.username, account.state_detail),
        None => "not connected".to_owned(),
    }
}
