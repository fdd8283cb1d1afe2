//! A garage's page at its public URL, what others on the way see of it, and what they can reach.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use malha_tests::lab::{GARAGE_WEB, Garage, HUB, Lab, answering_udp_ports, open_tcp_ports, story};

/// Registers a car at the garage's page, through the public URL.
fn enter(lab: &Lab, garage: &Garage, plate: &str) -> Result<()> {
    let form = format!("placa={plate}");
    let answer = lab
        .client
        .open(&format!("{}entrada", garage.url()), &["--data", &form])?;
    ensure!(
        answer.status == 303,
        "the form answered {}: {}",
        answer.status,
        answer.body
    );
    Ok(())
}

#[test]
fn garages_with_overlapping_networks_answer_each_at_its_own_url() {
    story("overlapping networks", |lab| {
        let garages = [
            lab.open_garage(1, "userspace")?,
            lab.open_garage(2, "netstack")?,
        ];
        let plates = ["AAA1A11", "BBB2B22"];
        for (garage, plate) in garages.iter().zip(plates) {
            ensure!(
                lab.client.resolve(&garage.host())? == [HUB],
                "the DNS does not give the edge's address"
            );
            enter(lab, garage, plate)?;
        }
        for (garage, own) in garages.iter().zip(plates) {
            let page = lab.client.reads(&garage.url())?;
            let seen: Vec<_> = plates
                .into_iter()
                .filter(|plate| page.contains(plate))
                .collect();
            ensure!(seen == [own], "{} shows the cars {seen:?}", garage.host());
        }
        Ok(())
    });
}

#[test]
fn an_eavesdropper_reads_no_byte_of_a_request() {
    story("eavesdropper", |lab| {
        let garage = lab.open_garage(1, "auto")?;
        let tap = lab.internet.tap()?;
        enter(lab, &garage, "SEC4R3T")?;
        ensure!(
            lab.client.reads(&garage.url())?.contains("SEC4R3T"),
            "the car is not on the page"
        );
        let plain = ["--header", "x-marker: IN-CLEAR"];
        lab.client
            .open(&format!("http://{}/", garage.host()), &plain)?;
        let heard = tap.finish()?;
        ensure!(
            contains(&heard, b"IN-CLEAR"),
            "the eavesdropper is deaf: what went in clear was not heard"
        );
        for secret in [&b"SEC4R3T"[..], b"placa", b"entrada", b"Cancela"] {
            let secret_text = String::from_utf8_lossy(secret);
            ensure!(!contains(&heard, secret), "{secret_text} passed in clear");
        }
        Ok(())
    });
}

#[test]
fn a_scan_of_a_garage_finds_no_open_port() {
    story("scan", |lab| {
        let garage = lab.open_garage(1, "auto")?;
        let outer: IpAddr = garage.outer_address().parse()?;
        let inner: IpAddr = Garage::LAN_ADDRESS.parse()?;
        for (from, whose, address) in [
            (&lab.client.namespace, "its outer address", outer),
            (&garage.router.namespace, "its private address", inner),
        ] {
            let tcp = open_tcp_ports(from, address)?;
            let udp = answering_udp_ports(from, address)?;
            ensure!(
                tcp.is_empty() && udp.is_empty(),
                "open at {whose}: TCP {tcp:?}, UDP {udp:?}"
            );
        }
        let edge = open_tcp_ports(&lab.client.namespace, HUB.parse()?)?;
        ensure!(
            edge.contains(&443),
            "the scan is blind: it missed the edge, and found {edge:?}"
        );
        let web: std::net::SocketAddr = GARAGE_WEB.parse()?;
        let own = open_tcp_ports(&garage.machine.namespace, web.ip())?;
        ensure!(own.contains(&web.port()), "the garage's own server is gone");
        Ok(())
    });
}

fn contains(heard: &[u8], text: &[u8]) -> bool {
    heard.windows(text.len()).any(|window| window == text)
}
