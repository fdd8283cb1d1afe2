//! Network namespaces for tests: made with unique names, joined by a cable, and gone when dropped, even by a failed test.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use malha_tunnel::kernel_available;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Why a test that needs namespaces can't run here, if so. The caller prints it and stops.
pub(crate) fn missing(tools: &[(&str, &str)]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("skipped: network namespaces need root".into());
    }
    let absent = |tool: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .stdout(Stdio::null())
            .status();
        !found.is_ok_and(|status| status.success())
    };
    let (tool, package) = tools.iter().find(|(tool, _)| absent(tool))?;
    Some(format!(
        "skipped: {tool} is missing; install the package {package}"
    ))
}

/// Why the kernel can't be tried, if so. It is asked once: two who ask at the same time would be in each other's way.
pub(crate) fn no_kernel() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        missing(&[("ip", "iproute2"), ("nft", "nftables")]).or_else(|| {
            let why = kernel_available().err()?;
            Some(format!(
                "skipped: this kernel has no WireGuard ({why}); see the virtual machine"
            ))
        })
    };
    REASON.get_or_init(ask).clone()
}

pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("malha-{}-{number}-{role}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Two namespaces joined by a cable, at 192.168.77.1 and 192.168.77.2.
    pub(crate) fn joined_pair() -> (Self, Self) {
        let (left, right) = (Self::new("a"), Self::new("b"));
        run(&[
            "ip",
            "link",
            "add",
            "cable",
            "netns",
            &left.name,
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            &right.name,
        ]);
        for (namespace, address) in [(&left, "192.168.77.1/24"), (&right, "192.168.77.2/24")] {
            namespace.ip(&["address", "add", address, "dev", "cable"]);
            namespace.ip(&["link", "set", "cable", "up"]);
        }
        (left, right)
    }

    pub(crate) fn ip(&self, arguments: &[&str]) {
        run(&[&["ip", "-n", &self.name], arguments].concat());
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a future on a thread and a runtime inside the namespace.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> JoinHandle<T> {
        let file = File::open(format!("/var/run/netns/{}", self.name)).unwrap();
        std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work())
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Whether an interface of this name exists in the namespace of the calling thread.
pub(crate) fn interface_exists(interface: &str) -> bool {
    let shown = Command::new("ip")
        .args(["link", "show", interface])
        .output()
        .unwrap();
    shown.status.success()
}

/// Where the namespace of the calling thread has it.
pub(crate) fn ipv6_setting(interface: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
}

/// In the namespace of the calling thread, for all interfaces that there are and will be.
pub(crate) fn switch_ipv6_off() {
    fs::write(ipv6_setting("all"), "1").unwrap();
}

/// For the calling thread and those that it starts, as a container or a hardened service has them.
pub(crate) fn make_settings_read_only() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let change = |from: Option<&str>, to: &str, flags| {
        mount(from, to, None::<&str>, flags, None::<&str>).unwrap();
    };
    change(None, "/", MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    change(Some(SETTINGS), SETTINGS, MsFlags::MS_BIND);
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    change(None, SETTINGS, read_only);
}

/// A child process that does not outlive the test.
pub(crate) struct Daemon(pub(crate) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {complaint}",
        command.join(" ")
    );
}

const SETTINGS: &str = "/proc/sys";
