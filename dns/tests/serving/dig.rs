//! What `dig` and `kdig` see on real sockets: every record type, wildcards, denials, referrals and the
//! retry over TCP.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;

use crate::served::{open_limits, serve, serve_on};
use malha_zone::{Rcode, Transport};

/// A client program, the Debian package it is in, and how it says "over TCP".
struct Tool {
    program: &'static str,
    package: &'static str,
    quick: &'static [&'static str],
}

const TOOLS: [Tool; 2] = [
    Tool {
        program: "dig",
        package: "bind9-dnsutils",
        quick: &["+tries=1", "+time=3"],
    },
    Tool {
        program: "kdig",
        package: "knot-dnsutils",
        quick: &["+retry=0", "+timeout=3"],
    },
];

/// The whole output, or nothing when the tool is not installed.
async fn ask(tool: &Tool, server: SocketAddr, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tool.program);
    command
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+norec"])
        .args(tool.quick)
        .args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    match output {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!(
                "skipped: {} is not installed (package {})",
                tool.program, tool.package
            );
            None
        }
        Err(error) => panic!("{} did not run: {error}", tool.program),
    }
}

/// Lines of the output with one space between fields.
fn lines(output: &str) -> Vec<String> {
    let fields = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    output.lines().map(fields).collect()
}

async fn expect(server: SocketAddr, arguments: &[&str], expected: &[&str]) {
    for tool in &TOOLS {
        for transport in ["+notcp", "+tcp"] {
            let arguments = [arguments, &[transport]].concat();
            let Some(output) = ask(tool, server, &arguments).await else {
                continue;
            };
            let lines = lines(&output);
            for expected in expected {
                let found = lines.iter().any(|line| line.contains(expected));
                assert!(
                    found,
                    "{} {arguments:?} lacks `{expected}`:\n{output}",
                    tool.program
                );
            }
        }
    }
}

#[tokio::test]
async fn every_record_type_is_answered_over_udp_and_tcp() {
    let served = serve(open_limits());
    let cases = [
        (
            "www.example.org",
            "A",
            "www.example.org. 300 IN A 192.0.2.1",
        ),
        (
            "www.example.org",
            "AAAA",
            "www.example.org. 300 IN AAAA 2001:db8::1",
        ),
        (
            "alias.example.org",
            "A",
            "alias.example.org. 300 IN CNAME www.example.org.",
        ),
        (
            "alias.example.org",
            "A",
            "www.example.org. 300 IN A 192.0.2.1",
        ),
        (
            "example.org",
            "TXT",
            "example.org. 300 IN TXT \"v=spf1 -all\"",
        ),
        (
            "example.org",
            "MX",
            "example.org. 300 IN MX 10 mail.example.org.",
        ),
        ("example.org", "MX", "mail.example.org. 300 IN A 192.0.2.25"),
        (
            "_mqtt._tcp.example.org",
            "SRV",
            "_mqtt._tcp.example.org. 300 IN SRV 0 5 8883 mail.example.org.",
        ),
        (
            "example.org",
            "CAA",
            "example.org. 300 IN CAA 0 issue \"ca.example\"",
        ),
        (
            "example.org",
            "NS",
            "example.org. 3600 IN NS ns1.example.org.",
        ),
        (
            "example.org",
            "SOA",
            "example.org. 3600 IN SOA ns1.example.org. hostmaster.example.org. 2 3600 600 1209600 300",
        ),
        (
            "x.y.dev.example.org",
            "A",
            "x.y.dev.example.org. 300 IN A 192.0.2.7",
        ),
    ];
    for (name, rtype, expected) in cases {
        expect(
            served.address,
            &[name, rtype],
            &["NOERROR", " aa", expected],
        )
        .await;
    }
}

#[tokio::test]
async fn denials_and_referrals_read_as_such() {
    let served = serve(open_limits());
    let soa = "example.org. 300 IN SOA ns1.example.org.";
    let address = served.address;
    expect(
        address,
        &["nope.example.org", "A"],
        &["NXDOMAIN", " aa", soa],
    )
    .await;
    expect(
        address,
        &["www.example.org", "TXT"],
        &["NOERROR", " aa", soa],
    )
    .await;
    let referral = [
        "sub.example.org. 300 IN NS ns.sub.example.org.",
        "ns.sub.example.org. 300 IN A 192.0.2.54",
    ];
    expect(address, &["a.sub.example.org", "A"], &referral).await;
    expect(address, &["www.example.com", "A"], &["REFUSED"]).await;
    expect(
        address,
        &["www.example.org", "ANY"],
        &["HINFO \"RFC8482\" \"\""],
    )
    .await;
    expect(address, &["version.bind", "TXT", "-c", "CH"], &["REFUSED"]).await;
}

#[tokio::test]
async fn the_case_of_a_question_is_kept() {
    let served = serve(open_limits());
    // kdig lowers the case by itself.
    let [dig, _] = &TOOLS;
    let Some(output) = ask(dig, served.address, &["wWw.eXample.oRg", "AAAA"]).await else {
        return;
    };
    let expected = "wWw.eXample.oRg. 300 IN AAAA 2001:db8::1";
    assert!(
        lines(&output).iter().any(|line| line == expected),
        "{output}"
    );
}

#[tokio::test]
async fn edns_is_negotiated() {
    let served = serve(open_limits());
    expect(
        served.address,
        &["www.example.org", "A", "+edns=0"],
        &["1232"],
    )
    .await;
    let Some(output) = ask(
        &TOOLS[0],
        served.address,
        &["www.example.org", "+edns=7", "+noednsnegotiation"],
    )
    .await
    else {
        return;
    };
    assert!(output.contains("BADVERS"), "{output}");
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_fetched_over_tcp() {
    let served = serve(open_limits());
    for tool in &TOOLS {
        let asked_before = served.counters.answers(Transport::Tcp, Rcode::NoError);
        let Some(output) = ask(tool, served.address, &["big.example.org", "TXT"]).await else {
            continue;
        };
        assert!(output.matches('x').count() >= 4_000, "{output}");
        let asked = served.counters.answers(Transport::Tcp, Rcode::NoError);
        assert_eq!(asked, asked_before + 1, "{}", tool.program);
    }
}

#[tokio::test]
async fn ipv6_is_served_like_ipv4() {
    let address = SocketAddr::from((IpAddr::V6(Ipv6Addr::LOCALHOST), 0));
    if std::net::UdpSocket::bind(address).is_err() {
        println!("skipped: this machine has no IPv6 loopback");
        return;
    }
    let served = serve_on(address, open_limits());
    expect(
        served.address,
        &["www.example.org", "AAAA"],
        &["2001:db8::1"],
    )
    .await;
}
