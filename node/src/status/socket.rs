//! The status socket: whoever may open it gets the document and the end.

use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::{STATUS_VERSION, StatusDocument};

/// A socket's path must fit its address (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// How long a document may take on its way.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

const MAX_DOCUMENT_BYTES: u64 = 32 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum StatusError {
    #[error("nothing answers on {}", .0.display())]
    NotRunning(PathBuf),
    #[error("the path {} is too long for a socket", .0.display())]
    LongPath(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the agent's answer is not a status document: {0}")]
    Answer(String),
}

/// The agent's side.
#[derive(Debug)]
pub struct StatusSocket {
    /// None as long as the disk does not let it be.
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl StatusSocket {
    /// Takes the place of a socket that an earlier run left: the folder's lock says that nobody else is there. Where the disk does
    /// not let it, the log says so, and [`Self::bind_again`] is to be called now and then.
    ///
    /// # Errors
    /// [`StatusError::LongPath`].
    pub fn bind(path: &Path) -> Result<Self, StatusError> {
        check_length(path)?;
        let listener = listen(path).inspect_err(|error| {
            tracing::error!(%error, path = %path.display(), "nobody can ask for the status until this can be opened");
        });
        Ok(Self {
            listener: listener.ok(),
            path: path.to_owned(),
        })
    }

    /// Does nothing if it is bound.
    pub fn bind_again(&mut self) {
        if self.listener.is_none()
            && let Ok(listener) = listen(&self.path)
        {
            tracing::info!("the status can be asked for");
            self.listener = Some(listener);
        }
    }

    /// The next caller. Cancel safe.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        match &self.listener {
            Some(listener) => listener.accept().await.map(|(stream, _)| stream),
            None => pending().await,
        }
    }

    /// Gives a caller the document; one that does not take it gets nothing.
    pub async fn answer(mut caller: UnixStream, document: String) {
        let _ = timeout(ANSWER_LIMIT, async {
            caller.write_all(document.as_bytes()).await?;
            caller.shutdown().await
        })
        .await;
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // A socket that stays is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Asks the agent of a state folder.
pub async fn ask(path: &Path) -> Result<StatusDocument, StatusError> {
    check_length(path)?;
    let failed = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                StatusError::NotRunning(path)
            }
            _ => StatusError::Io { path, source },
        }
    };
    let read = timeout(ANSWER_LIMIT, async {
        let stream = UnixStream::connect(path).await?;
        let mut text = String::new();
        let mut limited = stream.take(MAX_DOCUMENT_BYTES);
        limited.read_to_string(&mut text).await.map(|_| text)
    });
    let text = match read.await {
        Ok(text) => text.map_err(failed)?,
        Err(_) => return Err(StatusError::Answer("it does not come".into())),
    };
    let document: StatusDocument =
        serde_json::from_str(&text).map_err(|error| StatusError::Answer(error.to_string()))?;
    match document.version {
        STATUS_VERSION => Ok(document),
        other => Err(StatusError::Answer(format!("version {other}"))),
    }
}

fn check_length(path: &Path) -> Result<(), StatusError> {
    match path.as_os_str().len() <= MAX_PATH_BYTES {
        true => Ok(()),
        false => Err(StatusError::LongPath(path.to_owned())),
    }
}
