//! One name asked of one server, A and AAAA, through its aliases: over UDP, and over TCP where the answer is too long or datagrams
//! don't get through.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::dial::{self, Dial, Missed};
use crate::observation::{
    DnsAnswer, DnsSeen, Failure, ListedServer, NameServersAnswer, NameServersSeen,
};
use crate::subject::{MAX_NAME_SERVERS, NameServer};

/// Asks the server, following aliases as far as it knows them and, beyond its zones, as this machine resolves them.
pub(super) async fn ask(
    name: &str,
    server: &NameServer,
    dial: &dyn Dial,
) -> Result<DnsSeen, Failure> {
    let mut walk = Walk::new(server, dial);
    let answer = match walk.along(absolute(name)?).await {
        Ok(()) => DnsAnswer::Records {
            is_authoritative: walk.is_authoritative,
            aliases: walk.aliases,
            addresses: walk.addresses.into_iter().collect(),
        },
        Err(Stop::Answer(answer)) => answer,
        Err(Stop::Failure(failure)) => return Err(failure),
    };
    Ok(DnsSeen {
        server: server.name.clone(),
        answer,
    })
}

/// Asks the server who answers for the name's zone, and where those are.
pub(super) async fn ask_servers(
    name: &str,
    server: &NameServer,
    dial: &dyn Dial,
) -> Result<NameServersSeen, Failure> {
    let walk = Walk::new(server, dial);
    let answer = match walk.zone_of(absolute(name)?).await {
        Ok((zone, names)) => {
            let mut servers = Vec::new();
            for name in names {
                let addresses = whereabouts(&name, server, dial).await;
                servers.push(ListedServer { name, addresses });
            }
            NameServersAnswer::Listed { zone, servers }
        }
        Err(Stop::Answer(answer)) => NameServersAnswer::Nothing {
            why: match answer {
                DnsAnswer::Silent => "silent".to_owned(),
                DnsAnswer::Error { code } => code,
                DnsAnswer::NoName => "NXDOMAIN".to_owned(),
                DnsAnswer::Records { .. } => "not authoritative".to_owned(),
            },
        },
        Err(Stop::Failure(failure)) => return Err(failure),
    };
    Ok(NameServersSeen {
        server: server.name.clone(),
        answer,
    })
}

/// The addresses of a name server: of its own zone as that zone says, else as this machine resolves it.
async fn whereabouts(name: &str, server: &NameServer, dial: &dyn Dial) -> Vec<IpAddr> {
    if let Ok(seen) = ask(name, server, dial).await
        && let DnsAnswer::Records { addresses, .. } = seen.answer
        && !addresses.is_empty()
    {
        return addresses;
    }
    let found = timeout(ANSWER_LIMIT, dial.resolve(name)).await;
    let found = found.map_or_else(|_| Vec::new(), Result::unwrap_or_default);
    let found: BTreeSet<IpAddr> = found.into_iter().take(MAX_ADDRESSES).collect();
    found.into_iter().collect()
}

fn absolute(name: &str) -> Result<Name, Failure> {
    let mut name = Name::from_ascii(name).map_err(|error| Failure::Local {
        error: format!("{name}: {error}"),
    })?;
    name.set_fqdn(true);
    Ok(name)
}

/// Why there are no records.
enum Stop {
    Answer(DnsAnswer),
    Failure(Failure),
}

struct Walk<'d> {
    address: SocketAddr,
    dial: &'d dyn Dial,
    is_authoritative: bool,
    aliases: Vec<String>,
    addresses: BTreeSet<IpAddr>,
}

impl<'d> Walk<'d> {
    fn new(server: &NameServer, dial: &'d dyn Dial) -> Self {
        Self {
            address: server.address,
            dial,
            is_authoritative: true,
            aliases: Vec::new(),
            addresses: BTreeSet::new(),
        }
    }

    /// The zone that a name is in, and the names of its servers, by the server's own word: where the name does not begin a zone,
    /// the answer names the one that it is in (RFC 2308 §2).
    async fn zone_of(&self, name: Name) -> Result<(String, Vec<String>), Stop> {
        let mut asked = name;
        for _ in 0..MAX_STEPS {
            let message = self.exchange(&asked, RecordType::NS).await?;
            if !message.metadata.authoritative {
                return match understood(message) {
                    Ok(_) => Err(Stop::Answer(DnsAnswer::Records {
                        is_authoritative: false,
                        aliases: Vec::new(),
                        addresses: Vec::new(),
                    })),
                    Err(stop) => Err(stop),
                };
            }
            let own = message.answers.iter().filter(|it| it.name == asked);
            let servers = own.filter_map(|record| match &record.data {
                RData::NS(server) => {
                    let shown = server.0.to_lowercase().to_string();
                    Some(shown.trim_end_matches('.').to_owned())
                }
                _ => None,
            });
            let servers: Vec<String> = servers.take(MAX_NAME_SERVERS).collect();
            if !servers.is_empty() {
                return Ok((asked.to_lowercase().to_string(), servers));
            }
            // Behind an alias it would be the zone that the alias leads to.
            let is_alias = message.answers.iter().any(|it| it.name == asked);
            let mut authorities = message.authorities.iter();
            let start = authorities.find(|it| matches!(it.data, RData::SOA(_)));
            asked = match start {
                Some(start) if !is_alias => start.name.clone(),
                _ => asked.base_name(),
            };
        }
        Err(Stop::Answer(DnsAnswer::NoName))
    }

    async fn along(&mut self, name: Name) -> Result<(), Stop> {
        for rtype in [RecordType::A, RecordType::AAAA] {
            let mut asked = name.clone();
            for _ in 0..=MAX_ALIASES {
                let is_first = asked == name;
                let answer = self.exchange(&asked, rtype).await;
                let message = match answer.and_then(understood) {
                    Ok(message) => message,
                    Err(stop) if is_first => return Err(stop),
                    Err(_) => {
                        self.resolve_elsewhere(&asked, rtype).await;
                        break;
                    }
                };
                if is_first {
                    self.is_authoritative &= message.metadata.authoritative;
                }
                let end = self.follow(&message, &asked);
                let found = self.take_addresses(&message, &end);
                if found || end == asked {
                    if !found && !is_first && !message.metadata.authoritative {
                        self.resolve_elsewhere(&asked, rtype).await;
                    }
                    break;
                }
                asked = end;
            }
        }
        Ok(())
    }

    /// The last target of the answer's aliases from `start` on.
    fn follow(&mut self, message: &Message, start: &Name) -> Name {
        let mut name = start.clone();
        for _ in 0..MAX_ALIASES {
            let target = message
                .answers
                .iter()
                .find_map(|record| match &record.data {
                    RData::CNAME(target) if record.name == name => Some(target.0.clone()),
                    _ => None,
                });
            let Some(target) = target else { break };
            let shown = target.to_lowercase().to_string();
            if !self.aliases.contains(&shown) && self.aliases.len() < MAX_ALIASES {
                self.aliases.push(shown);
            }
            name = target;
        }
        name
    }

    fn take_addresses(&mut self, message: &Message, name: &Name) -> bool {
        let own = message.answers.iter().filter(|it| it.name == *name);
        let addresses = own.filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
        let addresses: Vec<IpAddr> = addresses.take(MAX_ADDRESSES).collect();
        self.addresses.extend(&addresses);
        !addresses.is_empty()
    }

    async fn resolve_elsewhere(&mut self, name: &Name, rtype: RecordType) {
        let host = name.to_string();
        let host = host.trim_end_matches('.');
        let found = timeout(ANSWER_LIMIT, self.dial.resolve(host)).await;
        let found = found.map_or_else(|_| Vec::new(), Result::unwrap_or_default);
        let of_type = found
            .into_iter()
            .filter(|ip| ip.is_ipv4() == (rtype == RecordType::A));
        self.addresses.extend(of_type.take(MAX_ADDRESSES));
    }

    async fn exchange(&self, name: &Name, rtype: RecordType) -> Result<Message, Stop> {
        let mut message = Message::new(id()?, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(name.clone(), rtype));
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_DATAGRAM_BYTES);
        message.set_edns(edns);
        if self.dial.has_udp(self.address.ip()) {
            for _ in 0..TRIES {
                match timeout(ANSWER_LIMIT, self.over_udp(&message)).await {
                    Ok(Ok(answer)) if !answer.metadata.truncation => return Ok(answer),
                    Ok(Err(error)) if is_no_route(&error) => {
                        return Err(Stop::Failure(Failure::NoRoute));
                    }
                    Ok(Ok(_)) | Ok(Err(_)) => break,
                    Err(_) => {}
                }
            }
        }
        match timeout(ANSWER_LIMIT, self.over_tcp(&message)).await {
            Ok(answer) => answer,
            Err(_) => Err(Stop::Answer(DnsAnswer::Silent)),
        }
    }

    async fn over_udp(&self, query: &Message) -> io::Result<Message> {
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.address).await?;
        socket.send(&encoded(query)?).await?;
        let mut buffer = vec![0; usize::from(MAX_DATAGRAM_BYTES)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // What does not answer this question is not from this server.
            if let Ok(answer) = Message::from_vec(&buffer[..length])
                && answers(&answer, query)
            {
                return Ok(answer);
            }
        }
    }

    async fn over_tcp(&self, query: &Message) -> Result<Message, Stop> {
        let silent = |_: io::Error| Stop::Answer(DnsAnswer::Silent);
        let mut stream = match dial::connect(self.dial, self.address).await {
            Ok(stream) => stream,
            Err(Missed::Failed(why)) => return Err(Stop::Failure(why)),
            Err(Missed::NoConnection(_)) => return Err(Stop::Answer(DnsAnswer::Silent)),
        };
        let query_bytes = encoded(query).map_err(silent)?;
        let length = u16::try_from(query_bytes.len()).unwrap_or_default();
        let framed = [&length.to_be_bytes()[..], &query_bytes].concat();
        stream.write_all(&framed).await.map_err(silent)?;
        let length = stream.read_u16().await.map_err(silent)?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.map_err(silent)?;
        let malformed = || {
            let code = "malformed".to_owned();
            Stop::Answer(DnsAnswer::Error { code })
        };
        let answer = Message::from_vec(&bytes).map_err(|_| malformed())?;
        match answers(&answer, query) {
            true => Ok(answer),
            false => Err(malformed()),
        }
    }
}

fn understood(message: Message) -> Result<Message, Stop> {
    match message.metadata.response_code {
        ResponseCode::NoError => Ok(message),
        ResponseCode::NXDomain if message.answers.is_empty() => {
            Err(Stop::Answer(DnsAnswer::NoName))
        }
        // The end of an alias does not exist; the alias does.
        ResponseCode::NXDomain => Ok(message),
        code => {
            let code = format!("{code:?}").to_uppercase();
            Err(Stop::Answer(DnsAnswer::Error { code }))
        }
    }
}

fn answers(answer: &Message, query: &Message) -> bool {
    answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == query.queries
}

fn encoded(query: &Message) -> io::Result<Vec<u8>> {
    query.to_vec().map_err(io::Error::other)
}

fn is_no_route(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable};
    matches!(error.kind(), NetworkUnreachable | AddrNotAvailable)
}

/// Drawn, so that nobody else can answer.
fn id() -> Result<u16, Stop> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| {
        Stop::Failure(Failure::Local {
            error: error.to_string(),
        })
    })?;
    Ok(u16::from_be_bytes(bytes))
}

const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Over UDP; one more over TCP.
const TRIES: usize = 2;
const MAX_ALIASES: usize = 8;
/// From a name to the zone that it is in.
const MAX_STEPS: usize = 4;
/// Of one answer.
const MAX_ADDRESSES: usize = 64;
/// The size that crosses every path unfragmented (DNS flag day 2020).
const MAX_DATAGRAM_BYTES: u16 = 1_232;
