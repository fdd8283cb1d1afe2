//! Tables of the kernel's packet filter: applied by the program `nft` as one transaction, and watched, because others may
//! flush them. It never looks at a table that it was not given.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net;
use std::process::{Command, Stdio};

use nix::sys::socket::{MsgFlags, SockProtocol, recv, setsockopt, sockopt};
use tokio::net::UnixDatagram;

use crate::netlink::{
    Attributes, DATAGRAM_MAX_BYTES, Message, NLM_F_ACK, NLM_F_DUMP, Netlink, listen, messages,
};

/// Does what a script in nft(8)'s language says, or nothing of it.
///
/// # Errors
/// `NotFound` if the program is not installed; otherwise what `nft` complains about.
pub fn apply(script: &str) -> io::Result<()> {
    nft(&["-f", "-"], script).map(drop)
}

/// Removes a table; it is no error if there is none.
///
/// # Errors
/// As [`apply`].
pub fn remove_table(table: &str) -> io::Result<()> {
    apply(&format!(
        "add table inet {table}\ndelete table inet {table}\n"
    ))
}

/// The packets that each named counter of a table has counted.
///
/// # Errors
/// As [`apply`].
pub fn counters(table: &str) -> io::Result<Vec<(String, u64)>> {
    Ok(parse_counters(&nft(
        &["list", "counters", "table", "inet", table],
        "",
    )?))
}

/// Whether the kernel has an `inet` table of this name.
///
/// # Errors
/// The kernel has no nftables, or this process may not ask.
pub fn table_exists(table: &str) -> io::Result<bool> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let mut question = Message::new(NFT_MSG_GETTABLE, NLM_F_ACK).header(&[NFPROTO_INET, 0, 0, 0]);
    question.text(NFTA_TABLE, table);
    match netlink.ask(question, |_| {}) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names of the kernel's `inet` tables.
///
/// # Errors
/// The kernel has no nftables, or this process may not ask.
pub fn tables() -> io::Result<Vec<String>> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let question = Message::new(NFT_MSG_GETTABLE, NLM_F_ACK | NLM_F_DUMP);
    let mut tables = Vec::new();
    netlink.ask(question.header(&[NFPROTO_INET, 0, 0, 0]), |answer| {
        tables.extend(table_of(answer).map(|name| String::from_utf8_lossy(name).into_owned()));
    })?;
    Ok(tables)
}

/// What a table holds, but for what it has counted; alike for two that say the same, in whatever order they were made.
#[derive(Debug, PartialEq, Eq)]
pub struct Content(BTreeSet<String>);

impl Content {
    /// What a table holds.
    ///
    /// # Errors
    /// As [`apply`]; also if there is no such table.
    pub fn of(table: &str) -> io::Result<Self> {
        let listed = nft(&["--stateless", "list", "table", "inet", table], "")?;
        let objects = listed.split_once('\n').map_or("", |(_, objects)| objects);
        let objects = objects.split("\n\n");
        let objects = objects.map(|it| it.trim_matches(['\n', '}']).to_owned());
        Ok(Self(objects.collect()))
    }

    /// What this script makes of a table, which it sets anew. That is tried in a table of another name, which judges nothing.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn by(script: &str, table: &str) -> io::Result<Self> {
        let trial = format!("malha_trial_{table}");
        apply(&on_trial(script, table, &trial))?;
        let content = Self::of(&trial);
        remove_table(&trial)?;
        let mut content = content?;
        content.0.remove(&format!("\t{DORMANT}"));
        Ok(content)
    }
}

/// The same script for a table that is asleep: nft wakes one up that is named again without the flag.
fn on_trial(script: &str, table: &str, trial: &str) -> String {
    let (added, opened) = ("add table inet", "\ntable inet");
    script
        .replace(
            &format!("{added} {table}\n"),
            &format!("{added} {trial} {{ {DORMANT}; }}\n"),
        )
        .replace(
            &format!("{opened} {table} {{"),
            &format!("{opened} {trial} {{ {DORMANT};"),
        )
        .replace(&format!(" inet {table}"), &format!(" inet {trial}"))
}

/// What was heard of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody has changed it.
    Change,
    /// So much was told of all tables that it could not be held; of this one, too, or not.
    TooMuch,
}

/// Hears of changes to one table by anyone.
pub struct TableWatch {
    /// A netlink socket in fact: tokio has no type of its own for one, and both are datagram sockets to wait for and to read.
    socket: UnixDatagram,
    table: String,
    buffer: Vec<u8>,
}

impl TableWatch {
    /// Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The kernel has no nftables.
    pub fn new(table: &str) -> io::Result<Self> {
        let socket = listen(SockProtocol::NetlinkNetFilter, &[NFNLGRP_NFTABLES])?;
        // Who may not have it has what the kernel gives to all, and is told more often that this was too little.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &ROOM_BYTES);
        Ok(Self {
            socket: UnixDatagram::from_std(net::UnixDatagram::from(socket))?,
            table: table.into(),
            buffer: vec![0; DATAGRAM_MAX_BYTES],
        })
    }

    /// Waits until somebody has changed the table, or may have. Cancel safe.
    ///
    /// # Errors
    /// The socket has failed; nothing more will be heard.
    pub async fn changed(&mut self) -> io::Result<Heard> {
        loop {
            self.socket.readable().await?;
            let read = self.socket.try_recv(&mut self.buffer);
            match self.understood(read) {
                Told::Ours(heard) => return Ok(heard),
                Told::Others | Told::Nothing => {}
                Told::Failed(error) => return Err(error),
            }
        }
    }

    /// Forgets what was heard so far: to be called after one's own change, whose echo waits here. Says whether there was too much
    /// to hold, and so more than the echo.
    pub fn forget(&mut self) -> bool {
        let mut was_too_much = false;
        loop {
            // Asked of the kernel: tokio reads nothing before it has heard that there is something, which takes it a turn.
            let socket = self.socket.as_raw_fd();
            let read = recv(socket, &mut self.buffer, MsgFlags::MSG_DONTWAIT);
            match self.understood(read.map_err(io::Error::from)) {
                Told::Ours(heard) => was_too_much |= heard == Heard::TooMuch,
                Told::Others => {}
                Told::Nothing | Told::Failed(_) => return was_too_much,
            }
        }
    }

    /// What was read into the buffer.
    fn understood(&self, read: io::Result<usize>) -> Told {
        match read {
            Ok(length) => {
                let mut told = messages(&self.buffer[..length]);
                match told.any(|(_, body)| is_about(body, &self.table)) {
                    true => Told::Ours(Heard::Change),
                    false => Told::Others,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Told::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Told::Others,
            Err(error) if error.raw_os_error() == Some(nix::Error::ENOBUFS as i32) => {
                Told::Ours(Heard::TooMuch)
            }
            Err(error) => Told::Failed(error),
        }
    }
}

enum Told {
    Ours(Heard),
    Others,
    Nothing,
    Failed(io::Error),
}

fn is_about(body: &[u8], table: &str) -> bool {
    table_of(body) == Some(table.as_bytes())
}

/// In each message about something of a table, its first attribute is the table's name.
fn table_of(body: &[u8]) -> Option<&[u8]> {
    let attributes = Attributes(body.get(NFGENMSG_BYTES..).unwrap_or_default());
    attributes.find(NFTA_TABLE)?.strip_suffix(&[0])
}

fn nft(arguments: &[&str], script: &str) -> io::Result<String> {
    let mut command = Command::new("nft");
    command.args(arguments).env("LC_ALL", "C");
    #[cfg(test)]
    RUNS.with_borrow_mut(|runs| runs.push(script.into()));
    said(&mut command, script)
}

/// What a program says when it was told this.
fn said(command: &mut Command, script: &str) -> io::Result<String> {
    let command = command.stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("nft: {error}")))?;
    // It reads all before it writes; if it has ended instead, its complaint says more than the broken pipe.
    let written = match child.stdin.take() {
        Some(mut input) => input.write_all(script.as_bytes()),
        None => Ok(()),
    };
    let ended = child.wait_with_output()?;
    if !ended.status.success() {
        let complaint = String::from_utf8_lossy(&ended.stderr);
        let complaint = complaint.lines().next().unwrap_or("no reason given");
        return Err(io::Error::other(format!("nft: {complaint}")));
    }
    written.map(|()| String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn parse_counters(text: &str) -> Vec<(String, u64)> {
    let mut counters = Vec::new();
    let mut name = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["counter", of, "{"] => name = Some(of.to_owned()),
            ["packets", count, "bytes", _] => {
                counters.extend(name.take().zip(count.parse().ok()));
            }
            _ => {}
        }
    }
    counters
}

/// NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, from linux/netfilter/nf_tables.h.
const NFT_MSG_GETTABLE: u16 = (10 << 8) | 1;
const NFTA_TABLE: u16 = 1;
const NFPROTO_INET: u8 = 1;
const NFNLGRP_NFTABLES: u32 = 7;
const NFGENMSG_BYTES: usize = 4;
const DORMANT: &str = "flags dormant";
/// Several thousand chains, or the rules of as many peers.
const ROOM_BYTES: usize = 4 << 20;

#[cfg(test)]
thread_local! {
    /// The script of each run of nft by this thread; empty for a question.
    pub(crate) static RUNS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn too_much_is_told_from_a_change() {
        if !nix::unistd::geteuid().is_root() || remove_table("malha_probe").is_err() {
            println!("skipped: it needs root and the package nftables");
            return;
        }
        let played = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let mut watch = TableWatch::new("one").unwrap();
                apply("add table inet one\n").unwrap();
                assert_eq!(watch.changed().await.unwrap(), Heard::Change);
                assert!(!watch.forget());
                setsockopt(&watch.socket, sockopt::RcvBuf, &1).unwrap();
                let chains = (0..500).map(|number| format!("add chain inet other c{number}\n"));
                let chains = format!("add table inet other\n{}", chains.collect::<String>());
                apply(&chains).unwrap();
                assert_eq!(watch.changed().await.unwrap(), Heard::TooMuch);
                watch.forget();
                apply(&format!("delete table inet other\n{chains}")).unwrap();
                assert!(watch.forget());
            });
        });
        played.join().unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = said(&mut Command::new("/nowhere/nft"), "").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(missing.to_string().starts_with("nft: "), "{missing}");
    }

    /// It complains of each line of a script, and a pipe holds 64 KiB.
    #[test]
    fn a_long_complaint_is_heard_to_its_end() {
        let (told, complaint) = mpsc::channel();
        std::thread::spawn(move || {
            let script = "cat >/dev/null; yes complaint | head -c 1000000 >&2; exit 1";
            told.send(said(
                Command::new("sh").args(["-c", script]),
                "flush ruleset",
            ))
        });
        let complaint = complaint.recv_timeout(Duration::from_secs(30));
        let complaint = complaint.expect("both wait for each other").unwrap_err();
        assert_eq!(complaint.to_string(), "nft: complaint");
    }

    /// nft lists it with `flags dormant` if it is asleep, and without if it is not.
    #[test]
    fn a_table_on_trial_is_asleep_to_the_end() {
        let script = "add table inet m0\ndelete table inet m0\nadd table inet m0\n\
            add chain inet m0 i1\ntable inet m0 {\n\tchain gate { iifname m0 accept; }\n}\n";
        let expected = "add table inet t { flags dormant; }\ndelete table inet t\nadd table inet t { flags dormant; }\n\
            add chain inet t i1\ntable inet t { flags dormant;\n\tchain gate { iifname m0 accept; }\n}\n";
        assert_eq!(on_trial(script, "m0", "t"), expected);
    }

    #[test]
    fn counters_are_read_from_the_text_of_nft() {
        let text = "table inet x {\n\tcounter a {\n\t\tpackets 3 bytes 120\n\t}\n\tcounter b {\n\t\tpackets 0 bytes 0\n\t}\n}\n";
        assert_eq!(
            parse_counters(text),
            [("a".to_owned(), 3), ("b".to_owned(), 0)]
        );
    }
}
