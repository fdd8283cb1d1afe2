//! Two production servers with mutual TLS behind a balancer, and clients that connect all the time: one server dies, the other
//! is unplugged, servers are drained and maintained, and the balancer's own program is killed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use malha_tests::lab::{
    AGENCY, Attempt, CLIENT, Caller, Certificates, HUB, Lab, Load, Machine, Namespace, PATIENCE,
    SecurityServer, eventually, output, story,
};
use serde_json::Value;

/// The servers, with their services in the overlay.
pub(crate) struct Stage {
    pub(crate) servers: Vec<SecurityServer>,
    pub(crate) certificates: Certificates,
}

impl Stage {
    pub(crate) fn open(lab: &Lab) -> Result<Self> {
        let certificates = Certificates::new()?;
        let mut servers = Vec::new();
        lab.hub.malha(&["site", "add", SITE])?;
        for number in [1, 2] {
            let mut server = lab.security_server(number, &certificates)?;
            let words = ["token", "add", SITE, "--profile", "security-server"];
            let token = lab.hub.token(&words)?;
            let named = ["--name", &server.name, "--engine", "userspace"];
            server.site.machine.enrol(&token, &named)?;
            server.start()?;
            let node = format!("{SITE}/{}", server.name);
            eventually("the server is enrolled", PATIENCE, || lab.hub.node(&node))?;
            let service = [
                "service",
                "add",
                &node,
                "mensagens",
                "--port",
                "5500",
                "--target",
                "127.0.0.1:5500",
            ];
            lab.hub.malha(&service)?;
            servers.push(server);
        }
        Ok(Self {
            servers,
            certificates,
        })
    }

    /// The balancer on a node, with both servers, until both are up.
    pub(crate) fn balance(&self, lab: &Lab, node: &str, words: &[&str]) -> Result<String> {
        let path = format!("{node}/xroad");
        let backends = self.services().join(",");
        let add = ["balancer", "add", node, "xroad", "--backend", &backends];
        let health = ["--port", "5500", "--health", "5588/"];
        lab.hub.malha(&[&add[..], &health, words].concat())?;
        eventually("both servers are up", PATIENCE, || {
            conditions_are(lab, &path, &["up", "up"])
        })?;
        Ok(path)
    }

    fn services(&self) -> [String; 2] {
        [0, 1].map(|at| format!("{SITE}/{}/mensagens", self.servers[at].name))
    }
}

fn shown(lab: &Lab, balancer: &str) -> Result<Value> {
    lab.hub.json(&["balancer", "show", balancer])
}

pub(crate) fn conditions_are(lab: &Lab, balancer: &str, wanted: &[&str]) -> Result<()> {
    let shown = shown(lab, balancer)?;
    let backends = shown["backends"].as_array().context("no backends")?;
    let conditions: Vec<_> = backends.iter().map(|it| it["condition"].as_str()).collect();
    let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
    ensure!(
        conditions == wanted,
        "{conditions:?}, {}",
        shown["live"]["trouble"]
    );
    Ok(())
}

pub(crate) fn is_by(attempt: &Attempt, server: &SecurityServer) -> bool {
    attempt.met.as_deref() == Ok(server.name.as_str())
}

/// Waits for enough attempts from two seconds after something happened, of which every one must have gone well, to `server`.
pub(crate) fn all_go_to(load: &Load, since: Instant, server: &SecurityServer) -> Result<()> {
    let late = |all: &[Attempt]| -> Vec<Attempt> {
        let late = all.iter().filter(|it| it.began >= since + FAILOVER);
        late.cloned().collect()
    };
    load.until("enough attempts were made", |all| late(all).len() >= ENOUGH)?;
    let all = load.attempts();
    for attempt in late(&all) {
        ensure!(
            is_by(&attempt, server),
            "{:?} after it: {:?}",
            attempt.began - since,
            attempt.met
        );
    }
    let failed = all.iter().filter(|it| it.met.is_err()).count();
    let slowest = late(&all).iter().map(|it| it.took).max();
    println!(
        "{} attempts, {failed} failed before {FAILOVER:?} had passed, the slowest later one took {slowest:?}",
        all.len()
    );
    Ok(())
}

/// Waits until so many attempts that began after this moment went to a server.
pub(crate) fn is_met(load: &Load, since: Instant, server: &SecurityServer) -> Result<()> {
    load.until(&format!("{} is met", server.name), |all| {
        let met = all
            .iter()
            .filter(|it| it.began > since && is_by(it, server));
        met.count() >= FEW
    })
}

#[test]
fn when_one_of_two_servers_dies_under_load_no_new_connection_fails_after_two_seconds() {
    story("failover", |lab| {
        let mut stage = Stage::open(lab)?;
        let balancer = stage.balance(lab, HUB_NODE, &["--exposure", "public"])?;
        let target: SocketAddr = format!("{HUB}:5500").parse()?;
        let caller = Caller::new(target, &stage.certificates)?;
        let load = Load::start(&lab.client.namespace, &caller, CLIENTS)?;
        let start = Instant::now();
        is_met(&load, start, &stage.servers[0])?;
        is_met(&load, start, &stage.servers[1])?;

        stage.servers[0].kill()?;
        all_go_to(&load, Instant::now(), &stage.servers[1])?;
        eventually("the dead server is seen to be down", PATIENCE, || {
            conditions_are(lab, &balancer, &["down", "up"])
        })?;

        let restarted = Instant::now();
        stage.servers[0].start()?;
        eventually("the server is back", RECOVERY + PATIENCE, || {
            conditions_are(lab, &balancer, &["up", "up"])
        })?;
        // The last failed check was at most one interval before the start.
        let away = restarted.elapsed();
        ensure!(away > RECOVERY - INTERVAL, "called up after {away:?}");
        let early = load.attempts();
        let early = early.iter().filter(|it| {
            it.began > restarted
                && it.began < restarted + RECOVERY - INTERVAL
                && is_by(it, &stage.servers[0])
        });
        // One whose way to the other was lost may have come to it, as to the last resort.
        let early = early.count() as u64;
        eventually("it had only what the other did not take", PATIENCE, || {
            let retried = shown(lab, &balancer)?["live"]["counts"]["retried"].as_u64();
            ensure!(Some(early) <= retried, "{early}, retried: {retried:?}");
            Ok(())
        })?;
        is_met(&load, Instant::now(), &stage.servers[0])?;

        stage.servers[1].unplug()?;
        all_go_to(&load, Instant::now(), &stage.servers[0])
    });
}

#[test]
fn drain_and_maintenance_under_load_lose_no_connection() {
    story("drain and maintenance", |lab| {
        let stage = Stage::open(lab)?;
        let balancer = stage.balance(lab, HUB_NODE, &["--exposure", "public"])?;
        let target: SocketAddr = format!("{HUB}:5500").parse()?;
        let caller = Caller::new(target, &stage.certificates)?;
        let load = Load::start(&lab.client.namespace, &caller, CLIENTS)?;
        let [first, second] = &stage.servers[..] else {
            anyhow::bail!("two servers were opened")
        };
        let start = Instant::now();
        is_met(&load, start, first)?;
        is_met(&load, start, second)?;
        let services = stage.services();
        for (out, other, service, mode) in [
            (first, second, &services[0], "drain"),
            (second, first, &services[1], "maintenance"),
        ] {
            let mut held = eventually("a connection to it is open", PATIENCE, || {
                let mut held = caller.hold(&lab.client.namespace)?;
                ensure!(held.ask()? == out.name, "that is the other one");
                Ok(held)
            })?;
            lab.hub.malha(&["balancer", mode, &balancer, service])?;
            all_go_to(&load, Instant::now(), other)?;
            ensure!(held.ask()? == out.name, "what was open under {mode}");
            lab.hub.malha(&["balancer", "resume", &balancer, service])?;
            is_met(&load, Instant::now(), out)?;
            ensure!(held.ask()? == out.name, "after resume");
        }
        none_is_lost(&load.attempts(), PATIENCE)
    });
}

#[test]
fn a_killed_balancer_works_again_from_its_disk_without_a_controller() {
    story("balancer restarts", |lab| {
        let stage = Stage::open(lab)?;
        let mut node = lab.agency()?;
        let words = ["token", "add", SITE, "--profile", "edge"];
        let token = lab.hub.token(&words)?;
        // Without a hub nobody could tell the servers, which are behind NAT, of another port.
        let endpoint = format!("{AGENCY}:51820");
        node.configure(&format!("listen = [\"{endpoint}\"]\n"))?;
        node.enrol(&token, &["--name", "bal-1", "--engine", "userspace"])?;
        let path = format!("{SITE}/bal-1");
        eventually("the node is enrolled", PATIENCE, || lab.hub.node(&path))?;
        lab.hub.malha(&["node", "endpoints", &path, &endpoint])?;
        let only = format!("{}/32", CLIENT);
        let words = ["--exposure", "public", "--allow", &only];
        stage.balance(lab, &path, &words)?;
        let target: SocketAddr = format!("{}:5500", AGENCY).parse()?;
        let caller = Caller::new(target, &stage.certificates)?;
        let client = &lab.client.namespace;
        caller.hold(client)?.ask()?;
        let stranger = caller.hold(&lab.hub.namespace);
        let served = stranger.and_then(|mut held| held.ask());
        ensure!(served.is_err(), "a source that is not listed was served");
        eventually("the status tells of it", PATIENCE, || {
            let status = node.status()?;
            let it = &status["balancers"][0];
            ensure!(it["counts"]["not_allowed"] == 1, "{it}");
            ensure!(it["servers"][1]["condition"] == "up", "{it}");
            Ok(())
        })?;

        node.agent()?.stop()?;
        ensure!(caller.hold(client).is_err(), "nobody listens");
        node.boot(&["--engine", "userspace"])?;
        eventually("it balances again", PATIENCE, || {
            caller.hold(client)?.ask().map(drop)
        })?;

        lab.hub.controller()?.kill()?;
        node.agent()?.kill()?;
        let booted = Instant::now();
        node.boot(&["--engine", "userspace"])?;
        eventually("it balances without a controller", PATIENCE, || {
            caller.hold(client)?.ask().map(drop)
        })?;
        println!("{:?} after the boot", booted.elapsed());
        lab.hub.serve()?;
        node.becomes_healthy()
    });
}

/// An operator restarts the balancer's program under load: who waits for an answer gets it, and newcomers wait a moment.
#[test]
fn a_restarted_balancer_answers_whom_it_has_and_soon_takes_new_connections() {
    story("balancer restart", |lab| {
        let stage = Stage::open(lab)?;
        let mut node = lab.agency()?;
        let token = lab
            .hub
            .token(&["token", "add", SITE, "--profile", "edge"])?;
        node.enrol(&token, &["--name", "bal-1", "--engine", "userspace"])?;
        let path = format!("{SITE}/bal-1");
        eventually("the node is enrolled", PATIENCE, || lab.hub.node(&path))?;
        stage.balance(lab, &path, &["--exposure", "public"])?;
        let caller = Caller::new(format!("{AGENCY}:5500").parse()?, &stage.certificates)?;
        let client = &lab.client.namespace;
        let load = Load::start(client, &caller, CLIENTS)?;
        is_met(&load, Instant::now(), &stage.servers[0])?;
        let mut waiting = caller.hold(client)?;
        let server = waiting.ask()?;
        waiting.begin()?;

        let stopped = Instant::now();
        std::thread::scope(|scope| -> Result<()> {
            let stopping = scope.spawn(|| node.agent()?.stop());
            load.until("newcomers are refused", |all| {
                all.last().is_some_and(|it| it.met.is_err())
            })?;
            ensure!(waiting.end()? == server, "who waited got another answer");
            stopping.join().map_err(|_| anyhow!("stopping panicked"))?
        })?;
        let ended = stopped.elapsed();
        node.boot(&["--engine", "userspace"])?;
        let booted = Instant::now();
        load.until("newcomers are served again", |all| {
            all.last()
                .is_some_and(|it| it.began > booted && it.met.is_ok())
        })?;
        let served = stopped.elapsed();
        println!("its program ended after {ended:?}, newcomers were served again after {served:?}");
        ensure!(served < AWAY, "newcomers waited {served:?}");
        let early = load.attempts();
        let cut = early
            .iter()
            .filter(|it| it.began < stopped && it.met.is_err());
        ensure!(cut.count() == 0, "an exchange under way was cut");
        Ok(())
    });
}

/// As `systemctl restart malha-node` does it, twice under load: listening sockets and the TUN device stay with the service manager.
#[test]
fn a_balancer_that_its_service_manager_restarts_refuses_nobody() {
    story("balancer restart by its manager", |lab| {
        let stage = Stage::open(lab)?;
        let (mut node, path) = supervised(lab, "edge")?;
        stage.balance(lab, &path, &["--exposure", "public"])?;
        let mut held = Conversation::with_program_at(&node, &path, &stage.servers[0], lab)?;
        let caller = Caller::new(format!("{AGENCY}:5500").parse()?, &stage.certificates)?;
        let load = Load::start(&lab.client.namespace, &caller, CLIENTS)?;
        is_met(&load, Instant::now(), &stage.servers[0])?;
        let device = device(&node.namespace)?;
        for _ in 0..2 {
            let stopped = Instant::now();
            node.agent()?.stop()?;
            let ended = stopped.elapsed();
            ensure!(
                self::device(&node.namespace)? == device,
                "the device went with it"
            );
            node.boot(&["--engine", "userspace"])?;
            let booted = Instant::now();
            is_met(&load, booted, &stage.servers[0])?;
            is_met(&load, booted, &stage.servers[1])?;
            let served = load.attempts();
            let first = served.iter().filter(|it| it.began + it.took > booted);
            let first = first.map(|it| it.began + it.took - booted).min();
            println!("ended after {ended:?}, served {first:?} after the start");
            ensure!(
                self::device(&node.namespace)? == device,
                "it made another device"
            );
            held.goes_on()?;
        }
        none_is_lost(&load.attempts(), AWAY)?;

        // A death of the program costs those that it carries, and nobody who comes later; and what somebody has done to the
        // device meanwhile is mended.
        node.agent()?.kill()?;
        let killed = Instant::now();
        node.namespace.ip("link set malha0 down")?;
        node.boot(&["--engine", "userspace"])?;
        is_met(&load, killed, &stage.servers[0])?;
        is_met(&load, killed, &stage.servers[1])?;
        let all = load.attempts();
        let later = all.iter().filter(|it| it.began > killed);
        let lost: Vec<_> = later.filter(|it| it.met.is_err()).collect();
        ensure!(lost.is_empty(), "after a kill: {lost:?}");
        ensure!(
            self::device(&node.namespace)? == device,
            "it made another device"
        );
        held.goes_on()?;

        // What is no longer wanted is given back.
        lab.hub
            .malha(&["balancer", "remove", &format!("{path}/xroad")])?;
        eventually("nobody listens", PATIENCE, || {
            let kept = node.supervisor.as_ref().context("no manager")?.kept();
            let listeners = kept.iter().any(|it| it.starts_with("tcp "));
            ensure!(!listeners, "{kept:?}");
            ensure!(caller.hold(&lab.client.namespace).is_err(), "it is served");
            Ok(())
        })
    });
}

/// The agency's own machine as a node of this profile under a service manager, and its path.
pub(crate) fn supervised(lab: &Lab, profile: &str) -> Result<(Machine, String)> {
    let mut node = lab.agency()?;
    node.supervise()?;
    let token = ["token", "add", SITE, "--profile", profile];
    let token = lab.hub.token(&token)?;
    node.enrol(&token, &["--name", "bal-1", "--engine", "userspace"])?;
    let path = format!("{SITE}/bal-1");
    eventually("the node is enrolled", PATIENCE, || lab.hub.node(&path))?;
    Ok((node, path))
}

/// A peer's connection to a program of the machine itself, at its overlay address.
struct Conversation {
    program: TcpStream,
    peer: TcpStream,
}

impl Conversation {
    fn with_program_at(
        machine: &Machine,
        path: &str,
        peer: &SecurityServer,
        lab: &Lab,
    ) -> Result<Self> {
        let (from, to) = (format!("node:{SITE}/{}", peer.name), format!("node:{path}"));
        let grant = [
            "grant", "add", "--from", &from, "--to", &to, "--ports", "7000",
        ];
        lab.hub.malha(&grant)?;
        let address = lab.hub.node(path)?["address_v4"]
            .as_str()
            .map(str::to_owned);
        let at: SocketAddr = format!("{}:7000", address.context("no address")?).parse()?;
        let listener = machine.namespace.within(|| TcpListener::bind(at))??;
        let from = &peer.site.machine.namespace;
        let peer = eventually("the peer is let in", PATIENCE, || {
            let opened = from.within(|| TcpStream::connect_timeout(&at, SOON))?;
            Ok(opened?)
        })?;
        let (program, _) = listener.accept()?;
        for end in [&program, &peer] {
            end.set_read_timeout(Some(PATIENCE))?;
        }
        let mut it = Self { program, peer };
        it.goes_on()?;
        Ok(it)
    }

    fn goes_on(&mut self) -> Result<()> {
        let Self { program, peer } = self;
        let mut word = [0; 4];
        peer.write_all(b"more")?;
        program.read_exact(&mut word)?;
        program.write_all(&word)?;
        Ok(peer.read_exact(&mut word)?)
    }
}

/// Everybody was served, and nobody waited that long.
pub(crate) fn none_is_lost(all: &[Attempt], limit: Duration) -> Result<()> {
    let lost: Vec<_> = all.iter().filter(|it| it.met.is_err()).collect();
    ensure!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), all.len());
    let longest = all.iter().map(|it| it.took).max();
    println!("{} met, the longest took {longest:?}", all.len());
    ensure!(longest < Some(limit), "somebody waited {longest:?}");
    Ok(())
}

/// The number of a machine's TUN device.
pub(crate) fn device(machine: &Namespace) -> Result<String> {
    let mut command = machine.command("cat");
    let said = output(command.arg("/sys/class/net/malha0/ifindex"))?;
    let number = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let why = String::from_utf8_lossy(&said.stderr);
    ensure!(!number.is_empty(), "the device is gone: {why}");
    Ok(number)
}

const SITE: &str = "estacionamentos/producao";
pub(crate) const HUB_NODE: &str = "malha/hub/hub";
const CLIENTS: usize = 3;
/// In how much time after a server's end no new connection fails any more.
const FAILOVER: Duration = Duration::from_secs(2);
/// Attempts after that.
const ENOUGH: usize = 100;
const FEW: usize = 5;
/// In how much time after its stop a balancer that is started at once serves again, on a machine that does much else.
const AWAY: Duration = Duration::from_secs(4);
/// X-Road repeats a failed result for 30 s.
const RECOVERY: Duration = Duration::from_secs(35);
const SOON: Duration = Duration::from_millis(500);
/// Of the checks.
const INTERVAL: Duration = Duration::from_secs(2);
