//! `malha demo`: the whole main job on one machine, as an ordinary user. The controller runs in this process; the node and its
//! garage run as processes of their own and reach the controller only over the wire.

mod check;
mod furnish;
mod garage;
mod narration;
mod ports;
mod world;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args as ClapArgs;
use tokio_util::sync::CancellationToken;

use crate::demo::check::HopResult;
use crate::demo::ports::Ports;
use crate::demo::world::World;

/// What `malha demo` can be told.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Keep everything in this folder; by default a fresh temporary one, removed at the end.
    #[arg(long, value_name = "DIR", env = "MALHA_DEMO_DATA")]
    pub data: Option<std::path::PathBuf>,
    /// Walk the whole way once, say how each hop went, and exit: 0 if all hold.
    #[arg(long)]
    pub check: bool,
    /// With --check: one JSON document.
    #[arg(long, requires = "check")]
    pub json: bool,
    #[command(flatten)]
    ports: Ports,
}

/// What the hidden `malha demo-garage` is told.
#[derive(Clone, Debug, ClapArgs)]
pub struct GarageArgs {
    #[arg(long)]
    pub listen: std::net::SocketAddr,
}

/// Runs the demo until Ctrl-C, or the check once.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let interrupted = tokio::spawn(cancel_on_signal(stop.clone()));
    let outcome = if args.check {
        check_once(&args, &stop).await
    } else {
        show(&args, &stop).await
    };
    interrupted.abort();
    outcome
}

/// The garage's own process: serves until it is told to end.
pub async fn garage(args: GarageArgs) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let interrupted = tokio::spawn(cancel_on_signal(stop.clone()));
    let listener = garage::bind(args.listen)
        .await
        .with_context(|| format!("the garage can't listen on {}", args.listen))?;
    garage::serve(listener, stop).await?;
    interrupted.abort();
    Ok(ExitCode::SUCCESS)
}

/// Ends this process once the demo that started it is gone, also by a crash: then nobody is left to end it, and its ports stay
/// taken. A process that no demo started is left alone.
pub fn end_with_the_demo() {
    if std::env::var_os(LIFELINE).is_none() {
        return;
    }
    std::thread::spawn(|| {
        // Nothing is ever written to it; it closes when the other end does.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(1);
    });
}

async fn show(args: &Args, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    eprintln!("{}", narration::STARTING);
    let world = match World::start(args, stop).await {
        Ok(world) => world,
        Err(_) if stop.is_cancelled() => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error),
    };
    println!("{}", narration::welcome(&world));
    let walked = world.walk().await;
    for hop in &walked {
        println!("{}", narration::hop_line(hop));
    }
    println!("\n{}", narration::LIVE);
    narration::live(&world, stop).await;
    println!("\n{}", narration::CLEANING);
    world.house.finish().await;
    Ok(ExitCode::SUCCESS)
}

async fn check_once(args: &Args, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    let walked = match World::start(args, stop).await {
        Ok(world) => {
            let mut walked = world.hops.clone();
            tokio::select! {
                rest = world.walk() => walked.extend(rest),
                () = stop.cancelled() => {}
            }
            world.house.finish().await;
            walked
        }
        Err(error) => vec![world::failed_hop(&error)],
    };
    if stop.is_cancelled() {
        anyhow::bail!("interrupted");
    }
    report(&walked, args.json)
}

fn report(walked: &[HopResult], json: bool) -> anyhow::Result<ExitCode> {
    let ok = walked.iter().all(|hop| hop.ok);
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({ "ok": ok, "hops": walked }))?
        );
    } else {
        for hop in walked {
            println!("{}", narration::hop_line(hop));
        }
        if let Some(broken) = walked.iter().find(|hop| !hop.ok) {
            println!("broken hop: {}", broken.hop);
        }
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn cancel_on_signal(stop: CancellationToken) {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
    stop.cancel();
}

/// Set for the demo's own processes: their standard input is open for as long as the demo lives.
const LIFELINE: &str = "MALHA_DEMO_LIFELINE";
