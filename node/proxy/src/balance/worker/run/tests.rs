//! What a worker makes of events in an order that the kernel gives only now and then.

use std::net::TcpListener;

use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::super::super::{Backend, Balancer, KernelConnector, Mode, Spec};
use super::*;

/// A worker that nobody runs, and its balancer.
struct Rig {
    balancer: Balancer,
    worker: Worker,
}

impl Rig {
    fn start(spec: Spec) -> Self {
        let balancer = Balancer::start(spec, Vec::new(), Arc::new(KernelConnector)).unwrap();
        let inboxes: Arc<[_]> = Arc::new([Arc::new(Inbox::new().unwrap())]);
        let worker = Worker::new(Arc::clone(balancer.floor()), inboxes, 0, &[]).unwrap();
        Self { balancer, worker }
    }

    async fn until_known(&self, backend: &TcpListener) {
        let address = backend.local_addr().unwrap();
        let ways = &self.balancer.floor().ways;
        let known = async {
            while ways.socket(address).is_err() {
                yield_now().await;
            }
        };
        timeout(PATIENCE, known).await.unwrap();
    }

    /// A client for whom the worker tries to reach a backend, and how its connection is called there.
    async fn admit(&mut self) -> (TcpStream, Key) {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), door.accept());
        let (tcp, source) = accepted.unwrap();
        self.worker.admit(Newcomer {
            tcp: tcp.into_std().unwrap().into(),
            source,
            sources: None,
            known: None,
        });
        (client.unwrap(), self.trying()[0])
    }

    fn trying(&mut self) -> Vec<Key> {
        let tries = |it: &mut Connection| it.attempt_until().is_some();
        self.worker.connections.keys_of(tries)
    }
}

/// The kernel may tell at once that a backend was reached and that it has left: the socket by which it was is no more.
#[tokio::test]
async fn an_event_of_a_backend_that_was_given_up_is_not_one_of_the_next() {
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut rig = Rig::start(before(1, &first));
    rig.until_known(&first).await;
    let (_client, key) = rig.admit().await;
    rig.balancer.change(before(2, &second)).unwrap();
    rig.until_known(&second).await;

    rig.worker.read_letters();
    assert_eq!(rig.trying().len(), 1, "the second backend is tried");
    rig.worker.hear(key, Side::Server, EventFlags::OUT);
    assert_eq!(rig.trying().len(), 1, "and has said nothing yet");
}

/// A balancer with one backend.
fn before(id: u64, backend: &TcpListener) -> Spec {
    Spec::new(vec![Backend {
        id,
        address: backend.local_addr().unwrap(),
        mode: Mode::Serve,
    }])
}

/// What anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
