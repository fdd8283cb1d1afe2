//! Stories of the state folder: crashes at every step, damage, and the eyes of others.

use malha_proto::{BackendCondition, BackendReport, BalancerId, ServiceId, TokenId, WgKey};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::testbed::{TestAuthority, enrol, enrol_request, netmap};

/// A folder below one that exists.
fn place() -> (TempDir, PathBuf) {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("state");
    (parent, path)
}

fn wg_key(folder: &StateFolder) -> WgKey {
    folder.keys().unwrap().wg_public_key().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn the_folder_and_its_files_are_the_agents_alone() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &TestAuthority::new());
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn two_agents_do_not_share_a_folder() {
    let (_parent, path) = place();
    let _first = StateFolder::open(&path).unwrap();
    assert!(matches!(
        StateFolder::open(&path),
        Err(StateError::Locked(_))
    ));
}

#[test]
fn a_program_that_is_being_started_holds_no_lock_of_an_agent_that_let_go() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    // Between fork and exec a child has every descriptor of the agent.
    let _in_the_child = folder.lock.try_clone().unwrap();
    drop(folder);
    StateFolder::open(&path).unwrap();
}

#[test]
fn a_folder_of_others_is_refused_and_left_as_it_is() {
    let (_parent, path) = place();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path.join("thesis.odt"), "years of work").unwrap();
    assert!(matches!(
        StateFolder::open(&path),
        Err(StateError::Foreign(_))
    ));
    assert_eq!(mode(&path), 0o755);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn an_own_folder_that_was_opened_to_others_is_closed_again() {
    let (_parent, path) = place();
    drop(StateFolder::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    drop(StateFolder::open(&path).unwrap());
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn a_key_that_others_could_read_is_refused() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &TestAuthority::new());
    let key = path.join(keys::WG_KEY);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        folder.keys(),
        Err(StateError::Exposed { mode: 0o640, .. })
    ));
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_keys() {
    let (_parent, path) = place();
    let authority = TestAuthority::new();
    let token = authority.token(443);
    let folder = StateFolder::open(&path).unwrap();
    let first = folder.keys_for_enrolment(&token).unwrap();
    drop(folder);
    let folder = StateFolder::open(&path).unwrap();
    let second = folder.keys_for_enrolment(&token).unwrap();
    assert_eq!(first.wg_public_key(), second.wg_public_key());
    assert_eq!(first.tls_key(), second.tls_key());
    let mut other = token;
    other.id = TokenId(8);
    let third = folder.keys_for_enrolment(&other).unwrap();
    assert_ne!(second.wg_public_key(), third.wg_public_key());
}

#[test]
fn an_enrolled_folder_reads_back_whole() {
    let (_parent, path) = place();
    let authority = TestAuthority::new();
    let folder = StateFolder::open(&path).unwrap();
    assert_eq!(folder.identity().unwrap(), None);
    let identity = enrol(&folder, &authority);
    drop(folder);
    let folder = StateFolder::open(&path).unwrap();
    assert_eq!(folder.identity().unwrap(), Some(identity));
    assert_eq!(folder.netmap().unwrap(), Some(netmap(10)));
    assert_eq!(folder.lease().unwrap(), Lease([4; 16]));
    assert!(folder.keys().unwrap().certificate.is_some());
    assert!(!path.join("enrolling").exists());
}

#[test]
fn a_crash_at_any_step_of_an_enrolment_leaves_the_old_node_or_the_new_one() {
    for crash_after in 0..=6 {
        let (_parent, path) = place();
        let authority = TestAuthority::new();
        let folder = StateFolder::open(&path).unwrap();
        let old = enrol(&folder, &authority);
        let old_key = wg_key(&folder);

        let mut token = authority.token(443);
        token.id = TokenId(9);
        let keys = folder.keys_for_enrolment(&token).unwrap();
        let reply = authority.reply(&enrol_request(&keys));
        let staging = Staging::enrolment(&path);
        let new = Identity::of(&token, &reply);
        staging
            .put(
                keys::CERTIFICATE,
                &keys::certificate_pem(&reply.certificate),
            )
            .unwrap();
        drop(folder);
        let folder = StateFolder::open(&path).unwrap();
        assert_eq!(folder.identity().unwrap(), Some(old), "before the marker");
        assert_eq!(wg_key(&folder), old_key);
        staging
            .put(LEASE, lease_text(&reply.lease).as_bytes())
            .unwrap();
        staging
            .put(NETMAP, &checked_file::encode(&netmap(11)))
            .unwrap();
        staging.put(IDENTITY, new.to_json().as_bytes()).unwrap();
        let files = [
            "wg.key",
            "node.key",
            "node.crt",
            "lease",
            "netmap.cbor",
            "identity.json",
        ];
        for name in &files[..crash_after] {
            fs::rename(staging.path(name), path.join(name)).unwrap();
        }
        drop(folder);

        let folder = StateFolder::open(&path).unwrap();
        assert_eq!(
            folder.identity().unwrap(),
            Some(new),
            "after {crash_after} moves"
        );
        assert_eq!(Some(wg_key(&folder)), keys.wg_public_key());
        assert_eq!(folder.netmap().unwrap(), Some(netmap(11)));
    }
}

#[test]
fn what_an_interrupted_write_left_is_cleared_and_the_file_is_the_old_one() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    folder.save_netmap(&netmap(1)).unwrap();
    drop(folder);
    fs::write(path.join("netmap.cbor.new"), "half a m").unwrap();
    let folder = StateFolder::open(&path).unwrap();
    assert_eq!(folder.netmap().unwrap(), Some(netmap(1)));
    assert!(!path.join("netmap.cbor.new").exists());
}

#[test]
fn a_renewal_goes_on_after_a_restart_and_replaces_what_it_should() {
    for wireguard in [false, true] {
        let (_parent, path) = place();
        let authority = TestAuthority::new();
        let folder = StateFolder::open(&path).unwrap();
        enrol(&folder, &authority);
        let old_key = wg_key(&folder);
        let fresh = folder.begin_renewal(wireguard).unwrap().public().unwrap();
        drop(folder);

        let folder = StateFolder::open(&path).unwrap();
        let pending = folder.keys_in_renewal().unwrap().unwrap();
        assert_eq!(pending.wg_public_key(), fresh.wg_key);
        let certificate = authority.sign(&fresh.csr);
        let adopted = folder.adopt_renewal(&certificate).unwrap();
        assert_eq!(adopted.wg_public_key(), fresh.wg_key);
        assert_eq!(adopted.certificate.as_deref(), Some(&certificate[..]));
        assert_eq!(wg_key(&folder) != old_key, wireguard);
        assert!(folder.keys_in_renewal().unwrap().is_none());
    }
}

#[test]
fn a_renewal_that_was_half_moved_up_is_finished_before_the_next_one() {
    let (_parent, path) = place();
    let authority = TestAuthority::new();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &authority);
    let fresh = folder.begin_renewal(false).unwrap().public().unwrap();
    let certificate = authority.sign(&fresh.csr);
    let in_use = path.join(keys::CERTIFICATE);
    let old = fs::read(&in_use).unwrap();
    // The key moves up, and then the certificate can't.
    fs::remove_file(&in_use).unwrap();
    fs::create_dir(&in_use).unwrap();
    assert!(folder.adopt_renewal(&certificate).is_err());
    assert!(folder.begin_renewal(false).is_err(), "it still can't");

    fs::remove_dir(&in_use).unwrap();
    fs::write(&in_use, old).unwrap();
    folder.begin_renewal(false).unwrap();
    drop(folder);
    let keys = StateFolder::open(&path).unwrap().keys().unwrap();
    assert_eq!(keys.certificate.as_deref(), Some(&certificate[..]));
}

#[test]
fn a_crash_at_any_step_of_a_renewal_leaves_a_key_with_its_certificate() {
    for crash_after in 0..=3 {
        let (_parent, path) = place();
        let authority = TestAuthority::new();
        let folder = StateFolder::open(&path).unwrap();
        enrol(&folder, &authority);
        let fresh = folder.begin_renewal(true).unwrap().public().unwrap();
        let certificate = authority.sign(&fresh.csr);
        let staging = Staging::renewal(&path);
        staging
            .put(keys::CERTIFICATE, &keys::certificate_pem(&certificate))
            .unwrap();
        for name in &["wg.key", "node.key", "node.crt"][..crash_after] {
            fs::rename(staging.path(name), path.join(name)).unwrap();
        }
        drop(folder);

        let keys = StateFolder::open(&path).unwrap().keys().unwrap();
        assert_eq!(keys.certificate.as_deref(), Some(&certificate[..]));
        assert_eq!(
            keys.wg_public_key(),
            fresh.wg_key,
            "after {crash_after} moves"
        );
    }
}

/// Whatever a kill leaves of a folder without its marker counts for nothing.
#[test]
fn what_is_thrown_away_loses_its_marker_first() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &TestAuthority::new());
    folder.begin_renewal(true).unwrap();
    let staging = Staging::renewal(&path);
    staging.put(keys::CERTIFICATE, b"the marker").unwrap();
    let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    let renewing = path.join("renewing");
    watch
        .add_watch(&renewing, AddWatchFlags::IN_DELETE)
        .unwrap();
    staging.discard().unwrap();
    let gone = watch.read_events().unwrap();
    let gone: Vec<_> = gone.into_iter().filter_map(|event| event.name).collect();
    assert_eq!(gone.first(), Some(&keys::CERTIFICATE.into()), "{gone:?}");
    assert!(!renewing.exists());
}

#[test]
fn a_certificate_for_another_key_is_not_adopted() {
    let (_parent, path) = place();
    let authority = TestAuthority::new();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &authority);
    let before = folder.keys().unwrap().certificate;
    folder.begin_renewal(false).unwrap();
    let error = folder.adopt_renewal(before.as_deref().unwrap()).err();
    assert!(matches!(error, Some(StateError::Certificate(_))));
    assert_eq!(folder.keys().unwrap().certificate, before);
}

#[test]
fn an_ended_identity_stays_ended() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &TestAuthority::new());
    folder.record_ending(Ending::Stopped).unwrap();
    assert_eq!(folder.identity().unwrap().unwrap().ended, None);
    folder.record_ending(Ending::Removed).unwrap();
    drop(folder);
    let folder = StateFolder::open(&path).unwrap();
    assert_eq!(
        folder.identity().unwrap().unwrap().ended,
        Some(Ended::Removed)
    );
}

#[test]
fn an_identity_of_a_newer_version_or_with_another_authority_is_refused() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    enrol(&folder, &TestAuthority::new());
    let file = path.join(IDENTITY);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(matches!(
        folder.identity(),
        Err(StateError::Newer { version: 2, .. })
    ));
    let mut foreign: Identity = serde_json::from_str(&text).unwrap();
    foreign.authority = TestAuthority::new().fingerprint();
    fs::write(&file, foreign.to_json()).unwrap();
    assert!(matches!(folder.identity(), Err(StateError::Damaged { .. })));
}

#[test]
fn pairs_read_back_and_are_for_no_other_eyes() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    assert_eq!(folder.pairs().unwrap(), None);
    let pairs = PairTable::new(WgKey([1; 32]));
    folder.save_pairs(&pairs).unwrap();
    assert_eq!(folder.pairs().unwrap(), Some(pairs));
    assert_eq!(mode(&path.join(PAIRS)), 0o600);
    fs::set_permissions(path.join(PAIRS), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        folder.pairs(),
        Err(StateError::Exposed { mode: 0o640, .. })
    ));
}

#[test]
fn what_was_found_out_reads_back_and_a_damaged_file_of_it_is_told() {
    let (_parent, path) = place();
    let folder = StateFolder::open(&path).unwrap();
    assert_eq!(folder.remembered().unwrap(), Remembered::default());
    let backend = BackendReport {
        balancer: BalancerId(1),
        service: ServiceId(2),
        condition: BackendCondition::Down,
        connections: 7,
    };
    let listen = ["0.0.0.0:51820".parse().unwrap()];
    let now = Remembered::of(&listen, &[backend]);
    folder.save_remembered(&now).unwrap();
    let read = folder.remembered().unwrap();
    assert_eq!(read, now);
    let known = |service| read.condition(BalancerId(1), ServiceId(service));
    assert_eq!(known(2), Some(BackendCondition::Down));
    assert_eq!(known(3), None);
    fs::write(path.join(REMEMBERED), b"\x01damaged").unwrap();
    assert!(matches!(
        folder.remembered(),
        Err(StateError::Damaged { .. })
    ));
}

#[test]
fn a_certificate_is_due_after_two_thirds_of_its_life() {
    let validity = keys::Validity {
        not_before_s: 1_000,
        not_after_s: 4_000,
    };
    assert_eq!(validity.renew_at_s(), 3_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_netmap_with_one_wrong_byte_is_damaged(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let (_parent, path) = place();
        let folder = StateFolder::open(&path).unwrap();
        let mut bytes = checked_file::encode(&netmap(1));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(path.join(NETMAP), bytes).unwrap();
        let is_damaged = matches!(folder.netmap(), Err(StateError::Damaged { .. }));
        prop_assert!(is_damaged);
    }

    #[test]
    fn a_netmap_that_was_cut_is_damaged(keep in any::<prop::sample::Index>()) {
        let (_parent, path) = place();
        let folder = StateFolder::open(&path).unwrap();
        let bytes = checked_file::encode(&netmap(1));
        fs::write(path.join(NETMAP), &bytes[..keep.index(bytes.len())]).unwrap();
        let is_damaged = matches!(folder.netmap(), Err(StateError::Damaged { .. }));
        prop_assert!(is_damaged);
    }
}
