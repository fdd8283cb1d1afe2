//! The fuzz targets of `tests/fuzz`, with their corpora.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Something that reads bytes from outside, and inputs that were interesting to it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub judge: fn(&[u8]),
    corpus: &'static str,
}

/// Every target of the list that the fuzzer reads too.
pub fn targets() -> Result<Vec<Target>> {
    LIST.lines().map(Target::listed).collect()
}

impl Target {
    fn listed(line: &'static str) -> Result<Self> {
        let (name, corpus) = line
            .split_once(' ')
            .with_context(|| format!("targets.txt: no corpus in {line:?}"))?;
        let judge: fn(&[u8]) = match name {
            "check_answer" => malha_check::fuzz::answer,
            "pki_certificate" => malha_pki::fuzz::certificate,
            "control_frame" => malha_proto::fuzz::control_frame,
            "dns_message" => malha_zone::fuzz_answer,
            "node_names" => malha_node::names::fuzz::query,
            "proxy_request" => malha_proxy::fuzz::request,
            "core_text" => malha_core::fuzz::text,
            "token" => malha_proto::fuzz::token,
            "tunnel_carrier" => malha_tunnel::fuzz::carried,
            "tunnel_datagram" => malha_tunnel::fuzz::datagram,
            "tunnel_filter" => malha_tunnel::fuzz::filter,
            "tunnel_packet" => malha_tunnel::fuzz::packet,
            "tunnel_relay" => malha_tunnel::fuzz::relay_frame,
            "tunnel_segments" => malha_tunnel::fuzz::joined,
            "tunnel_story" => malha_tunnel::fuzz::bound,
            "tunnel_tun" => malha_tunnel::fuzz::tun_frame,
            "zone_edit" => malha_zone::fuzz_edit,
            _ => anyhow::bail!("targets.txt: {name} has no entry here"),
        };
        let corpus = corpus.trim();
        Ok(Self {
            name,
            judge,
            corpus,
        })
    }

    /// Its committed inputs, in the order of their names.
    pub fn corpus(&self) -> Result<Vec<Vec<u8>>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(self.corpus);
        let entries =
            fs::read_dir(&folder).with_context(|| format!("the corpus {}", folder.display()))?;
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<PathBuf>>>()?;
        paths.sort();
        ensure!(!paths.is_empty(), "{} is empty", folder.display());
        paths.iter().map(|path| Ok(fs::read(path)?)).collect()
    }
}

const LIST: &str = include_str!("../../fuzz/targets.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_libfuzzer_target_is_listed_with_its_corpus() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let listed = targets().unwrap();
        assert_eq!(
            files,
            listed.iter().map(|target| target.name).collect::<Vec<_>>()
        );
        assert!(
            listed
                .iter()
                .all(|target| target.corpus().is_ok_and(|inputs| inputs.len() >= 10))
        );
    }
}
