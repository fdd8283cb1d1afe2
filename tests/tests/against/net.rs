//! The network of one test, in network namespaces: a machine that looks, and one with an address of its own for each server, on
//! one segment. Nothing of it outlives the test.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::rc::Rc;
use std::sync::OnceLock;

use malha_tests::lab::{Internet, Namespace, missing_for_namespaces};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::runtime::Builder;

/// A segment, and the machines on it.
pub(crate) struct Net {
    internet: Internet,
    hosts: RefCell<Vec<Rc<Namespace>>>,
    /// What runs on the machines.
    programs: RefCell<Vec<Child>>,
}

/// A machine on the segment.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) ip: IpAddr,
    namespace: Rc<Namespace>,
}

/// Plays a test on a network of its own, at the machine that looks; or says why it can't be played here.
pub(crate) fn played(play: impl AsyncFnOnce(&Net) + Send) {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    if let Some(reason) = MISSING.get_or_init(|| missing_for_namespaces(&PROGRAMS)) {
        println!("skip: {reason}");
        return;
    }
    let internet = Internet::new().unwrap();
    let looker = Namespace::new("looker").unwrap();
    let address = Ipv4Addr::from(LOOKER).to_string();
    internet.attach(&looker, "wan", &address).unwrap();
    let look = move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let net = Net {
            internet,
            hosts: RefCell::default(),
            programs: RefCell::default(),
        };
        runtime.block_on(play(&net));
    };
    looker.within(look).unwrap();
}

impl Net {
    /// One more machine, on which nothing listens yet.
    pub(crate) fn host(&self) -> Host {
        let mut hosts = self.hosts.borrow_mut();
        let number = u8::try_from(hosts.len()).unwrap() + FIRST;
        let namespace = Rc::new(Namespace::new("host").unwrap());
        let [a, b, c, _] = LOOKER;
        let ip = Ipv4Addr::new(a, b, c, number);
        let attached = self.internet.attach(&namespace, "wan", &ip.to_string());
        attached.unwrap();
        hosts.push(Rc::clone(&namespace));
        Host {
            ip: IpAddr::V4(ip),
            namespace,
        }
    }

    /// Lets a program run until the test ends.
    pub(crate) fn keep(&self, program: Child) {
        self.programs.borrow_mut().push(program);
    }
}

impl Host {
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    /// A program that runs here.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Listens here, for a server that the test plays itself.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        let address = self.at(port);
        let bound = self
            .namespace
            .within(|| std::net::TcpListener::bind(address));
        let listener = bound.unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        TcpListener::from_std(listener).unwrap()
    }

    /// Swallows everything that arrives, without a word to anybody.
    pub(crate) fn falls_silent(&self) {
        self.namespace.nft(WALL).unwrap();
    }

    pub(crate) fn speaks_again(&self) {
        self.namespace.nft("delete table inet wall").unwrap();
    }
}

/// The programs that are looked at, and the packages that have them.
const PROGRAMS: [(&str, &str); 3] = [
    ("openssl", "openssl"),
    ("nsd", "nsd"),
    ("haproxy", "haproxy"),
];
const WALL: &str = "
table inet wall {
    chain arriving { type filter hook input priority filter; policy drop; }
}";
/// Addresses of documentation (RFC 5737), which count as public.
const LOOKER: [u8; 4] = [203, 0, 113, 2];
const FIRST: u8 = 10;
