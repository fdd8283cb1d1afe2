//! A certificate authority by OpenSSL, in a folder of its own, with the profiles of X-Road's test authority.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

pub(crate) struct Authority {
    folder: TempDir,
}

/// A certificate and its key, as files.
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("profiles.cnf"), PROFILES).unwrap();
        let authority = Self { folder };
        let subject = format!("/CN={name}");
        authority.openssl(&[
            "req",
            "-x509",
            "-config",
            "profiles.cnf",
            "-extensions",
            "authority",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "authority.key",
            "-out",
            "authority.pem",
            "-subj",
            &subject,
            "-days",
            "3650",
        ]);
        authority
    }

    /// One whose own certificate has ended; its key signs on.
    pub(crate) fn ended(name: &str) -> Self {
        let authority = Self::new(name);
        let sign = [
            "x509",
            "-x509toreq",
            "-in",
            "authority.pem",
            "-signkey",
            "authority.key",
        ];
        authority.openssl(&[&sign[..], &["-out", "authority.csr"]].concat());
        let again = [
            "x509",
            "-req",
            "-in",
            "authority.csr",
            "-signkey",
            "authority.key",
        ];
        let profile = ["-extfile", "profiles.cnf", "-extensions", "authority"];
        let dates = ["-days", "-1", "-out", "authority.pem"];
        authority.openssl(&[&again[..], &profile, &dates].concat());
        authority
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pem(&self) -> String {
        self.read("authority.pem")
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    /// Issues a certificate of a profile, with an EC key.
    pub(crate) fn issue(&self, name: &str, profile: &str, days: i32) -> Issued {
        let key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        self.issue_with(name, profile, days, &key)
    }

    /// Issues one with an RSA key, whose signatures name their algorithm in another way.
    pub(crate) fn issue_rsa(&self, name: &str, profile: &str, days: i32) -> Issued {
        self.issue_with(name, profile, days, &["rsa:2048"])
    }

    /// Issues one with a key of a curve whose signatures are not judged here.
    pub(crate) fn issue_p521(&self, name: &str, profile: &str) -> Issued {
        let key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
        self.issue_with(name, profile, 400, &key)
    }

    fn issue_with(&self, name: &str, profile: &str, days: i32, key: &[&str]) -> Issued {
        let file = |ending: &str| format!("{name}-{profile}.{ending}");
        let (request, key_file, certificate) = (file("csr"), file("key"), file("pem"));
        let subject = format!("/CN={name}");
        let mut arguments = vec!["req", "-new", "-config", "profiles.cnf", "-newkey"];
        arguments.extend(key);
        arguments.extend([
            "-nodes", "-keyout", &key_file, "-out", &request, "-subj", &subject,
        ]);
        self.openssl(&arguments);
        let profiles = PROFILES.replace("NAME", name);
        fs::write(self.folder.path().join(file("cnf")), profiles).unwrap();
        let (days, cnf) = (days.to_string(), file("cnf"));
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-extfile",
            &cnf,
            "-extensions",
            profile,
            "-days",
            &days,
            "-out",
            &certificate,
        ]);
        Issued {
            certificate: self.folder.path().join(certificate),
            key: self.folder.path().join(key_file),
        }
    }

    /// Issues one with a signature that proves nothing any more.
    pub(crate) fn issue_weak(&self, name: &str) -> Issued {
        let issued = self.issue(name, "authentication", 400);
        let weak = self.folder.path().join("weak.pem");
        let request = format!("{name}-authentication.csr");
        let cnf = format!("{name}-authentication.cnf");
        self.openssl(&[
            "x509",
            "-req",
            "-sha1",
            "-in",
            &request,
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-extfile",
            &cnf,
            "-extensions",
            "authentication",
            "-out",
            "weak.pem",
        ]);
        Issued {
            certificate: weak,
            key: issued.key,
        }
    }

    /// Issues one by the key of another that this authority issued, be that an authority or not.
    pub(crate) fn issue_under(&self, issuer: &Issued, name: &str) -> Issued {
        let issued = self.issue(name, "authentication", 400);
        let request = self.path(&format!("{name}-authentication.csr"));
        let cnf = self.path(&format!("{name}-authentication.cnf"));
        let (certificate, key) = (issuer.certificate(), issuer.key());
        let by = [
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &certificate,
            "-CAkey",
            &key,
        ];
        let profile = [
            "-CAcreateserial",
            "-extfile",
            &cnf,
            "-extensions",
            "authentication",
        ];
        self.openssl(&[&by[..], &profile, &["-days", "400", "-out", "under.pem"]].concat());
        Issued {
            certificate: self.folder.path().join("under.pem"),
            key: issued.key,
        }
    }

    /// Issues one that is valid from tomorrow on.
    pub(crate) fn issue_early(&self, name: &str) -> Issued {
        let issued = self.issue(name, "authentication", 400);
        for (file, text) in [
            ("index", ""),
            ("serials", "1000\n"),
            ("register.cnf", REGISTER),
        ] {
            fs::write(self.folder.path().join(file), text).unwrap();
        }
        let request = format!("{name}-authentication.csr");
        let cnf = format!("{name}-authentication.cnf");
        let tomorrow = OffsetDateTime::now_utc() + Duration::DAY;
        let end = tomorrow + Duration::days(400);
        let stamp = |at: OffsetDateTime| {
            let (date, time) = (at.date(), at.time());
            let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
            let (hour, minute, second) = time.as_hms();
            format!("{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
        };
        let sign = [
            "ca",
            "-batch",
            "-notext",
            "-config",
            "register.cnf",
            "-in",
            &request,
        ];
        let by = ["-cert", "authority.pem", "-keyfile", "authority.key"];
        let profile = ["-extfile", &cnf, "-extensions", "authentication"];
        let (start, end) = (stamp(tomorrow), stamp(end));
        let dates = ["-startdate", &start, "-enddate", &end, "-out", "early.pem"];
        self.openssl(&[&sign[..], &by, &profile, &dates].concat());
        Issued {
            certificate: self.folder.path().join("early.pem"),
            key: issued.key,
        }
    }

    fn path(&self, file: &str) -> String {
        let path = self.folder.path().join(file);
        path.to_str().unwrap().to_owned()
    }

    /// Runs OpenSSL in the authority's folder.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.folder.path());
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {errors}");
        output.stdout
    }
}

impl Issued {
    pub(crate) fn certificate(&self) -> String {
        self.certificate.to_str().unwrap().to_owned()
    }

    pub(crate) fn key(&self) -> String {
        self.key.to_str().unwrap().to_owned()
    }

    /// Its authority's.
    pub(crate) fn folder(&self) -> &Path {
        self.certificate.parent().unwrap()
    }
}

const PROFILES: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[authentication]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:NAME
[signing]
basicConstraints = critical,CA:FALSE
keyUsage = critical,nonRepudiation
subjectAltName = DNS:NAME
[responder]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = OCSPSigning
[stamps]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[stamps_not_critical]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = timeStamping
[stamps_and_more]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping,clientAuth
";
const REGISTER: &str = "\
[ca]
default_ca = register
[register]
database = index
serial = serials
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
";
