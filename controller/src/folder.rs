//! The data folder: made once by `malha init`, opened by `malha serve`. Keys in it are files of mode 0600 or sealed records.

mod ownership;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use malha_core::{Entity, Settings, State};
use malha_pki::{
    Authority, AuthorityProfile, MasterKey, PairEpochs, PkiError, Sealed, StoredAuthority,
};
use malha_proto::{HostName, MachineId, OverlayPools, Revision};
use malha_store::audit::{AuditError, AuditHead, AuditLog};
use malha_store::{
    Batch, CommitOutcome, Item, Key, MAX_PAGE_ENTRIES, Op, Prefix, Schema, Store, StoreError,
};
use malha_tunnel::PrivateKey;
use thiserror::Error;
use time::OffsetDateTime;

use crate::audit::uncommitted;
use crate::clock::now_ms;
use crate::coordinator::{AUDIT_HEAD_KEY, REVISION_KEY, put};
use crate::pairs::PairId;

pub use ownership::hand_over;

/// Why a data folder can't be made or opened.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("{} holds a Malha controller already; name another folder, or start it with `malha serve`", .0.display())]
    Exists(PathBuf),
    #[error("{} holds no Malha controller; make one with `malha init`", .0.display())]
    Missing(PathBuf),
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{} has a second name somewhere, where it may be somebody's; replace it by a copy, then run `chown` on it yourself",
        .0.display()
    )]
    ElsewhereToo(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(
        "the stored record {key} can't be read: {problem}; check with `malha store check`, recover with `malha restore`"
    )]
    Record { key: String, problem: String },
    #[error("{}: {problem}", .path.display())]
    Key { path: PathBuf, problem: String },
    #[error("no random bytes from the system: {0}")]
    Random(String),
}

/// An opened data folder: everything the controller needs that outlives it.
pub struct Folder {
    pub store: Arc<dyn Store>,
    pub state: State,
    pub audit: AuditLog,
    pub overlay: Authority,
    pub edge: Authority,
    /// Seals the epochs of preshared keys anew.
    pub master: MasterKey,
    pub epochs: PairEpochs,
    /// The epoch of each pair's key.
    pub pair_epochs: BTreeMap<PairId, u64>,
    pub hub_key: PrivateKey,
}

/// Makes the folder with an empty state and both authorities. On an error nothing usable is left behind.
pub async fn create(
    data: &Path,
    master_key: &Path,
    overlay_zone: HostName,
) -> Result<(), FolderError> {
    if store_dir(data).exists() {
        return Err(FolderError::Exists(data.to_owned()));
    }
    make_dir(data)?;
    let master = MasterKey::from_file_or_create(master_key)?;
    let now = OffsetDateTime::now_utc();
    let cluster = MachineId(random()?);
    let short = &cluster.to_string()[..8];
    let overlay = Authority::create(&authority_profile(format!("Malha overlay {short}")), now)?;
    let edge = Authority::create(&authority_profile(format!("Malha edge {short}")), now)?;
    write_secret(
        &data.join(HUB_KEY_FILE),
        &PrivateKey::generate().to_base64(),
    )?;
    let settings = Settings::new(
        cluster,
        OverlayPools::with_random_v6(random()?),
        overlay_zone,
    );
    let (key, value) = malha_core::Change::Put(Entity::Settings(settings)).record();
    let mut ops = vec![
        put(
            OVERLAY_AUTHORITY_KEY,
            encode(OVERLAY_AUTHORITY_KEY, &overlay.seal(&master)?)?,
        )?,
        put(
            EDGE_AUTHORITY_KEY,
            encode(EDGE_AUTHORITY_KEY, &edge.seal(&master)?)?,
        )?,
        put(REVISION_KEY, 1_u64.to_be_bytes().to_vec())?,
    ];
    if let Some(value) = value {
        ops.push(put(&key, value)?);
    }
    let audit = AuditLog::open(&audit_dir(data))?;
    ops.push(put(AUDIT_HEAD_KEY, encode(AUDIT_HEAD_KEY, &audit.head())?)?);
    let store = malha_store::create(&store_dir(data), &schema())?;
    commit(&*store, ops).await?;
    store.close().await?;
    Ok(())
}

/// Opens the folder, checks all of it, and loads the state.
pub async fn open(data: &Path, master_key: &Path) -> Result<Folder, FolderError> {
    if !store_dir(data).exists() {
        return Err(FolderError::Missing(data.to_owned()));
    }
    let store = malha_store::open(&store_dir(data), &schema())?;
    let master = MasterKey::from_file(master_key)?;
    let overlay = authority(&*store, OVERLAY_AUTHORITY_KEY, &master).await?;
    let edge = authority(&*store, EDGE_AUTHORITY_KEY, &master).await?;
    let state = load(&*store).await?;
    let epochs = epochs(&*store, &master).await?;
    let pair_epochs = pair_epochs(&*store).await?;
    let mut audit = AuditLog::open(&audit_dir(data))?;
    mark_uncommitted(&*store, &mut audit).await?;
    let hub_key = hub_key(data)?;
    write_public(&edge_authority_file(data), edge.certificate_pem())?;
    write_public(&overlay_authority_file(data), overlay.certificate_pem())?;
    Ok(Folder {
        store,
        state,
        audit,
        overlay,
        edge,
        master,
        epochs,
        pair_epochs,
        hub_key,
    })
}

/// Where the store of a data folder is.
#[must_use]
pub fn store_dir(data: &Path) -> PathBuf {
    data.join("store")
}

/// Where the audit log of a data folder is.
#[must_use]
pub fn audit_dir(data: &Path) -> PathBuf {
    data.join("audit")
}

/// Where auditors find the certificate of the overlay's authority, PEM: for `malha check verify`.
#[must_use]
pub fn overlay_authority_file(data: &Path) -> PathBuf {
    data.join("overlay-ca.pem")
}

/// Where what checks found is.
#[must_use]
pub fn checks_dir(data: &Path) -> PathBuf {
    data.join("checks")
}

/// Where `malha init` leaves the API key with which the CLI on this machine speaks.
#[must_use]
pub fn admin_key_file(data: &Path) -> PathBuf {
    data.join("admin.key")
}

/// Where clients of the edge find the certificate of its authority, PEM: for `curl --cacert` and `malha --ca`.
#[must_use]
pub fn edge_authority_file(data: &Path) -> PathBuf {
    data.join("edge-ca.pem")
}

/// The schema of the store's records.
#[must_use]
pub fn schema() -> Schema {
    Schema::first()
}

/// Writes a secret to a new file of mode 0600; an existing file is refused.
pub fn write_secret(path: &Path, secret: &str) -> Result<(), FolderError> {
    let io = |source| FolderError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(secret.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(io)
}

/// The audit head that the store committed last.
pub async fn audit_head(store: &dyn Store) -> Result<AuditHead, FolderError> {
    let entry = store
        .get(&Key::new(AUDIT_HEAD_KEY)?)
        .await?
        .ok_or_else(|| missing(AUDIT_HEAD_KEY))?;
    serde_json::from_slice(entry.value.as_bytes()).map_err(|error| record(AUDIT_HEAD_KEY, &error))
}

async fn load(store: &dyn Store) -> Result<State, FolderError> {
    let revision = store
        .get(&Key::new(REVISION_KEY)?)
        .await?
        .ok_or_else(|| missing(REVISION_KEY))?;
    let revision = <[u8; 8]>::try_from(revision.value.as_bytes())
        .map_err(|error| record(REVISION_KEY, &error))?;
    let mut entities = Vec::new();
    for item in everything(store, ENTITY_PREFIX).await? {
        let key = item.key.to_string();
        let entity = Entity::decode(&key, item.entry.value.as_bytes())
            .map_err(|error| record(&key, &error))?;
        entities.push(entity);
    }
    State::restore(Revision(u64::from_be_bytes(revision)), entities)
        .map_err(|error| record("e/", &error))
}

async fn everything(store: &dyn Store, prefix: &str) -> Result<Vec<Item>, FolderError> {
    let prefix = Prefix::new(prefix)?;
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.key.clone());
        let page = store
            .range(&prefix, after.as_ref(), MAX_PAGE_ENTRIES)
            .await?;
        items.extend(page.items);
        if !page.more {
            return Ok(items);
        }
    }
}

/// Lines that were written just before a crash kept their change from being committed stay in the log, and the next line
/// says so.
async fn mark_uncommitted(store: &dyn Store, audit: &mut AuditLog) -> Result<(), FolderError> {
    let committed = audit_head(store).await?;
    let written = audit.head();
    if written.sequence <= committed.sequence {
        return Ok(());
    }
    audit.append(&uncommitted(committed.sequence + 1..=written.sequence))?;
    commit(
        store,
        vec![put(AUDIT_HEAD_KEY, encode(AUDIT_HEAD_KEY, &audit.head())?)?],
    )
    .await
}

async fn commit(store: &dyn Store, ops: Vec<Op>) -> Result<(), FolderError> {
    match store
        .commit(Batch {
            ops,
            ..Batch::default()
        })
        .await?
    {
        CommitOutcome::Committed { .. } => Ok(()),
        CommitOutcome::Conflict(conflict) => Err(record(REVISION_KEY, &conflict)),
    }
}

async fn authority(
    store: &dyn Store,
    key: &str,
    master: &MasterKey,
) -> Result<Authority, FolderError> {
    let entry = store
        .get(&Key::new(key)?)
        .await?
        .ok_or_else(|| missing(key))?;
    let stored: StoredAuthority =
        serde_json::from_slice(entry.value.as_bytes()).map_err(|error| record(key, &error))?;
    Ok(Authority::open(&stored, master)?)
}

/// The epochs of preshared keys. A folder that was made before there were any gets its first one.
async fn epochs(store: &dyn Store, master: &MasterKey) -> Result<PairEpochs, FolderError> {
    if let Some(entry) = store.get(&Key::new(PAIR_EPOCHS_KEY)?).await? {
        let sealed: Sealed = serde_json::from_slice(entry.value.as_bytes())
            .map_err(|error| record(PAIR_EPOCHS_KEY, &error))?;
        return Ok(PairEpochs::open(&sealed, master)?);
    }
    let epochs = PairEpochs::create(now_ms())?;
    let sealed = encode(PAIR_EPOCHS_KEY, &epochs.seal(master)?)?;
    commit(store, vec![put(PAIR_EPOCHS_KEY, sealed)?]).await?;
    Ok(epochs)
}

async fn pair_epochs(store: &dyn Store) -> Result<BTreeMap<PairId, u64>, FolderError> {
    let items = everything(store, PAIR_EPOCH_PREFIX).await?;
    let read = items.into_iter().map(|item| {
        let key = item.key.to_string();
        let pair = key.trim_start_matches(PAIR_EPOCH_PREFIX).parse();
        let pair = pair.map_err(|error: String| record(&key, &error))?;
        let epoch = <[u8; 8]>::try_from(item.entry.value.as_bytes());
        let epoch = epoch.map_err(|error| record(&key, &error))?;
        Ok((pair, u64::from_be_bytes(epoch)))
    });
    read.collect()
}

fn hub_key(data: &Path) -> Result<PrivateKey, FolderError> {
    let path = data.join(HUB_KEY_FILE);
    if !path.exists() {
        write_secret(&path, &PrivateKey::generate().to_base64())?;
    }
    let text = std::fs::read_to_string(&path).map_err(|source| FolderError::Io {
        path: path.clone(),
        source,
    })?;
    text.trim().parse().map_err(|error| FolderError::Key {
        path,
        problem: format!("{error}"),
    })
}

/// Writes a file that anybody may read, unless it says so already.
fn write_public(path: &Path, text: &str) -> Result<(), FolderError> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|source| FolderError::Io {
        path: path.to_owned(),
        source,
    })
}

fn authority_profile(name: String) -> AuthorityProfile {
    AuthorityProfile {
        name,
        years: AUTHORITY_YEARS,
    }
}

fn make_dir(path: &Path) -> Result<(), FolderError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| FolderError::Io {
        path: path.to_owned(),
        source,
    })
}

fn random<const N: usize>() -> Result<[u8; N], FolderError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| FolderError::Random(error.to_string()))?;
    Ok(bytes)
}

fn encode<T: serde::Serialize>(key: &str, value: &T) -> Result<Vec<u8>, FolderError> {
    serde_json::to_vec(value).map_err(|error| record(key, &error))
}

fn missing(key: &str) -> FolderError {
    FolderError::Record {
        key: key.to_owned(),
        problem: "it is missing".to_owned(),
    }
}

fn record(key: &str, problem: &dyn std::fmt::Display) -> FolderError {
    FolderError::Record {
        key: key.to_owned(),
        problem: problem.to_string(),
    }
}

const HUB_KEY_FILE: &str = "hub.key";
const OVERLAY_AUTHORITY_KEY: &str = "s/authority/overlay";
const EDGE_AUTHORITY_KEY: &str = "s/authority/edge";
/// The sealed secrets behind preshared keys; rewritten by each rotation.
pub const PAIR_EPOCHS_KEY: &str = "s/pairs/epochs";
/// A record per pair behind it: the epoch of its key, big endian.
pub const PAIR_EPOCH_PREFIX: &str = "s/pairs/at/";
const ENTITY_PREFIX: &str = "e/";
const AUTHORITY_YEARS: u8 = 10;
