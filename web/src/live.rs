//! The live stream of an open page: what it shows is drawn again when the console says that it
//! changed, and swapped in by htmx. A stream starts with the present state, so a reconnect misses
//! nothing; it never queues more than one drawing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::StatusCode;
use http::header::RETRY_AFTER;
use maud::{Markup, html};
use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError, error::TryRecvError};
use tokio::time::{Instant, sleep_until};

use crate::form::Fields;
use crate::model::{ChangeNotice, Topic, Topics};
use crate::page::error;
use crate::view::{View, pulse};
use crate::visit::Visit;

/// Where live streams are, for [`View::live_address`].
pub(crate) const PATH: &str = "/live";

/// `GET /live?view=…`.
pub(crate) async fn stream(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    let Some(view) = View::of_query(&Fields::from(query)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(permit) = Arc::clone(&visit.desk.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "20")]).into_response();
    };
    let live = Live {
        topics: view.topics() | Topic::Convergence,
        // Subscribed before the first drawing, so that no change falls between the two.
        changes: visit.console().changes(),
        visit,
        view,
        drawn_at: None,
        ended: false,
        _permit: permit,
    };
    Sse::new(stream::unfold(live, Live::next)).into_response()
}

/// One open page.
struct Live {
    visit: Visit,
    view: View,
    topics: Topics,
    changes: Receiver<ChangeNotice>,
    /// When the last drawing was sent; `None` before the first.
    drawn_at: Option<Instant>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

/// Why a stream has something to do.
enum Wake {
    OutOfDate,
    Heartbeat,
    Closing,
}

impl Live {
    /// The next event. The browser's reading pace drives it, so a slow one gets fewer drawings, not
    /// a longer queue.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Live)> {
        if self.ended {
            return None;
        }
        let wake = self.wake().await;
        if matches!(wake, Wake::Closing) {
            return None;
        }
        let Some(viewer) = self.visit.console().session(&self.visit.token).await else {
            self.ended = true;
            return Some((Ok(Event::default().event(SIGNED_OUT).data("-")), self));
        };
        self.visit.viewer = viewer;
        self.visit.now = OffsetDateTime::now_utc();
        let event = match wake {
            Wake::OutOfDate => {
                let drawing = self.draw().await.into_string();
                self.drawn_at = Some(Instant::now());
                Event::default().data(drawing)
            }
            Wake::Heartbeat | Wake::Closing => Event::default().comment("-"),
        };
        Some((Ok(event), self))
    }

    async fn wake(&mut self) -> Wake {
        let Some(drawn_at) = self.drawn_at else {
            return Wake::OutOfDate;
        };
        let heartbeat_at = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                notice = self.changes.recv() => match notice {
                    Ok(ChangeNotice::Changed(topics)) if !self.topics.meets(topics) => {}
                    Ok(ChangeNotice::Changed(_)) | Err(RecvError::Lagged(_)) => break,
                    Ok(ChangeNotice::Closing) | Err(RecvError::Closed) => return Wake::Closing,
                },
                () = sleep_until(heartbeat_at) => return Wake::Heartbeat,
            }
        }
        sleep_until(drawn_at + DRAWING_INTERVAL).await;
        self.drain()
    }

    /// Takes up the notices that came meanwhile; one drawing answers them all.
    fn drain(&mut self) -> Wake {
        loop {
            match self.changes.try_recv() {
                Ok(ChangeNotice::Changed(_)) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => return Wake::OutOfDate,
                Ok(ChangeNotice::Closing) | Err(TryRecvError::Closed) => return Wake::Closing,
            }
        }
    }

    async fn draw(&self) -> Markup {
        let live = self.view.draw(&self.visit).await;
        let pulse = pulse(&self.visit).await;
        html! {
            @if let Ok(pulse) = pulse {
                hx-partial hx-target="#pulse" hx-swap="innerMorph" { (pulse) }
            }
            hx-partial hx-target="#live" hx-swap="innerMorph" {
                @match live {
                    Ok(live) => (live),
                    Err(unreadable) => (error::inline(self.visit.language, unreadable)),
                }
            }
        }
    }
}

/// The event that tells a page that its session has ended.
const SIGNED_OUT: &str = "signed-out";

/// A quiet stream says this often that it lives, and looks whether its session still does.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The least time between two drawings.
const DRAWING_INTERVAL: Duration = Duration::from_millis(500);
