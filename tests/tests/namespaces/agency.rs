//! An agency as `malha org add` makes it: members of others reach its two servers through the balancer inside the tunnel, over mutual
//! TLS that nobody opens, and nobody else does.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{
    Access, Caller, Certificates, Connected, Lab, Load, Mapping, PATIENCE, SecurityServer,
    eventually, story,
};
use serde_json::Value;

use crate::balancing::{all_go_to, conditions_are, is_met};

/// Both agencies' machines, by their paths.
struct Agencies {
    tokens: BTreeMap<String, String>,
    certificates: Certificates,
}

impl Agencies {
    fn add(lab: &Lab) -> Result<Self> {
        let mut tokens = BTreeMap::new();
        for (name, production, development) in [("sedec", "2", "0"), ("sefaz", "1", "1")] {
            let words = ["org", "add", name, "--profile", "xroad"];
            let counts = ["--production", production, "--development", development];
            let made = lab.hub.json(&[&words[..], &counts].concat())?;
            for machine in made["machines"].as_array().context("no machines")? {
                let text = |field: &str| Some(machine[field].as_str()?.to_owned());
                let (node, token) = (text("node"), text("token"));
                tokens.insert(node.context("no node")?, token.context("no token")?);
            }
        }
        Ok(Self {
            tokens,
            certificates: Certificates::new()?,
        })
    }

    /// A machine behind a router of its own becomes the one with this path.
    fn enrol(&self, lab: &Lab, number: u8, path: &str) -> Result<Connected> {
        let mut site = lab.connected(Access::Home(Mapping::Preserving), number)?;
        self.become_node(lab, &mut site, path)?;
        Ok(site)
    }

    fn server(&self, lab: &Lab, number: u8, path: &str) -> Result<SecurityServer> {
        let mut server = lab.security_server(number, &self.certificates)?;
        server.keep_to_loopback()?;
        self.become_node(lab, &mut server.site, path)?;
        server.start()?;
        Ok(server)
    }

    fn become_node(&self, lab: &Lab, site: &mut Connected, path: &str) -> Result<()> {
        let token = self.tokens.get(path).context("no such machine")?;
        site.machine.enrol(token, &["--engine", "userspace"])?;
        eventually("the machine is enrolled", PATIENCE, || lab.hub.node(path))?;
        Ok(())
    }
}

fn address<'a>(node: &'a Value, family: &str) -> Result<&'a str> {
    node[family]
        .as_str()
        .with_context(|| format!("no {family} in {node}"))
}

#[test]
fn a_member_meets_both_servers_of_an_agency_through_its_balancer_and_the_other_one_after_a_death() {
    story("agency", |lab| {
        let agencies = Agencies::add(lab)?;
        let mut servers = [
            agencies.server(lab, 1, "sedec/producao/xvia1")?,
            agencies.server(lab, 2, "sedec/producao/xvia2")?,
        ];
        let _balancer = agencies.enrol(lab, 3, BALANCER)?;
        let member = agencies.enrol(lab, 4, "sefaz/producao/xvia1")?;
        let developer = agencies.enrol(lab, 5, "sefaz/desenvolvimento/xvia1")?;
        for port in ["messages", "ocsp-cache"] {
            eventually("both servers are up", PATIENCE, || {
                conditions_are(lab, &format!("{BALANCER}/{port}"), &["up", "up"])
            })?;
        }
        let node = lab.hub.node(BALANCER)?;
        let v4 = address(&node, "address_v4")?;
        let caller = Caller::new(format!("{v4}:5500").parse()?, &agencies.certificates)?;
        let inside = &member.machine.namespace;
        let load = Load::start(inside, &caller, CLIENTS)?;
        for server in &servers {
            is_met(&load, Instant::now(), server)?;
        }
        let v6 = format!("[{}]:5500", address(&node, "address_v6")?);
        Caller::new(v6.parse()?, &agencies.certificates)?
            .hold(inside)?
            .ask()
            .context("over IPv6")?;
        let names = servers.each_ref().map(|it| it.name.clone());
        let ocsp = member.machine.open(&format!("http://{v4}:5577/"))?;
        ensure!(names.contains(&ocsp), "{ocsp} answered on 5577");

        let nobody =
            Caller::without_certificate(format!("{v4}:5500").parse()?, &agencies.certificates)?;
        let served = nobody.hold(inside).and_then(|mut held| held.ask());
        ensure!(served.is_err(), "no certificate was asked for: {served:?}");
        let served = caller.hold(&developer.machine.namespace);
        ensure!(served.is_err(), "a machine of the other stage got through");

        servers[0].kill()?;
        all_go_to(&load, Instant::now(), &servers[1])
    });
}

const BALANCER: &str = "sedec/producao/balanceador1";
const CLIENTS: usize = 3;
