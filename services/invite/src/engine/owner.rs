//! Signs of life. What belongs to a process that gives none is taken over.

use std::sync::Arc;

use sea_orm::{DbErr, Value};

use super::Shared;
use crate::app::{App, execute};

/// Gives a sign of life.
///
/// # Errors
/// When the database fails.
pub async fn sign(app: &App, shared: &Shared) -> Result<(), DbErr> {
    // From before the write: others see it as valid at least as long as we do.
    let at = app.clock.monotonic();
    let until = (app.clock.now() + app.config.engine.owner_ttl()).millis();
    let values: [Value; 2] = [app.process.into(), until.into()];
    let text = "INSERT INTO processes (id, expires_at) VALUES ($1, $2) \
                ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at";
    execute(app.db.conn(), text, values).await?;
    shared.sign(at);
    Ok(())
}

/// Gives signs of life until the process leaves.
pub async fn run(app: Arc<App>, shared: Arc<Shared>, done: tokio_util::sync::CancellationToken) {
    let pause = app.config.engine.owner_ttl() / 3;
    loop {
        tokio::select! {
            () = app.clock.sleep(pause) => {}
            () = done.cancelled() => return,
        }
        if let Err(error) = sign(&app, &shared).await {
            tracing::error!(%error, "no sign of life could be given");
        }
    }
}

/// Says goodbye: what is left may be taken over at once.
///
/// # Errors
/// When the database fails.
pub async fn leave(app: &App) -> Result<(), DbErr> {
    let values: [Value; 1] = [app.process.into()];
    execute(app.db.conn(), "DELETE FROM processes WHERE id = $1", values).await?;
    Ok(())
}

/// Forgets processes that died long ago.
///
/// # Errors
/// When the database fails.
pub async fn sweep(app: &App) -> Result<(), DbErr> {
    let values: [Value; 1] = [(app.now() - 86_400_000).into()];
    execute(app.db.conn(), "DELETE FROM processes WHERE expires_at < $1", values).await?;
    Ok(())
}
