//! What was acknowledged outlives the process: the coordinator over a real data folder, opened again.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use malha::coordinator::{Actor, Coordinator, Handle, SubmitError};
use malha::folder;
use malha_core::{Answer, Command, Rejection};
use malha_proto::{
    Fingerprint, Label, MachineFacts, MachineId, Profile, RefusalCode, Secret32, SiteId, TokenId,
    WgKey,
};
use malha_store::audit::{self, AuditOutcome};
use malha_store::{
    Batch, CommitOutcome, Condition, Entry, Epoch, Health, Key, Page, Prefix, Snapshot, Store,
    StoreError, StoreRevision, Watch,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Controller {
    handle: Handle,
    store: Arc<dyn Store>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

async fn open(data: &Path) -> Controller {
    open_with(data, |store| store).await
}

async fn open_with(data: &Path, wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Controller {
    let opened = folder::open(data, &data.join("master.key")).await.unwrap();
    let store = wrap(opened.store.clone());
    let (coordinator, handle) = Coordinator::new(opened.state, store, opened.audit);
    let stop = CancellationToken::new();
    let task = tokio::spawn(coordinator.run(stop.clone()));
    Controller {
        handle,
        store: opened.store,
        task,
        stop,
    }
}

async fn create(data: &Path) -> Controller {
    folder::create(
        data,
        &data.join("master.key"),
        "malha.internal".parse().unwrap(),
    )
    .await
    .unwrap();
    open(data).await
}

impl Controller {
    async fn submit(&self, command: Command) -> Result<Answer, SubmitError> {
        self.handle
            .submit(command, Actor::controller(), None)
            .await
            .map(|accepted| accepted.answer)
    }

    async fn close(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.store.close().await.unwrap();
    }

    async fn site(&self) -> SiteId {
        let organization = Command::CreateOrganization {
            name: label("vendor"),
            display_name: String::new(),
        };
        let Answer::Organization(organization) = self.submit(organization).await.unwrap() else {
            unreachable!()
        };
        let site = Command::CreateSite {
            organization,
            name: label("garagem-01"),
            display_name: String::new(),
        };
        let Answer::Site(site) = self.submit(site).await.unwrap() else {
            unreachable!()
        };
        site
    }

    async fn token(&self, site: SiteId, uses: u32) -> (TokenId, Secret32) {
        let command = Command::CreateToken {
            site,
            profile: Profile::Garage,
            uses,
            ttl_s: 600,
        };
        let Answer::Token { id, secret } = self.submit(command).await.unwrap() else {
            unreachable!()
        };
        (id, secret)
    }
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn enrolment(token: TokenId, secret: &Secret32, machine: u8) -> Command {
    Command::Enrol {
        token,
        secret: secret.clone(),
        wg_key: WgKey([machine; 32]),
        tls_key: Fingerprint([machine; 32]),
        name: None,
        facts: MachineFacts {
            host_name: "servidor".to_owned(),
            machine: MachineId([machine; 16]),
            agent_version: "0".to_owned(),
            os: "linux".to_owned(),
            engine: None,
        },
    }
}

/// A store whose disk the story rules.
struct Ruled {
    store: Arc<dyn Store>,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Takes,
    Refuses,
    /// Takes the commit, and is gone before it can say so.
    LeavesInDoubt,
    /// Takes nothing, can't say so, and is soon back.
    Loses,
}

impl Ruled {
    fn disk(&self) -> Disk {
        *self.disk.lock().unwrap()
    }
}

/// A controller over a store with this disk.
async fn open_on(data: &Path, disk: &Arc<Mutex<Disk>>) -> Controller {
    let disk = Arc::clone(disk);
    open_with(data, |store| Arc::new(Ruled { store, disk })).await
}

#[async_trait]
impl Store for Ruled {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn range(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.range(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<CommitOutcome, StoreError> {
        match self.disk() {
            Disk::Takes => self.store.commit(batch).await,
            Disk::Refuses => Err(StoreError::Closed),
            Disk::LeavesInDoubt => {
                let _ = self.store.commit(batch).await?;
                let cause = "the disk is gone".to_owned();
                Err(StoreError::OutcomeUnknown { cause })
            }
            Disk::Loses => {
                let cause = "the disk was gone".to_owned();
                Err(StoreError::OutcomeUnknown { cause })
            }
        }
    }

    async fn watch(&self, prefix: &Prefix, after: StoreRevision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot().await
    }

    async fn revision(&self) -> Result<StoreRevision, StoreError> {
        self.store.revision().await
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    async fn compact(&self, through: StoreRevision) -> Result<(), StoreError> {
        self.store.compact(through).await
    }

    async fn health(&self) -> Health {
        let health = self.store.health().await;
        match self.disk() {
            Disk::LeavesInDoubt => Health {
                condition: Condition::Closed,
                ..health
            },
            Disk::Takes | Disk::Refuses | Disk::Loses => health,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[tokio::test]
async fn the_audit_log_says_which_of_its_lines_were_never_committed() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).await.close().await;
    let disk = Arc::new(Mutex::new(Disk::Takes));
    let controller = open_on(folder.path(), &disk).await;
    let organization = |name| Command::CreateOrganization {
        name: label(name),
        display_name: String::new(),
    };
    controller.submit(organization("first")).await.unwrap();
    let first = controller.handle.audit_tail(1).await.unwrap()[0].sequence;
    *disk.lock().unwrap() = Disk::Refuses;
    for name in ["lost-1", "lost-2"] {
        let refused = controller.submit(organization(name)).await;
        assert!(matches!(refused, Err(SubmitError::Unavailable(_))));
    }
    *disk.lock().unwrap() = Disk::Takes;
    controller.submit(organization("kept")).await.unwrap();
    let lines = controller.handle.audit_tail(5).await.unwrap();
    let read: Vec<_> = lines
        .iter()
        .map(|it| (it.record.outcome, it.record.target.as_str()))
        .collect();
    let (one, two) = (first + 1, first + 3);
    let [ours, theirs] = [one, two].map(|line| format!("{line}-{line}"));
    assert_eq!(read.len(), 5);
    assert_eq!(read[1], (AuditOutcome::Failed, ours.as_str()));
    assert_eq!(read[3], (AuditOutcome::Failed, theirs.as_str()));
    assert_eq!(read[4].0, AuditOutcome::Accepted);
    let names: Vec<_> = controller
        .handle
        .state()
        .organizations()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(names, ["first", "kept"]);
    controller.close().await;
    // A start finds nothing more to mark.
    let controller = open(folder.path()).await;
    let last = controller.handle.audit_tail(1).await.unwrap();
    assert_eq!(last[0].sequence, first + 5);
    controller.close().await;
}

#[tokio::test]
async fn the_audit_log_calls_no_line_lost_whose_change_may_be_there() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).await.close().await;
    let disk = Arc::new(Mutex::new(Disk::LeavesInDoubt));
    let controller = open_on(folder.path(), &disk).await;
    let organization = Command::CreateOrganization {
        name: label("sefaz"),
        display_name: String::new(),
    };
    let answer = controller.submit(organization).await;
    assert!(matches!(answer, Err(SubmitError::Unavailable(_))));
    controller.close().await;
    let controller = open(folder.path()).await;
    let state = controller.handle.state();
    assert!(state.organization_by_name("sefaz").is_some());
    let lines = controller.handle.audit_tail(5).await.unwrap();
    let lost = |it: &audit::AuditEntry| it.record.outcome == AuditOutcome::Failed;
    assert!(!lines.iter().any(lost), "{lines:?}");
    controller.close().await;
}

/// What is kept beside the state raises no revision of it by which one could tell.
#[tokio::test]
async fn nothing_is_acknowledged_that_a_failing_disk_lost() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).await.close().await;
    let disk = Arc::new(Mutex::new(Disk::Loses));
    let controller = open_on(folder.path(), &disk).await;
    let key = Key::new("m/kept-beside").unwrap();
    let keep = || vec![(key.as_str().to_owned(), Some(vec![1]))];
    let kept = controller.handle.keep(keep(), None).await;
    assert!(matches!(kept, Err(SubmitError::Unavailable(_))), "{kept:?}");
    assert!(controller.store.get(&key).await.unwrap().is_none());
    *disk.lock().unwrap() = Disk::Takes;
    controller.handle.keep(keep(), None).await.unwrap();
    assert!(controller.store.get(&key).await.unwrap().is_some());
    controller.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let controller = create(data.path()).await;
    let site = controller.site().await;
    let (token, secret) = controller.token(site, 1).await;
    controller
        .submit(enrolment(token, &secret, 1))
        .await
        .unwrap();
    let before = controller.handle.state();
    controller.close().await;

    let controller = open(data.path()).await;
    assert_eq!(*controller.handle.state(), *before);
    controller.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_machines_that_show_one_single_use_token_at_once_exactly_one_enrols() {
    let data = tempfile::tempdir().unwrap();
    let controller = create(data.path()).await;
    let site = controller.site().await;
    let (token, secret) = controller.token(site, 1).await;
    let attempts: Vec<_> = (1..=100)
        .map(|machine| {
            let (handle, command) = (
                controller.handle.clone(),
                enrolment(token, &secret, machine),
            );
            tokio::spawn(async move { handle.submit(command, Actor::controller(), None).await })
        })
        .collect();
    let mut enrolled = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => enrolled += 1,
            Err(SubmitError::Rejected(Rejection::Refused { code, .. })) => {
                assert_eq!(code, RefusalCode::TokenUsed)
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(enrolled, 1);
    assert_eq!(controller.handle.state().nodes().len(), 1);
    controller.close().await;
}

#[tokio::test]
async fn the_audit_log_names_each_change_and_agrees_with_the_store() {
    let data = tempfile::tempdir().unwrap();
    let controller = create(data.path()).await;
    let site = controller.site().await;
    let (token, _) = controller.token(site, 1).await;
    controller
        .submit(Command::RevokeToken { id: token })
        .await
        .unwrap();
    let lines = controller.handle.audit_tail(10).await.unwrap();
    let actions: Vec<&str> = lines
        .iter()
        .map(|line| line.record.action.as_str())
        .collect();
    assert_eq!(
        actions,
        [
            "organization.create",
            "site.create",
            "token.create",
            "token.revoke"
        ]
    );
    let head = folder::audit_head(&*controller.store).await.unwrap();
    controller.close().await;
    let report = audit::verify(&folder::audit_dir(data.path()), Some(head)).unwrap();
    assert_eq!(report.head.sequence, 4);
}

#[tokio::test]
async fn a_rejected_command_leaves_neither_revision_nor_audit_line() {
    let data = tempfile::tempdir().unwrap();
    let controller = create(data.path()).await;
    let before = controller.handle.state();
    let refused = controller
        .submit(Command::RemoveSite { id: SiteId(99) })
        .await;
    assert!(matches!(
        refused,
        Err(SubmitError::Rejected(Rejection::NotFound { .. }))
    ));
    assert_eq!(*controller.handle.state(), *before);
    assert!(controller.handle.audit_tail(10).await.unwrap().is_empty());
    controller.close().await;
}

#[tokio::test]
async fn a_second_controller_in_the_same_folder_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let controller = create(data.path()).await;
    let error = folder::open(data.path(), &data.path().join("master.key"))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    controller.close().await;
}

#[tokio::test]
async fn another_master_key_opens_nothing_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    create(data.path()).await.close().await;
    let other = data.path().join("other.key");
    malha_pki::MasterKey::create_file(&other).unwrap();
    let error = folder::open(data.path(), &other).await.err().unwrap();
    assert!(error.to_string().contains("master key"), "{error}");
}
