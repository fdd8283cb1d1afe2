//! One boot of a Debian kernel under software emulation, with an initramfs that holds this test program, what it calls and the
//! modules it needs. Its serial console is the result.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Runs this program in a machine, once with each of these words, and fails if a test fails there. Says what is missing otherwise. `name`
/// keeps its files apart from those of others.
pub(crate) fn run_this_program(name: &str, runs: &[&str]) {
    let Some(kernel) = unpacked_kernel() else {
        return;
    };
    let build = kernel.root.with_file_name(name);
    let _ = fs::remove_dir_all(&build);
    fill(&build, &kernel, runs);
    let image = pack(&build);
    let console = boot(&kernel.image, &image);
    let passed = console.matches("\ntest result: ok.").count();
    let skipped = console.matches("skipped: this kernel has no").count();
    let results: Vec<_> = console
        .lines()
        .filter(|line| line.starts_with("test "))
        .collect();
    println!("{}", results.join("\n"));
    assert!(
        passed == runs.len() && skipped == 0,
        "in the virtual machine:\n{console}"
    );
}

struct Kernel {
    root: PathBuf,
    image: PathBuf,
    modules: PathBuf,
}

/// Downloads nothing: `tests/run` unpacks Debian's kernel into `target/vm/kernel`.
fn unpacked_kernel() -> Option<Kernel> {
    for (tool, package) in [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("cpio", "cpio"),
    ] {
        if which(tool).is_none() {
            println!("skipped: {tool} is missing; install the package {package}");
            return None;
        }
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let workspace = workspace.filter(|it| it.join("Cargo.lock").exists()).last();
    let root = workspace.unwrap().join("target/vm/kernel");
    let only = |folder: &Path, start: &str| {
        let entries = fs::read_dir(folder).ok()?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(start))
        })
    };
    let image = only(&root.join("boot"), "vmlinuz");
    let modules = only(&root.join("lib/modules"), "");
    let (Some(image), Some(modules)) = (image, modules) else {
        println!(
            "skipped: no kernel in {}; tests/run puts one there",
            root.display()
        );
        return None;
    };
    Some(Kernel {
        root,
        image,
        modules,
    })
}

fn fill(build: &Path, kernel: &Kernel, runs: &[&str]) {
    for folder in ["bin", "proc", "sys", "dev", "run", "tmp", "var", "modules"] {
        fs::create_dir_all(build.join(folder)).unwrap();
    }
    std::os::unix::fs::symlink("/run", build.join("var/run")).unwrap();
    fs::copy(which("busybox").unwrap(), build.join("bin/busybox")).unwrap();
    let program = std::env::current_exe().unwrap();
    with_libraries(build, &program, "bin/tests");
    for tool in ["ip", "nft"] {
        with_libraries(build, &which(tool).unwrap(), &format!("bin/{tool}"));
    }
    let mut order = Vec::new();
    let files = module_files(&kernel.modules);
    for module in MODULES {
        with_dependencies(module, &files, &mut order);
    }
    let mut script = String::from(INIT_START);
    for (number, file) in order.iter().enumerate() {
        let name = format!("modules/{number}.ko");
        fs::copy(file, build.join(&name)).unwrap();
        script += &format!("insmod /{name} || echo missing {}\n", file.display());
    }
    script += INIT_MIDDLE;
    for words in runs {
        script += &format!("/bin/tests {words} --nocapture 2>&1\n");
    }
    script += "poweroff -f\n";
    let init = build.join("init");
    fs::write(&init, script).unwrap();
    set_executable(&init);
}

/// Copies a program and the libraries that `ldd` names to where they are here.
fn with_libraries(build: &Path, program: &Path, to: &str) {
    fs::copy(program, build.join(to)).unwrap();
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in libraries {
        let place = build.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(library, place).unwrap();
    }
}

fn module_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

/// A module after all it needs. Modules that are built in have no file.
fn with_dependencies(name: &str, files: &[PathBuf], order: &mut Vec<PathBuf>) {
    let is_named = |path: &&PathBuf| {
        let stem = path
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .replace('-', "_");
        path.extension().is_some_and(|e| e == "ko") && stem == name.replace('-', "_")
    };
    let Some(file) = files.iter().find(is_named) else {
        return;
    };
    if order.contains(file) {
        return;
    }
    let bytes = fs::read(file).unwrap();
    for dependency in dependencies(&bytes) {
        with_dependencies(&dependency, files, order);
    }
    order.push(file.clone());
}

/// The list in a module's `.modinfo` section: `depends=a,b`.
fn dependencies(module: &[u8]) -> BTreeSet<String> {
    const MARK: &[u8] = b"\0depends=";
    let at = module.windows(MARK.len()).position(|bytes| bytes == MARK);
    let list = at.map(|at| &module[at + MARK.len()..]).unwrap_or_default();
    let list = list.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn pack(build: &Path) -> PathBuf {
    let image = build.with_extension("cpio");
    let script = format!("find . | cpio -o -H newc --quiet > {}", image.display());
    let packed = Command::new("sh")
        .args(["-c", &script])
        .current_dir(build)
        .status();
    assert!(packed.unwrap().success());
    image
}

/// The console until the machine is off, or what of it came within the limit.
fn boot(kernel: &Path, initramfs: &Path) -> String {
    let mut machine = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "1024",
            "-smp",
            "1",
            "-nographic",
            "-no-reboot",
            "-nodefaults",
        ])
        .args([
            "-serial",
            "stdio",
            "-append",
            "console=ttyS0 quiet panic=-1 mitigations=off",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut output = machine.stdout.take().unwrap();
    let (told, console) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut piece) {
            all.extend(&piece[..length]);
        }
        let _ = told.send(String::from_utf8_lossy(&all).replace('\r', ""));
    });
    let ended = console.recv_timeout(BOOT_LIMIT);
    let _ = machine.kill();
    let _ = machine.wait();
    reader.join().unwrap();
    ended.or_else(|_| console.recv()).unwrap_or_default()
}

fn which(tool: &str) -> Option<PathBuf> {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let paths = folders.map(|folder| Path::new(folder).join(tool));
    paths.into_iter().find(|path| path.exists())
}

fn set_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::File::open(path).unwrap().sync_all().unwrap();
    std::io::stdout().flush().unwrap();
}

/// Software emulation on a busy machine; the longest takes 75 s of processor time.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
const MODULES: [&str; 21] = [
    "wireguard",
    "tun",
    "veth",
    "nf_tables",
    "nf_conntrack",
    "nft_ct",
    "nft_chain_nat",
    "nft_fib_inet",
    "nft_objref",
    "nfnetlink_cttimeout",
    "tcp_diag",
    "nft_reject_inet",
    "chacha20poly1305",
    "chacha_generic",
    "crc32c_generic",
    // For the story of `ipsec`.
    "xfrm_user",
    "esp4",
    "authenc",
    "crypto_null",
    "ecb",
    "echainiv",
];
const INIT_START: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ MALHA_EMULATED=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/netns /dev/net
";
const INIT_MIDDLE: &str = "
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip link set lo up
";
