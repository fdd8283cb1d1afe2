//! The dashboard and a public URL in a real browser: starts a demo, and plays the stories of `tests/browser` against it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use malha_tests::demo::{Demo, Ports};
use malha_tests::lab::{malha, output};
use tempfile::TempDir;

#[test]
fn the_dashboard_and_a_public_url_work_in_a_browser() -> Result<()> {
    let Some(chromium) = installed(&["chromium", "chromium-browser", "google-chrome"]) else {
        println!("skip: no chromium is installed");
        return Ok(());
    };
    let Some(node) = installed(&["node", "nodejs"]) else {
        println!("skip: no node is installed");
        return Ok(());
    };
    if let Err(error) = install() {
        println!("skip: npm can't install Playwright: {error:#}");
        return Ok(());
    }
    let mut demo = Demo::start()?;
    let password = first_password(&demo.prints("Painel / dashboard")?)?;
    demo.is_well()?;
    let folder = TempDir::with_prefix("malha-browser-")?;
    let mut stories = Command::new(node);
    stories
        .current_dir(stories_folder())
        .args(["node_modules/@playwright/test/cli.js", "test"])
        .env("MALHA_PROGRAM", malha()?)
        .env("MALHA_CHROMIUM", chromium)
        .env(
            "MALHA_DASHBOARD",
            format!("http://localhost:{}", demo.ports.dashboard),
        )
        .env("MALHA_USER", "admin")
        .env("MALHA_PASSWORD", password)
        .env("MALHA_HTTPS_PORT", demo.ports.https.to_string())
        .env("MALHA_GARAGE_PORT", Ports::free()?.garage.to_string())
        .env("MALHA_FOLDER", folder.path());
    let played = output(&mut stories)?;
    println!("{}", String::from_utf8_lossy(&played.stdout));
    let complaint = String::from_utf8_lossy(&played.stderr);
    if !played.status.success() {
        // The pictures of what failed stay to be looked at.
        println!("see {}", folder.keep().display());
    }
    ensure!(played.status.success(), "{}: {complaint}", played.status);
    Ok(())
}

/// The first of these programs that the system has.
fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let files = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// Installs exactly what the lock file says, unless that was done already. It brings no browser.
fn install() -> Result<()> {
    let folder = stories_folder();
    let changed =
        |file: &str| -> Result<SystemTime> { Ok(folder.join(file).metadata()?.modified()?) };
    if changed("node_modules/.package-lock.json")
        .is_ok_and(|done| changed("package-lock.json").is_ok_and(|wanted| wanted <= done))
    {
        return Ok(());
    }
    let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let done = output(Command::new("npm").args(words).current_dir(&folder))?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(())
}

fn stories_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

/// The last word of the dashboard's line: `… http://localhost:8480/    admin / PASSWORD`.
fn first_password(line: &str) -> Result<String> {
    let (_, password) = line.rsplit_once(" / ").context("no password is printed")?;
    Ok(password.to_owned())
}
