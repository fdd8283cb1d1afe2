//! The listeners under good and bad clients on real loopback sockets: pipelining, limits, slow and idle
//! clients, rate limiting, new zones, and the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::served::{open_limits, serve, serve_on, zone};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use malha_dns::{Clients, DnsError, DnsEvent, DnsServer, Limits, UdpRate};
use malha_zone::{Rcode, Transport, Zones};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Longer than anything here takes; only a defect waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn query(id: u16, name: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    message.to_vec().unwrap()
}

fn framed(query: &[u8]) -> Vec<u8> {
    let length = u16::try_from(query.len()).unwrap();
    [&length.to_be_bytes()[..], query].concat()
}

async fn read_message(stream: &mut TcpStream) -> Message {
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut bytes = vec![0; length.into()];
    timeout(PATIENCE, stream.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// Waits until the server has closed the connection, however it says so.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
}

async fn udp_client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((server.ip(), 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = vec![0; 2_048];
    let length = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

#[tokio::test]
async fn pipelined_queries_are_all_answered_in_order() {
    let served = serve(open_limits());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let burst: Vec<u8> = (0..50)
        .flat_map(|id| framed(&query(id, "www.example.org.", RecordType::A)))
        .collect();
    stream.write_all(&burst).await.unwrap();
    for id in 0..50 {
        let answer = read_message(&mut stream).await;
        assert_eq!((answer.id, answer.answers.len()), (id, 1));
    }
    assert_eq!(served.counters.answers(Transport::Tcp, Rcode::NoError), 50);
}

#[tokio::test]
async fn programs_on_the_machine_are_answered_where_nobody_else_is() {
    let served = serve(Limits {
        clients: Clients::ThisMachine,
        ..open_limits()
    });
    let client = udp_client(served.address).await;
    let question = query(7, "www.example.org.", RecordType::A);
    client.send(&question).await.unwrap();
    assert_eq!(receive(&client).await.answers.len(), 1);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&framed(&question)).await.unwrap();
    assert_eq!(read_message(&mut stream).await.answers.len(), 1);
}

#[tokio::test]
async fn a_query_may_come_byte_by_byte() {
    let served = serve(open_limits());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in framed(&query(7, "www.example.org.", RecordType::A)) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read_message(&mut stream).await.id, 7);
}

#[tokio::test]
async fn an_idle_connection_is_cut() {
    let limits = Limits {
        tcp_idle: Duration::from_millis(50),
        ..open_limits()
    };
    let served = serve(limits);
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let mut halfway = TcpStream::connect(served.address).await.unwrap();
    halfway.write_all(&[0, 40, 1, 2]).await.unwrap();
    closed(&mut idle).await;
    closed(&mut halfway).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let limits = Limits {
        tcp_write: Duration::from_millis(50),
        ..open_limits()
    };
    let served = serve(limits);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let burst: Vec<u8> = (0..100)
        .flat_map(|id| framed(&query(id, "huge.example.org.", RecordType::TXT)))
        .collect();
    let write_until_cut = async { while stream.write_all(&burst).await.is_ok() {} };
    timeout(PATIENCE, write_until_cut).await.unwrap();
    assert_eq!(served.counters.events(DnsEvent::TcpCut), 1);
}

#[tokio::test]
async fn broken_framing_and_spoofed_responses_end_a_connection() {
    let served = serve(open_limits());
    let mut response = query(1, "www.example.org.", RecordType::A);
    response[2] |= 0x80;
    for bytes in [vec![0xff, 0xff, 0, 0], framed(&response), framed(&[])] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn connections_are_limited_by_source_and_free_again_when_closed() {
    let limits = Limits {
        tcp_connections_per_source: 2,
        ..open_limits()
    };
    let served = serve(limits);
    let www = framed(&query(1, "www.example.org.", RecordType::A));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&www).await.unwrap();
        read_message(&mut stream).await;
        open.push(stream);
    }
    closed(&mut TcpStream::connect(served.address).await.unwrap()).await;
    assert_eq!(served.counters.events(DnsEvent::TcpRefused), 1);

    let mut leaving = open.pop().unwrap();
    leaving.shutdown().await.unwrap();
    closed(&mut leaving).await;
    let answered = async {
        loop {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            let _ = stream.write_all(&www).await;
            if stream.read_u16().await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, answered).await.unwrap();
}

#[tokio::test]
async fn connections_are_limited_in_all() {
    let limits = Limits {
        tcp_connections: 1,
        ..open_limits()
    };
    let served = serve(limits);
    let mut first = TcpStream::connect(served.address).await.unwrap();
    let www = framed(&query(1, "www.example.org.", RecordType::A));
    first.write_all(&www).await.unwrap();
    read_message(&mut first).await;
    closed(&mut TcpStream::connect(served.address).await.unwrap()).await;
    first.write_all(&www).await.unwrap();
    assert_eq!(read_message(&mut first).await.answers.len(), 1);
}

#[tokio::test]
async fn a_flood_of_datagrams_is_limited_and_partly_sent_to_tcp() {
    let rate = UdpRate {
        responses_per_s: 1,
        burst: 5,
        slip: 2,
    };
    let limits = Limits {
        udp_rate: Some(rate),
        ..open_limits()
    };
    let served = serve(limits);
    let client = udp_client(served.address).await;
    for id in 0..25 {
        client
            .send(&query(id, "www.example.org.", RecordType::A))
            .await
            .unwrap();
    }
    let mut whole = 0;
    let mut truncated = 0;
    while truncated < 8 {
        let answer = receive(&client).await;
        whole += usize::from(!answer.truncation);
        truncated += usize::from(answer.truncation);
    }
    assert!((5..9).contains(&whole), "{whole} whole answers");
    assert!(served.counters.events(DnsEvent::LimitedDropped) >= 8);
}

#[tokio::test]
async fn garbage_and_responses_do_not_disturb_the_next_query() {
    let served = serve(open_limits());
    let client = udp_client(served.address).await;
    let mut response = query(1, "www.example.org.", RecordType::A);
    response[2] |= 0x80;
    for bytes in [&b""[..], b"x", &[0xff; 600], &response] {
        client.send(bytes).await.unwrap();
    }
    client
        .send(&[0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63])
        .await
        .unwrap();
    let answer = receive(&client).await;
    assert_eq!(
        (answer.id, answer.response_code),
        (9, ResponseCode::FormErr)
    );
    client
        .send(&query(10, "www.example.org.", RecordType::A))
        .await
        .unwrap();
    assert_eq!(receive(&client).await.id, 10);
    assert_eq!(served.counters.events(DnsEvent::Ignored), 4);
}

#[tokio::test]
async fn a_new_snapshot_answers_at_once_on_open_connections_too() {
    let served = serve(open_limits());
    let client = udp_client(served.address).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let ask = query(1, "new.example.org.", RecordType::A);
    client.send(&ask).await.unwrap();
    assert_eq!(receive(&client).await.response_code, ResponseCode::NXDomain);
    stream.write_all(&framed(&ask)).await.unwrap();
    assert_eq!(
        read_message(&mut stream).await.response_code,
        ResponseCode::NXDomain
    );

    let zones = Zones::new().with(zone("new A 192.0.2.99"));
    served.zones.send(Arc::new(zones)).unwrap();

    client.send(&ask).await.unwrap();
    assert_eq!(receive(&client).await.answers.len(), 1);
    stream.write_all(&framed(&ask)).await.unwrap();
    assert_eq!(read_message(&mut stream).await.answers.len(), 1);
}

#[tokio::test]
async fn cancelling_ends_every_task_and_frees_the_port() {
    // A loopback address of its own: the other tests take free ports all the time.
    let served = serve_on(SocketAddr::from(([127, 0, 0, 2], 0)), open_limits());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream
        .write_all(&framed(&query(1, "www.example.org.", RecordType::A)))
        .await
        .unwrap();
    read_message(&mut stream).await;
    drop(served.cancel);
    timeout(PATIENCE, served.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    closed(&mut stream).await;
    DnsServer::bind(&[served.address], open_limits()).unwrap();
}

#[tokio::test]
async fn who_has_connected_before_the_end_is_answered_and_then_left() {
    let served = serve_on(SocketAddr::from(([127, 0, 0, 4], 0)), open_limits());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let ask = framed(&query(1, "www.example.org.", RecordType::A));
    let (first, rest) = ask.split_at(5);
    stream.write_all(first).await.unwrap();
    while served.counters.events(DnsEvent::TcpAccepted) == 0 {
        tokio::task::yield_now().await;
    }
    drop(served.cancel);
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(rest).await.unwrap();
    assert_eq!(read_message(&mut stream).await.answers.len(), 1);
    closed(&mut stream).await;
    let ended = timeout(PATIENCE, served.ended).await.unwrap();
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named_and_nothing_half_listens() {
    let free_again = (0..MAX_TRIES).any(|_| {
        let taken = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = DnsServer::bind(&[address], open_limits()).unwrap_err();
        let expected = format!("port {} is in use", address.port());
        assert!(error.to_string().contains(&expected), "{error}");
        drop(taken);
        // Any program of this machine may hold the same UDP port on every address.
        DnsServer::bind(&[address], open_limits()).is_ok()
    });
    assert!(free_again);
    assert!(matches!(
        DnsServer::bind(&[], open_limits()),
        Err(DnsError::NoAddress)
    ));
}

const MAX_TRIES: usize = 5;
