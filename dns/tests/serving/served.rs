//! A server on loopback with sample zones, for the tests beside it.

use std::net::SocketAddr;
use std::sync::Arc;

use malha_dns::{DnsCounters, DnsServer, Limits};
use malha_zone::{Edit, RecordSet, Soa, Source, Zone, Zones};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<DnsCounters>,
    pub(crate) zones: watch::Sender<Arc<Zones>>,
    pub(crate) cancel: DropGuard,
    pub(crate) ended: JoinHandle<Result<(), malha_dns::DnsError>>,
}

/// Limits that stay out of the way.
pub(crate) fn open_limits() -> Limits {
    Limits {
        udp_rate: None,
        ..Limits::default()
    }
}

pub(crate) fn serve_on(address: SocketAddr, limits: Limits) -> Served {
    let server = DnsServer::bind(&[address], limits).unwrap();
    let address = server.local_addrs()[0];
    let counters = server.counters();
    let (zones, receiver) = watch::channel(Arc::new(Zones::new().with(zone(RECORDS))));
    let cancel = CancellationToken::new();
    let ended = tokio::spawn(server.run(receiver, cancel.clone()));
    Served {
        address,
        counters,
        zones,
        cancel: cancel.drop_guard(),
        ended,
    }
}

pub(crate) fn serve(limits: Limits) -> Served {
    serve_on(SocketAddr::from(([127, 0, 0, 1], 0)), limits)
}

/// The zone `example.org` with one record set a line: `NAME TYPE DATA|DATA`.
pub(crate) fn zone(records: &str) -> Zone {
    let ns: malha_zone::DomainName = "ns1.example.org.".parse().unwrap();
    let soa = Soa::new(ns.clone(), "hostmaster.example.org.".parse().unwrap());
    let edits: Vec<Edit> = records.lines().map(put).collect();
    let empty = Zone::new("example.org".parse().unwrap(), soa, vec![ns]).unwrap();
    empty.edit(&edits).unwrap().0
}

fn put(line: &str) -> Edit {
    let [name, rtype, data] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        panic!("three fields expected in `{line}`");
    };
    // `xN` stands for N letters, to keep long texts readable.
    let data = data.split('|').map(|data| match data.strip_prefix('x') {
        Some(count) => "x".repeat(count.parse().unwrap()),
        None => data.to_owned(),
    });
    let (name, rtype) = (name.parse().unwrap(), rtype.parse().unwrap());
    Edit::Put(RecordSet::from_text(name, rtype, 300, data, Source::Operator).unwrap())
}

pub(crate) const RECORDS: &str = "\
ns1 A 192.0.2.53
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www.example.org.
@ MX 10 mail.example.org.
mail A 192.0.2.25
_mqtt._tcp SRV 0 5 8883 mail.example.org.
@ CAA 0 issue \"ca.example\"
@ TXT \"v=spf1 -all\"
*.dev A 192.0.2.7
big TXT x4000
huge TXT x4000|x3999|x3998|x3997|x3996|x3995|x3994
sub NS ns.sub.example.org.
ns.sub A 192.0.2.54";
