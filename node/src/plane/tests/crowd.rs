//! Stories of a service that more people want than it carries.

use malha_proto::ServiceId;

use super::*;

#[tokio::test]
async fn a_connection_over_a_services_limit_is_refused_at_once_and_seen() {
    crate::descriptors::raise_limit();
    let mut scene = Scene::new().await;
    // Its kernel takes them all.
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.serve(80, target.local_addr().unwrap());
    scene.apply().await.unwrap();
    let mut open = Vec::with_capacity(MAX_CONNECTIONS);
    while open.len() < MAX_CONNECTIONS {
        open.push(scene.dial(80).await.unwrap());
    }
    let mut over = scene.dial(80).await.unwrap();
    let answer = timeout(TEST_LIMIT, over.read_u8()).await;
    let error = answer.expect("nobody waits").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let seen = timeout(TEST_LIMIT, async {
        loop {
            if let PlaneEvent::Observed(view) = scene.events.recv().await.unwrap()
                && view.over_limit.values().any(|count| *count > 0)
            {
                return view.over_limit;
            }
        }
    });
    assert_eq!(seen.await.unwrap(), [(ServiceId(3), 1)].into());
}
