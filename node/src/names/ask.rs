//! What a name leads to on this machine: a question to the agent's own resolver over its socket, and one to the system as any program
//! asks it. The system is asked only for names that the agent knows: nobody may look about with it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use malha_proto::{HostName, MAX_PROBE_ADDRESSES, NameAnswer, NameSeen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::table::Table;

pub(super) async fn look_up(
    name: &HostName,
    server: Option<SocketAddr>,
    table: Option<&Table>,
    limit: Duration,
) -> NameSeen {
    let resolver = match server {
        None => NameAnswer::Off,
        Some(server) => ask_agent(name, server, limit).await,
    };
    let is_known = table.is_some_and(|table| table.speaks_of(name));
    let system = match is_known {
        true => Some(ask_system(name, limit).await),
        false => None,
    };
    NameSeen { resolver, system }
}

/// What an agent's resolver at this address answers.
pub(crate) async fn ask_agent(name: &HostName, server: SocketAddr, limit: Duration) -> NameAnswer {
    match timeout(limit, ask(name, server)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => NameAnswer::Silent,
    }
}

async fn ask(name: &HostName, server: SocketAddr) -> io::Result<NameAnswer> {
    let mut stream = TcpStream::connect(server).await?;
    let mut addresses = BTreeSet::new();
    for rtype in [RecordType::A, RecordType::AAAA] {
        let answer = exchange(&mut stream, name, rtype).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Ok(NameAnswer::NoName),
            ResponseCode::Refused => return Ok(NameAnswer::Refused),
            _ => return Ok(NameAnswer::Silent),
        }
        addresses.extend(answer.answers.iter().filter_map(|it| match &it.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        }));
    }
    Ok(NameAnswer::Addresses(told(addresses)))
}

async fn exchange(
    stream: &mut TcpStream,
    name: &HostName,
    rtype: RecordType,
) -> io::Result<Message> {
    let mut query = Message::new(QUERY_ID, MessageType::Query, OpCode::Query);
    let whole = Name::from_ascii(format!("{name}.")).map_err(io::Error::other)?;
    query.add_query(Query::query(whole, rtype));
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], &bytes].concat();
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
    let is_answer = answer.metadata.id == QUERY_ID
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == query.queries;
    match is_answer {
        true => Ok(answer),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Nothing for a name that the system does not find, and for a look that takes too long.
pub(crate) async fn ask_system(name: &HostName, limit: Duration) -> Vec<IpAddr> {
    let found = timeout(limit, lookup_host((name.as_str(), 0))).await;
    let found = found.ok().and_then(Result::ok).into_iter().flatten();
    told(found.map(|address| address.ip()).collect())
}

fn told(addresses: BTreeSet<IpAddr>) -> Vec<IpAddr> {
    addresses.into_iter().take(MAX_PROBE_ADDRESSES).collect()
}

/// The connection is this process's own: nobody else can answer on it.
const QUERY_ID: u16 = 0x6d61;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use malha_dns::{DnsServer, Limits};
    use malha_proto::Revision;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::names::table::Content;
    use crate::testbed;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_name_is_asked_of_the_agent_and_only_a_known_one_of_the_system() {
        let content = Content::of(&testbed::netmap(1), &[]).unwrap();
        let table = Table::new(content, Revision(1)).unwrap();
        let server = DnsServer::bind(&["127.0.0.1:0".parse().unwrap()], Limits::default());
        let server = server.unwrap();
        let address = server.local_addrs()[0];
        let (_zones, zones) = watch::channel(Arc::new(table.zones()));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(zones, stop.clone()));
        let told = async |name: &str, server| {
            let name = name.parse().unwrap();
            look_up(&name, server, Some(&table), LIMIT).await
        };
        let seen = told("hub.org.malha.internal", Some(address)).await;
        let addresses = ["100.64.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        assert_eq!(seen.resolver, NameAnswer::Addresses(addresses.into()));
        assert!(seen.system.is_some());
        let missing = told("nobody.malha.internal", Some(address)).await;
        assert_eq!(missing.resolver, NameAnswer::NoName);
        let elsewhere = told("localhost.example", Some(address)).await;
        let refused = NameSeen {
            resolver: NameAnswer::Refused,
            system: None,
        };
        assert_eq!(elsewhere, refused);
        stop.cancel();
        serving.await.unwrap().unwrap();
        let silent = told("hub.org.malha.internal", Some(address)).await;
        assert_eq!(silent.resolver, NameAnswer::Silent);
        let off = told("hub.org.malha.internal", None).await;
        assert_eq!(off.resolver, NameAnswer::Off);
    }
}
