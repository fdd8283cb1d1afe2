//! The controller is restarted by its service manager while visitors, resolvers and a balancer's clients come all the time.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{Caller, Garage, HUB, Lab, Load, PATIENCE, eventually, story};

use crate::balancing::{HUB_NODE, Stage, device, none_is_lost};

/// As `systemctl restart malha` does it, twice under load: its sockets and the TUN device stay with the service manager.
#[test]
fn a_controller_that_its_service_manager_restarts_refuses_nobody() {
    story("controller restart by its manager", |lab| {
        lab.hub.controller()?.stop()?;
        lab.hub.supervise()?;
        lab.hub.serve()?;
        let garages = [
            lab.open_garage(1, "userspace")?,
            lab.open_garage(2, "netstack")?,
        ];
        let stage = Stage::open(lab)?;
        let balancer = stage.balance(lab, HUB_NODE, &["--exposure", "public"])?;
        let loads = loads(lab, &garages, &stage)?;
        let before = device(&lab.hub.namespace)?;
        for _ in 0..2 {
            let stopped = Instant::now();
            lab.hub.controller()?.stop()?;
            let ended = stopped.elapsed();
            ensure!(
                device(&lab.hub.namespace)? == before,
                "the device went with it"
            );
            // Nobody is there to answer it.
            let waiting = Question::put(lab, &garages[0].host())?;
            lab.hub.serve()?;
            let started = Instant::now();
            waiting.await_answers()?;
            for load in &loads {
                is_met(load, started)?;
            }
            ensure!(
                device(&lab.hub.namespace)? == before,
                "it made another device"
            );
            println!(
                "ended after {ended:?}, the API answers {:?} after the stop",
                started - stopped
            );
        }
        for load in &loads {
            none_is_lost(&load.attempts(), LONGEST_WAIT)?;
        }

        // A death of the program refuses nobody either, but its nodes find out by themselves.
        lab.hub.controller()?.kill()?;
        let killed = Instant::now();
        lab.hub.serve()?;
        for load in &loads {
            is_met(load, killed)?;
            println!("answered again {:?} after a kill", killed.elapsed());
            let all = load.attempts();
            let mut failed = all.iter().filter_map(|it| it.met.as_ref().err());
            ensure!(!failed.any(|it| it.contains("refused")), "after a kill");
        }

        // What nobody wants any more is given back, before it is in the way of what is wanted instead.
        lab.hub.malha(&["balancer", "remove", &balancer])?;
        let former = "\"0.0.0.0:80\"";
        lab.hub.reconfigure(former, &format!("\"{HUB}:80\""))?;
        lab.hub.controller()?.stop()?;
        lab.hub.serve()?;
        eventually("only what is wanted is kept", PATIENCE, || {
            let kept = lab.hub.supervisor.as_ref().context("no manager")?.kept();
            let has = |end: &str| kept.iter().any(|name| name.ends_with(end));
            ensure!(has(&format!("{HUB}_80")) && has("0.0.0.0_443"), "{kept:?}");
            ensure!(!has("0.0.0.0_80") && !has("_5500"), "{kept:?}");
            Ok(())
        })
    });
}

fn loads(lab: &Lab, garages: &[Garage], stage: &Stage) -> Result<Vec<Load>> {
    let authority = fs::read_to_string(lab.hub.edge_authority())?;
    let mut callers = vec![Caller::new(
        format!("{HUB}:5500").parse()?,
        &stage.certificates,
    )?];
    for garage in garages {
        let edge = format!("{HUB}:443").parse()?;
        let visitor = Caller::visitor(edge, &authority, &garage.host(), "/garagem.css")?;
        callers.push(visitor);
    }
    let start = |caller| Load::start(&lab.client.namespace, caller, CLIENTS);
    let loads: Vec<_> = callers.iter().map(start).collect::<Result<_>>()?;
    for load in &loads {
        is_met(load, Instant::now())?;
    }
    Ok(loads)
}

/// What a resolver asks of our DNS, over UDP and TCP.
struct Question {
    datagram: UdpSocket,
    stream: TcpStream,
}

impl Question {
    fn put(lab: &Lab, host: &str) -> Result<Self> {
        let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in host.split('.') {
            query.push(u8::try_from(label.len())?);
            query.extend(label.as_bytes());
        }
        // Addresses (A) of the Internet's class.
        query.extend([0, 0, 1, 0, 1]);
        let length = u16::try_from(query.len())?.to_be_bytes();
        lab.client.namespace.within(|| {
            let datagram = UdpSocket::bind("0.0.0.0:0")?;
            datagram.connect((HUB, 53))?;
            datagram.send(&query)?;
            let mut stream = TcpStream::connect((HUB, 53))?;
            stream.write_all(&[&length[..], &query].concat())?;
            Ok(Self { datagram, stream })
        })?
    }

    fn await_answers(mut self) -> Result<()> {
        self.datagram.set_read_timeout(Some(PATIENCE))?;
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; 512];
        let bytes = self.datagram.recv(&mut answer).context("over UDP")?;
        let mut length = [0; 2];
        self.stream.read_exact(&mut length).context("over TCP")?;
        let mut whole = vec![0; u16::from_be_bytes(length).into()];
        self.stream.read_exact(&mut whole)?;
        let edge = HUB.parse::<Ipv4Addr>()?.octets();
        for answer in [&answer[..bytes], &whole] {
            ensure!(answer.windows(4).any(|it| it == edge), "{answer:?}");
        }
        Ok(())
    }
}

/// Waits until somebody has been answered who came after that.
fn is_met(load: &Load, since: Instant) -> Result<()> {
    load.until("somebody is answered", |all| {
        all.iter().any(|it| it.began > since && it.met.is_ok())
    })
}

const CLIENTS: usize = 2;
/// A client that gives up has waited as long.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
