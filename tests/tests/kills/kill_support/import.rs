//! Imports of session strings.

use anyhow::{Context as _, ensure};
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::import_result::Status;

use super::login::Later;
use super::sessions::telethon;
use super::stage::Stage;

/// A file with a session of each of these users.
pub fn file(stage: &Stage, users: impl IntoIterator<Item = i64>) -> String {
    let one = |user: i64| {
        let mut key = [0; 256];
        for part in key.chunks_mut(32) {
            part.copy_from_slice(&service_kit::identity::random_seed());
        }
        stage.emulated().add_key(key, 2, Some(user));
        telethon(&key) + "\n"
    };
    users.into_iter().map(one).collect()
}

/// The request that imports it.
pub fn request(stage: &Stage, file: &str) -> pb::ImportSessionsRequest {
    pb::ImportSessionsRequest { request_id: stage.request_id(), sessions: file.to_owned() }
}

/// Imports it, in the background.
pub fn later(stage: &Stage, request: &pb::ImportSessionsRequest) -> anyhow::Result<Later> {
    let (mut client, request) = (stage.integration()?, request.clone());
    Ok(tokio::spawn(async move { Ok(client.import_sessions(request).await.map(drop)?) }))
}

/// Imports it; every line is connected, now or by what came before.
pub async fn finish(stage: &Stage, request: &pb::ImportSessionsRequest) -> anyhow::Result<()> {
    let results = stage.integration()?.import_sessions(request.clone()).await?.into_inner().results;
    ensure!(results.len() == request.sessions.lines().count(), "{results:?}");
    for result in results {
        ensure!(result.status() == Status::Connected, "{result:?}");
        result.account.context("no account")?;
    }
    Ok(())
}
