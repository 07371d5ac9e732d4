//! Logins by QR code.

use anyhow::{Context as _, bail};
use tgmesh_proto::emulator::v1 as emulator;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;
use tonic::Streaming;

use super::stage::Stage;
use super::world::phone;
use super::{PATIENCE, login};

/// A login whose events are read.
pub struct Shown {
    events: Streaming<pb::StartQrLoginResponse>,
    /// The last event.
    pub last: pb::StartQrLoginResponse,
}

impl Shown {
    /// The next event.
    pub async fn next(&mut self) -> anyhow::Result<State> {
        let event = tokio::time::timeout(PATIENCE, self.events.message()).await.context("no event came")??;
        self.last = event.context("the events have ended")?;
        Ok(self.login()?.state())
    }

    pub fn login(&self) -> anyhow::Result<&pb::Login> {
        self.last.login.as_ref().context("no login")
    }

    /// Lets the phone of a user scan the code that is shown.
    pub async fn scan(&self, stage: &Stage, id: i64) -> anyhow::Result<()> {
        let link = self.last.qr_code.as_ref().context("no code")?.link.clone();
        stage.control()?.accept_login_token(emulator::AcceptLoginTokenRequest { phone: phone(id), link }).await?;
        Ok(())
    }
}

/// Starts a login, or goes on with the one that this request has started.
pub async fn show(stage: &Stage, request_id: &str) -> anyhow::Result<Shown> {
    let request = pb::StartQrLoginRequest { request_id: request_id.to_owned() };
    let events = stage.integration()?.start_qr_login(request).await?.into_inner();
    let mut shown = Shown { events, last: pb::StartQrLoginResponse::default() };
    shown.next().await?;
    Ok(shown)
}

/// Finishes a login as a user would: who sees a code scans it, who is asked for a password enters it.
pub async fn go_on(stage: &Stage, request_id: &str, id: i64) -> anyhow::Result<()> {
    let mut shown = show(stage, request_id).await?;
    loop {
        match shown.login()?.state() {
            State::ScanRequired => shown.scan(stage, id).await?,
            State::PasswordRequired => {
                let done = login::prove(stage, &login::password(stage, shown.login()?)).await?;
                stage.say(&format!("the password is entered: {:?}", done.state()));
            }
            State::Completed => return Ok(()),
            other => bail!("the login ended as {other:?}"),
        }
        shown.next().await?;
    }
}
