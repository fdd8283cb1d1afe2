//! Stories of a disk that refuses what a session brought.

use super::*;

fn told_of(controller: &str) -> ToNode {
    let ToNode::Welcome(mut told) = welcome() else {
        unreachable!("welcome() welcomes");
    };
    told.controllers = vec![controller.into()];
    ToNode::Welcome(told)
}

fn leases_confirmed(actions: &[Action]) -> usize {
    let is_it = |message: &&ToController| **message == ToController::LeaseSaved;
    sent(actions).iter().filter(is_it).count()
}

#[test]
fn a_list_of_controllers_that_the_disk_refused_is_written_again() {
    let (mut world, link) = World::started();
    world.tell(connected(link));
    world.hear(link, told_of("three.example:443"));
    world.disk_full = true;
    world.live(link, 2 * STABLE_SESSION_MS);
    assert_eq!(
        world.agent.view().save_error.as_deref(),
        Some("no space left")
    );
    assert_eq!(world.controllers, None);
    world.disk_full = false;
    world.live(link, SAVE_RETRY_MS);
    let list = ["three.example:443", "one.example:443"].map(str::to_owned);
    assert_eq!(world.controllers.as_deref(), Some(&list[..]));
    assert_eq!(world.agent.view().save_error, None);
}

#[test]
fn a_lease_that_the_disk_refused_is_written_again_in_its_session() {
    let (mut world, link) = World::started();
    world.tell(connected(link));
    world.disk_full = true;
    let actions = world.hear(link, welcome());
    assert_eq!(leases_confirmed(&actions), 0);
    assert!(world.agent.view().save_error.is_some());
    assert_eq!(leases_confirmed(&world.live(link, SAVE_RETRY_MS)), 0);
    world.disk_full = false;
    assert_eq!(leases_confirmed(&world.live(link, 2 * SAVE_RETRY_MS)), 1);
    assert_eq!(world.agent.view().save_error, None);
}

/// The controller keeps only the newest of the leases that it has offered.
#[test]
fn a_lease_that_the_disk_refused_ends_with_its_session() {
    let (mut world, link) = World::online();
    world.disk_full = true;
    world.lose(link);
    let link = world.until_dialed().0;
    world.tell(connected(link));
    world.hear(link, welcome());
    world.disk_full = false;
    let shown = world.leases.clone();
    world.lose(link);
    world.pass(2 * SAVE_RETRY_MS);
    assert_eq!(world.leases, shown);
    assert_eq!(world.agent.view().save_error, None);
}
