//! Whether the agent can still write.

use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use super::report::Finding;
use super::subject::Running;
use crate::status::size;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free_bytes: u64,
    /// It counts no files where there is no limit.
    has_files: bool,
    is_read_only: bool,
}

pub(super) fn look(running: &Running, folder: &Path, lang: Lang) -> Finding {
    let refused = running.document().and_then(|it| it.save_error.as_deref());
    judge(room(folder), refused, folder, lang)
}

fn judge(room: Result<Room, String>, refused: Option<&str>, folder: &Path, lang: Lang) -> Finding {
    let place = folder.display();
    let room = match room {
        Ok(room) => room,
        Err(why) => return Finding::could_not_test("disk-unread", text::unreadable(lang, why)),
    };
    let free = size(room.free_bytes);
    if room.is_read_only {
        return Finding::problem("disk-read-only", trouble::disk_read_only(lang, place));
    }
    if room.free_bytes < NEEDED_BYTES || !room.has_files {
        return Finding::problem("disk-full", trouble::disk_full(lang, free, place));
    }
    match refused {
        Some(why) => Finding::problem("disk-refuses", trouble::disk_refuses(lang, why)),
        None => Finding::ok("disk-free", text::disk_free(lang, free, place)),
    }
}

/// Of the folder, or of what it would be made in.
fn room(folder: &Path) -> Result<Room, String> {
    let existing = folder.ancestors().find(|it| it.exists());
    let existing = existing.ok_or_else(|| folder.display().to_string())?;
    let found = statvfs(existing).map_err(|error| error.to_string())?;
    Ok(Room {
        free_bytes: found
            .blocks_available()
            .saturating_mul(found.fragment_size()),
        has_files: found.files() == 0 || found.files_available() > 0,
        is_read_only: found.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// The longest map, beside the one that it replaces.
const NEEDED_BYTES: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn code(room: Room, refused: Option<&str>) -> &'static str {
        judge(Ok(room), refused, Path::new("/state"), Lang::En).code
    }

    #[test]
    fn room_for_one_more_map_is_enough() {
        let well = Room {
            free_bytes: NEEDED_BYTES,
            has_files: true,
            is_read_only: false,
        };
        assert_eq!(code(well, None), "disk-free");
        assert_eq!(code(well, Some("no such folder")), "disk-refuses");
        let full = Room {
            free_bytes: NEEDED_BYTES - 1,
            ..well
        };
        assert_eq!(code(full, Some("no space")), "disk-full");
        let no_files = Room {
            has_files: false,
            ..well
        };
        assert_eq!(code(no_files, None), "disk-full");
        let read_only = Room {
            is_read_only: true,
            ..well
        };
        assert_eq!(code(read_only, None), "disk-read-only");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_where_it_would_be() {
        let there = room(Path::new("/")).unwrap();
        let missing = room(Path::new("/no-such-folder/state")).unwrap();
        assert_eq!(there.is_read_only, missing.is_read_only);
    }
}
