//! The main job on the embedded profile, in one process, before your eyes:
//! accounts log in, a community is parsed, people are invited. It ends with a
//! verdict that only the emulator's flight recorder gives.

mod breaks;
mod job;
mod logins;
mod stage;
mod verdict;

use std::time::Duration;

use anyhow::Context as _;

pub use breaks::Break;
use stage::Stage;
use verdict::Policy;

/// The people who are invited.
const TARGETS: i32 = 60;

/// How to run the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Break one rule on purpose: the verdict must end red, and name it.
    #[arg(long = "break", value_name = "RULE")]
    pub rule: Option<Break>,
    /// Leave everything running afterwards, and say how to talk to it.
    #[arg(long)]
    pub keep: bool,
}

/// Plays the main job; whether every rule was kept.
///
/// # Errors
/// When something fails that is no part of the verdict.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    let policy = Policy {
        invites_per_chat: 20,
        shortest_interval: Duration::from_millis(600),
        longest_interval: Duration::from_millis(900),
        flood_margin: Duration::from_secs(2),
    };
    say("tgmesh demo: one process, SQLite, and an emulated Telegram that speaks real MTProto");
    let stage = Stage::set(&policy, args.rule).await?;
    say(&format!("  everything runs in {}", stage.folder().display()));

    say("\n1. Six accounts connect");
    logins::all(&stage).await.context("the accounts could not be connected")?;

    say("\n2. The members of @rust_berlin are parsed (bots, deleted accounts and admins out)");
    let task = job::parse(&stage).await.context("the community could not be parsed")?;
    stage.spoil().await?;

    say(&format!("\n3. A campaign invites {TARGETS} of them into @rust_meetup_berlin"));
    let campaign = job::create(&stage, &task, TARGETS).await?;
    if let Some(rule) = args.rule {
        rule.before(&stage, &campaign).await?;
    }
    job::invite(&stage, &campaign).await.context("the campaign did not come to its end")?;
    if let Some(rule) = args.rule {
        rule.after(&stage, &campaign).await?;
    }

    say("\n4. The report");
    let claims = job::report(&stage, &campaign).await?;

    say("\n5. The verdict, from what the emulator recorded");
    let record = verdict::read(stage.control()?).await?;
    let findings = verdict::judge(&policy, &claims, &record);
    for finding in &findings {
        let mark = if finding.kept { "ok " } else { "RED" };
        say(&format!("  {mark} {:9} {}", finding.invariant.name, finding.detail));
    }
    let green = findings.iter().all(|finding| finding.kept);
    say(if green { "\nGREEN: every rule was kept" } else { "\nRED: a rule was broken" });
    if args.keep {
        keep(&stage).await?;
    }
    stage.strike().await?;
    Ok(green)
}

async fn keep(stage: &Stage) -> anyhow::Result<()> {
    say("\nStill running; Ctrl-C ends it. With any generic gRPC client, for example `buf curl`:");
    let token = stage.token();
    for (name, address) in &stage.served().services {
        say(&format!("  {name:12} http://{address}"));
    }
    if let Some(address) = stage.served().services.get("invite") {
        say("  buf curl --protocol grpc --http2-prior-knowledge --list-methods \\");
        say(&format!("    http://{address}"));
        say("  buf curl --protocol grpc --http2-prior-knowledge --data '{}' \\");
        say("    --header 'authorization: Bearer TOKEN' \\");
        say(&format!("    http://{address}/tgmesh.invite.v1.InviteService/ListCampaigns"));
    }
    say("  TOKEN, good for five minutes, is in the file:");
    let file = stage.folder().join("token");
    std::fs::write(&file, token)?;
    say(&format!("    {}", file.display()));
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Writes a line for the spectator.
#[expect(clippy::print_stdout, reason = "the demo is there to be watched")]
fn say(line: &str) {
    println!("{line}");
}
