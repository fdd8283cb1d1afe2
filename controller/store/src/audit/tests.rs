//! The audit log against crashes, tampering and its own limits.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt};

use tempfile::TempDir;

use super::*;

fn record(action: &str) -> AuditRecord {
    AuditRecord {
        at_ms: 1_795_000_000_000,
        actor: "operator:ana".to_owned(),
        source: "198.51.100.7".to_owned(),
        action: action.to_owned(),
        target: "token/7".to_owned(),
        outcome: AuditOutcome::Accepted,
        revision: Some(42),
        detail: BTreeMap::from([("site".to_owned(), "garagem \"01\"\n".to_owned())]),
    }
}

fn log_with(actions: &[&str]) -> (TempDir, AuditHead) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = AuditLog::open(dir.path()).unwrap();
    for action in actions {
        log.append(&record(action)).unwrap();
    }
    let head = log.head();
    (dir, head)
}

fn first_segment(dir: &TempDir) -> PathBuf {
    dir.path().join(segment::name(1))
}

fn actions(entries: &[AuditEntry]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry.record.action.as_str())
        .collect()
}

#[test]
fn appended_records_are_there_after_reopening_in_order() {
    let (dir, head) = log_with(&["token create", "node enrol"]);
    let log = AuditLog::open(dir.path()).unwrap();
    assert_eq!(log.head(), head);
    assert_eq!(actions(&log.tail(10)), ["token create", "node enrol"]);
    assert_eq!(log.tail(1)[0].record, record("node enrol"));
}

#[test]
fn the_chain_goes_on_over_reopening_and_rotation() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let mut log = AuditLog::open_with_segments_of(dir.path(), 1000).unwrap();
        log.append_all(&[record("node enrol"), record("node remove")])
            .unwrap();
        assert_eq!(log.head().sequence, (round + 1) * 2);
    }
    let report = verify(dir.path(), None).unwrap();
    assert_eq!(report.head.sequence, 20);
    assert!(report.segments > 5, "{report:?}");
}

#[test]
fn a_log_whose_disk_failed_goes_on_when_the_disk_does() {
    let (dir, _) = log_with(&["token create"]);
    let mut log = AuditLog::open(dir.path()).unwrap();
    log.append(&record("node enrol")).unwrap();
    let path = first_segment(&dir);
    // Nothing can be written by this handle, and the disk took half a line and half of the head that goes with it.
    log.segment.as_mut().unwrap().file = File::open(&path).unwrap();
    assert!(matches!(
        log.append(&record("lost")),
        Err(AuditError::Io { .. })
    ));
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"seq\":3,\"pre").unwrap();
    let head_file = dir.path().join("head");
    let heads = OpenOptions::new().write(true).open(head_file).unwrap();
    heads.write_all_at(b"MALHAUD1", 4096).unwrap();
    log.append(&record("node remove")).unwrap();
    log.append(&record("token revoke")).unwrap();
    let head = log.head();
    drop(log);
    let log = AuditLog::open(dir.path()).unwrap();
    let kept = ["token create", "node enrol", "node remove", "token revoke"];
    assert_eq!(actions(&log.tail(10)), kept);
    assert_eq!(verify(dir.path(), None).unwrap().head, head);
}

#[test]
fn a_line_whose_head_could_not_be_written_is_taken_back() {
    let (dir, _) = log_with(&["token create"]);
    let mut log = AuditLog::open(dir.path()).unwrap();
    log.append(&record("node enrol")).unwrap();
    let read_only = File::open(dir.path().join("head")).unwrap();
    let head_file = std::mem::replace(&mut log.head_file.file, read_only);
    assert!(matches!(
        log.append(&record("lost")),
        Err(AuditError::Io { .. })
    ));
    log.head_file.file = head_file;
    log.append(&record("node remove")).unwrap();
    let head = log.head();
    drop(log);
    let log = AuditLog::open(dir.path()).unwrap();
    let kept = ["token create", "node enrol", "node remove"];
    assert_eq!(actions(&log.tail(10)), kept);
    assert_eq!(verify(dir.path(), None).unwrap().head, head);
}

#[test]
fn a_log_that_could_not_begin_a_segment_goes_on_in_it_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = AuditLog::open_with_segments_of(dir.path(), 400).unwrap();
    log.append(&record("token create")).unwrap();
    // A folder has the name of the next segment.
    let next = dir.path().join(segment::name(2));
    fs::create_dir(&next).unwrap();
    assert!(log.append(&record("lost")).is_err());
    let still = log.append(&record("lost"));
    assert!(
        matches!(still, Err(AuditError::Stopped { .. })),
        "{still:?}"
    );
    fs::remove_dir(&next).unwrap();
    log.append(&record("node enrol")).unwrap();
    assert_eq!(actions(&log.tail(10)), ["token create", "node enrol"]);
    drop(log);
    assert_eq!(verify(dir.path(), None).unwrap().head.sequence, 2);
}

#[test]
fn each_flipped_bit_of_an_acknowledged_line_is_found_by_verify_and_by_open() {
    let (dir, _) = log_with(&["token create", "node enrol", "node remove"]);
    let path = first_segment(&dir);
    let intact = fs::read(&path).unwrap();
    for position in 0..intact.len() * 8 {
        let mut flipped = intact.clone();
        flipped[position / 8] ^= 1 << (position % 8);
        fs::write(&path, &flipped).unwrap();
        assert!(verify(dir.path(), None).is_err(), "bit {position}");
        assert!(AuditLog::open(dir.path()).is_err(), "bit {position}");
    }
    fs::write(&path, &intact).unwrap();
    assert!(verify(dir.path(), None).is_ok());
}

#[test]
fn the_first_bad_line_is_named_with_its_segment() {
    let (dir, _) = log_with(&["token create", "node enrol", "node remove"]);
    let path = first_segment(&dir);
    let tampered = fs::read_to_string(&path)
        .unwrap()
        .replace("node enrol", "node renew");
    fs::write(&path, tampered).unwrap();
    let named = AuditError::BadLine {
        segment: "audit-00000001.jsonl".to_owned(),
        line: 2,
        problem: "its hash does not match its content".to_owned(),
    };
    assert_eq!(AuditLog::open(dir.path()).err().as_ref(), Some(&named));
    assert_eq!(verify(dir.path(), None), Err(named));
}

#[test]
fn a_removed_line_in_the_middle_is_found() {
    let (dir, _) = log_with(&["token create", "node enrol", "node remove"]);
    let path = first_segment(&dir);
    let text = fs::read_to_string(&path).unwrap();
    let without_second: Vec<&str> = text
        .split_inclusive('\n')
        .enumerate()
        .filter_map(|(index, line)| (index != 1).then_some(line))
        .collect();
    fs::write(&path, without_second.concat()).unwrap();
    assert!(matches!(
        verify(dir.path(), None),
        Err(AuditError::BadLine { line: 2, .. })
    ));
}

#[test]
fn a_removed_last_line_is_found() {
    let (dir, _) = log_with(&["token create", "node enrol"]);
    let path = first_segment(&dir);
    let text = fs::read_to_string(&path).unwrap();
    let first_line = text.split_inclusive('\n').next().unwrap();
    fs::write(&path, first_line).unwrap();
    let truncated = AuditError::Truncated {
        acknowledged: 2,
        found: 1,
    };
    assert_eq!(verify(dir.path(), None).unwrap_err(), truncated);
    assert_eq!(AuditLog::open(dir.path()).err(), Some(truncated));
}

#[test]
fn a_rewritten_chain_is_found_by_a_head_kept_elsewhere() {
    let (_original, head) = log_with(&["token create", "node enrol"]);
    let (forged, _) = log_with(&["token create", "node remove"]);
    assert!(verify(forged.path(), None).is_ok());
    assert_eq!(
        verify(forged.path(), Some(head)).unwrap_err(),
        AuditError::Rewritten { sequence: 2 }
    );
}

#[test]
fn lines_after_the_expected_head_are_counted() {
    let (dir, head) = log_with(&["token create"]);
    let mut log = AuditLog::open(dir.path()).unwrap();
    log.append(&record("node enrol")).unwrap();
    let report = verify(dir.path(), Some(head)).unwrap();
    assert_eq!(report.lines_beyond_expected, 1);
}

#[test]
fn an_unfinished_line_beyond_the_acknowledged_head_is_cut_and_the_log_goes_on() {
    let (dir, head) = log_with(&["token create"]);
    let mut next_line = Vec::new();
    line::append_line(&mut next_line, head, &record("node enrol")).unwrap();
    for length in 1..next_line.len() {
        let path = first_segment(&dir);
        let intact = fs::read(&path).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&next_line[..length]).unwrap();
        let report = verify(dir.path(), None).unwrap();
        assert_eq!(report.unfinished_bytes, length as u64);
        assert_eq!(AuditLog::open(dir.path()).unwrap().head(), head);
        assert_eq!(fs::read(&path).unwrap(), intact);
    }
    let mut log = AuditLog::open(dir.path()).unwrap();
    assert_eq!(log.append(&record("node remove")).unwrap().sequence, 2);
    assert!(verify(dir.path(), None).is_ok());
}

#[test]
fn a_complete_line_beyond_the_acknowledged_head_is_kept() {
    let (dir, head) = log_with(&["token create"]);
    let mut next_line = Vec::new();
    let next_head = line::append_line(&mut next_line, head, &record("node enrol")).unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(first_segment(&dir))
        .unwrap();
    file.write_all(&next_line).unwrap();
    assert_eq!(AuditLog::open(dir.path()).unwrap().head(), next_head);
}

#[test]
fn a_lost_head_file_is_an_error_and_not_a_new_log() {
    let (dir, _) = log_with(&["token create"]);
    fs::remove_file(dir.path().join("head")).unwrap();
    assert!(matches!(
        verify(dir.path(), None),
        Err(AuditError::HeadLost { .. })
    ));
    assert!(matches!(
        AuditLog::open(dir.path()),
        Err(AuditError::HeadLost { .. })
    ));
}

#[test]
fn a_torn_head_leaves_the_one_before_and_loses_no_line() {
    let (dir, head) = log_with(&["token create", "node enrol"]);
    let path = dir.path().join("head");
    let mut slots = fs::read(&path).unwrap();
    // The third write, of head 2, went to the first slot.
    slots[20] ^= 1;
    fs::write(&path, slots).unwrap();
    assert_eq!(AuditLog::open(dir.path()).unwrap().head(), head);
}

#[test]
fn a_missing_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = AuditLog::open_with_segments_of(dir.path(), 1).unwrap();
    for _ in 0..3 {
        log.append(&record("node enrol")).unwrap();
    }
    fs::remove_file(dir.path().join(segment::name(2))).unwrap();
    assert_eq!(
        verify(dir.path(), None).unwrap_err().to_string(),
        "audit-00000002.jsonl is missing; the audit log was changed outside malha or is damaged"
    );
}

#[test]
fn a_record_that_is_too_long_is_refused_and_the_log_goes_on() {
    let (dir, head) = log_with(&["token create"]);
    let mut log = AuditLog::open(dir.path()).unwrap();
    let too_long = record(&"x".repeat(MAX_LINE_BYTES));
    assert!(matches!(
        log.append_all(&[record("node enrol"), too_long]),
        Err(AuditError::TooLarge { .. })
    ));
    assert_eq!(log.head(), head);
    assert!(log.append(&record("node enrol")).is_ok());
}

#[test]
fn a_second_open_is_told_who_has_the_log() {
    let (dir, _) = log_with(&[]);
    let _first = AuditLog::open(dir.path()).unwrap();
    let refusal = AuditLog::open(dir.path()).err().unwrap();
    assert!(
        refusal
            .to_string()
            .contains("in use by another malha serve")
    );
}

#[test]
fn the_tail_is_bounded_and_ends_with_the_newest() {
    let (dir, _) = log_with(&[]);
    let mut log = AuditLog::open(dir.path()).unwrap();
    for _ in 0..2 {
        let batch = vec![record("node enrol"); MAX_TAIL_ENTRIES - 1];
        log.append_all(&batch).unwrap();
    }
    let tail = log.tail(usize::MAX);
    assert_eq!(tail.len(), MAX_TAIL_ENTRIES);
    assert_eq!(tail.last().map(|entry| entry.sequence), Some(1998));
}

#[test]
fn only_the_owner_can_read_the_files() {
    let (dir, _) = log_with(&["token create"]);
    for file in fs::read_dir(dir.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
