//! The main job on the embedded profile, in one process, before your eyes:
//! accounts log in, a community is parsed, people are invited. It ends with a
//! verdict that only the emulator's flight recorder gives.

mod breaks;
mod job;
mod logins;
mod stage;
mod verdict;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use service_kit::shutdown::Shutdown;

pub use breaks::Break;
use stage::Stage;
use verdict::Policy;

/// The people who are invited.
const TARGETS: i32 = 60;
/// What becomes of them: the world and its people are written down in the scenario, two of them leave Telegram.
const OUTCOMES: &[(&str, usize)] = &[("INPUT_USER_DEACTIVATED", 2), ("INVITED", 49), ("PRIVACY_RESTRICTED", 9)];
/// After Ctrl-C, how long what is running may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// How to run the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Break one rule on purpose: the verdict must end red, and name it.
    #[arg(long = "break", value_name = "RULE")]
    pub rule: Option<Break>,
    /// Leave everything running afterwards, and say how to talk to it.
    #[arg(long)]
    pub keep: bool,
    /// Also write the log of the services, to standard error.
    #[arg(long)]
    pub verbose: bool,
}

/// Plays the main job; whether every rule was kept.
///
/// # Errors
/// When something fails that is no part of the verdict.
pub async fn run(args: &Args) -> anyhow::Result<bool> {
    let policy = Policy {
        invites_per_chat: 20,
        shortest_interval: Duration::from_millis(600),
        longest_interval: Duration::from_millis(900),
        flood_margin: Duration::from_secs(2),
        outcomes: OUTCOMES,
    };
    say("tgmesh demo: one process, SQLite, an emulated Telegram that speaks MTProto");
    let stage = Stage::set(&policy, args.rule).await?;
    say(&format!("  everything runs in {}", stage.folder().display()));

    say("\n1. Six accounts connect");
    logins::all(&stage).await.context("the accounts could not be connected")?;

    say("\n2. The members of @rust_berlin are parsed, without bots, admins, deleted");
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
    let mut broken: Vec<&str> = findings.iter().filter(|f| !f.kept).map(|f| f.invariant.name).collect();
    broken.dedup();
    let green = broken.is_empty();
    say(&if green { "\nGREEN: every rule was kept".to_owned() } else { format!("\nRED: {}", broken.join(", ")) });
    say("docs/invariants.md says what the rules are");
    if args.keep {
        keep(&stage).await?;
    }
    stage.strike().await?;
    Ok(green)
}

/// Waits for a signal; meanwhile the command line and any client can look at everything.
async fn keep(stage: &Stage) -> anyhow::Result<()> {
    stage.announce()?;
    // As it was called: `tgmesh` need not be in the path.
    let tgmesh = std::env::args().next().unwrap_or_else(|| "tgmesh".to_owned());
    let tgmesh = format!("{tgmesh} --data-dir {}", stage.folder().display());
    say("\nStill running; Ctrl-C ends it. Look around:");
    say(&format!("  {tgmesh} campaign report last"));
    if let Some(address) = stage.served().services.get("invite") {
        let call = "tgmesh.invite.v1.InviteService/ListCampaigns";
        let header = format!("  -H \"authorization: Bearer $({tgmesh} token)\" \\");
        say("With any client that knows gRPC's reflection, such as grpcurl or buf:");
        say("  grpcurl -plaintext \\");
        say(&header);
        say(&format!("  {address} {call}"));
        say("  buf curl --protocol grpc --http2-prior-knowledge --data '{}' \\");
        say(&header);
        say(&format!("  http://{address}/{call}"));
    }
    let places: Vec<String> =
        stage.served().services.iter().map(|(name, address)| format!("{name} {address}")).collect();
    say(&format!("The services: {}", places.join(", ")));
    let shutdown = Shutdown::new();
    tokio::select! {
        ended = shutdown.follow_signals(stage.clock.clone(), GRACE) => Ok(ended?),
        () = shutdown.begun() => Ok(()),
    }
}

/// Writes a line for the spectator. The play goes on when he has left.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
