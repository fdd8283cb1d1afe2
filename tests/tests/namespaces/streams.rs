//! A rootless garage behind a path that loses packets: its page travels beside the tunnel, and nobody is told otherwise.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{GARAGE_WEB, Garage, Lab, PATIENCE, eventually, story};

/// A garage without privilege whose web interface serves a small page, and [`LARGE_BYTES`] at `/large`.
fn open(lab: &Lab) -> Result<Garage> {
    let mut garage = lab.garage(1)?;
    let listener = garage
        .machine
        .namespace
        .within(|| TcpListener::bind(GARAGE_WEB))??;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut request = [0; 4_096];
                while let Ok(length @ 1..) = stream.read(&mut request) {
                    let large = request[..length].starts_with(b"GET /large");
                    let body = if large {
                        "x".repeat(LARGE_BYTES)
                    } else {
                        "small".to_owned()
                    };
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    if stream
                        .write_all(&[head.as_bytes(), body.as_bytes()].concat())
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    let token = lab.token_for(&garage)?;
    garage
        .machine
        .enrol(&token, &["--name", "servidor", "--engine", "netstack"])?;
    lab.publish(&garage, GARAGE_WEB)?;
    lab.client.reads(&garage.url())?;
    Ok(garage)
}

fn download(lab: &Lab, garage: &Garage) -> Result<()> {
    let answer = lab.client.open(&format!("{}large", garage.url()), &[])?;
    ensure!(answer.status == 200, "status {}", answer.status);
    ensure!(
        answer.body.len() == LARGE_BYTES,
        "{} bytes came",
        answer.body.len()
    );
    Ok(())
}

/// Downloads until the answer comes over QUIC.
fn comes_over_quic(lab: &Lab, garage: &Garage) -> Result<()> {
    eventually("a download comes over QUIC", PATIENCE, || {
        let before = garage.router.quic_bytes()?;
        download(lab, garage)?;
        let carried = garage.router.quic_bytes()? - before;
        ensure!(carried > LARGE_BYTES as u64, "QUIC carried {carried} bytes");
        Ok(())
    })
}

fn tunnel_is(lab: &Lab, garage: &Garage, state: &str) -> Result<()> {
    eventually(&format!("the tunnel shows {state}"), PATIENCE, || {
        let node = lab.hub.node(&garage.node())?;
        let shown = node["hops"]["tunnel"]["state"]
            .as_str()
            .context("no state")?;
        ensure!(shown == state, "the tunnel shows {shown}");
        Ok(())
    })
}

#[test]
fn a_lossy_path_is_crossed_over_quic_and_a_clean_one_in_the_tunnel() {
    story("lossy path", |lab| {
        let garage = open(lab)?;
        let before = garage.router.quic_bytes()?;
        download(lab, &garage)?;
        let carried = garage.router.quic_bytes()? - before;
        ensure!(
            carried < LARGE_BYTES as u64 / 10,
            "on a clean path QUIC carried {carried} bytes"
        );
        garage.router.lose_one_percent()?;
        comes_over_quic(lab, &garage)?;
        tunnel_is(lab, &garage, "up")
    });
}

#[test]
fn a_dead_tunnel_is_named_while_its_requests_go_beside_it() {
    story("tunnel blocked, QUIC not", |lab| {
        let garage = open(lab)?;
        garage.router.lose_one_percent()?;
        comes_over_quic(lab, &garage)?;
        garage.router.block_wireguard()?;
        // Where the tunnel would go instead.
        garage.router.block_port("tcp", 443)?;
        tunnel_is(lab, &garage, "down")?;
        download(lab, &garage)
    });
}

#[test]
fn when_quic_is_blocked_the_next_request_takes_the_tunnel() {
    story("QUIC blocked, tunnel not", |lab| {
        let garage = open(lab)?;
        garage.router.lose_one_percent()?;
        comes_over_quic(lab, &garage)?;
        garage.router.block_port("udp", 443)?;
        let answer = lab.client.open(&garage.url(), &[])?;
        ensure!(answer.status == 200, "status {}", answer.status);
        tunnel_is(lab, &garage, "up")
    });
}

const LARGE_BYTES: usize = 4 * 1024 * 1024;
